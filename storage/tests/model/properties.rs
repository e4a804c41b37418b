//! What must hold in every state, and what must happen in some. The names are those in ARCHITECTURE.md.

use stateright::Property;

use crate::Cluster;
use crate::state::{Broker, Life, State, Transaction, Writer};

/// A name, and whether it is so.
pub(crate) type Condition = (&'static str, fn(&Cluster, &State) -> bool);

pub(crate) const ACKNOWLEDGED_ONCE: &str =
    "acknowledged records are in the log once, at their offset";
pub(crate) const OFFSETS_ONCE: &str = "no offset is given twice or left out";
pub(crate) const NOT_DOUBLED: &str = "a record sent again is not stored again, and order is kept";
pub(crate) const ONE_LEASE: &str = "one lease of a lane can commit";
pub(crate) const LEADER_KNOWS: &str = "who can commit knows the whole log of what it leads";
pub(crate) const EPOCHS_RISE: &str = "leader epochs do not fall along a log";
pub(crate) const EPOCHS_GIVEN: &str = "nobody knows a leader epoch that was not given";
pub(crate) const SEALED: &str = "what a partition has in other lanes is sealed";
pub(crate) const ONLY_THE_DEPOSED: &str = "nobody gives up a lane that is still its own";

pub(crate) const TAKEN_OVER_IN_DOUBT: &str = "a lane is taken over while a flush is in doubt";
pub(crate) const PAUSED_AND_REFUSED: &str = "a paused broker comes back and is refused";
pub(crate) const FLUSHED_UNHEARD: &str = "a flush commits and nobody hears of it";
pub(crate) const HANDED_OVER_UNHEARD: &str = "a handover commits and nobody hears of it";
pub(crate) const REFUSED_AS_STORED: &str = "a flush is refused because it was stored before";
pub(crate) const LEARNED_FROM_LOG: &str = "a record comes to a leader that learned it from the log";
pub(crate) const ALL_BY_TWO: &str = "all records are acknowledged, by two leaders";

pub(crate) const ALWAYS: [Condition; 9] = [
    (ACKNOWLEDGED_ONCE, |_, state| {
        state.acknowledged.iter().all(|(record, offset)| {
            let partitions = state.database.partitions.iter();
            let rows = partitions.flat_map(|partition| &partition.log);
            let mut found = rows.filter(|row| row.record == *record);
            found.next().is_some_and(|row| row.offset == *offset) && found.next().is_none()
        })
    }),
    (OFFSETS_ONCE, |_, state| {
        let mut logs = state
            .database
            .partitions
            .iter()
            .map(|partition| &partition.log);
        logs.all(|log| {
            log.iter()
                .zip(0..)
                .all(|(row, offset)| row.offset == offset)
        })
    }),
    (NOT_DOUBLED, |_, state| {
        let mut logs = state
            .database
            .partitions
            .iter()
            .map(|partition| &partition.log);
        logs.all(|log| log.is_sorted_by(|before, after| before.record < after.record))
    }),
    (ONE_LEASE, |_, state| {
        (0..).zip(&state.database.lanes).all(|(lane, row)| {
            let leases = state.brokers.iter().filter(|broker| {
                broker.life == Life::Serving && broker.lane == lane && broker.epoch == row.epoch
            });
            leases.count() <= 1
        })
    }),
    (LEADER_KNOWS, |_, state| {
        let mut idle = state
            .brokers
            .iter()
            .filter(|broker| has_lane(state, broker) && broker.writer == Writer::Idle);
        idle.all(|broker| {
            let pairs = broker.partitions.iter().zip(&state.database.partitions);
            let mut led = pairs.filter(|(known, _)| known.is_led);
            led.all(|(known, row)| {
                row.lane == broker.lane
                    && row.leader_epoch == known.leader_epoch
                    && row.log.iter().map(|row| &row.record).eq(&known.log)
            })
        })
    }),
    (EPOCHS_RISE, |_, state| {
        let mut logs = state
            .database
            .partitions
            .iter()
            .map(|partition| &partition.log);
        logs.all(|log| log.is_sorted_by_key(|row| row.leader_epoch))
    }),
    (EPOCHS_GIVEN, |_, state| {
        state.brokers.iter().all(|broker| {
            let pairs = broker.partitions.iter().zip(&state.database.partitions);
            pairs
                .into_iter()
                .all(|(known, row)| known.leader_epoch <= row.leader_epoch)
        })
    }),
    (SEALED, |_, state| {
        let mut partitions = state.database.partitions.iter().enumerate();
        partitions.all(|(part, row)| {
            let lanes = (0..).zip(&state.database.lanes);
            let mut others = lanes.filter(|(lane, _)| *lane != row.lane);
            others.all(|(_, lane)| !lane.open[part])
        })
    }),
    (ONLY_THE_DEPOSED, |_, state| !state.gave_up_for_nothing),
];

pub(crate) const SOMETIMES: [Condition; 7] = [
    (TAKEN_OVER_IN_DOUBT, |_, state| {
        state.brokers.iter().any(|broker| {
            matches!(broker.writer.in_doubt(), Some(Transaction::Flush(_)))
                && !has_lane(state, broker)
                && state.database.registered[usize::from(broker.lane)] == 0
        })
    }),
    (PAUSED_AND_REFUSED, |_, state| {
        let mut brokers = state.brokers.iter();
        brokers.any(|broker| broker.woke_up && broker.life == Life::Down { refused: true })
    }),
    (FLUSHED_UNHEARD, |_, state| {
        let is_flush = |transaction: &Transaction| matches!(transaction, Transaction::Flush(_));
        committed_in_doubt(state, is_flush)
    }),
    (HANDED_OVER_UNHEARD, |_, state| {
        let is_handover = |transaction: &Transaction| !matches!(transaction, Transaction::Flush(_));
        committed_in_doubt(state, is_handover)
    }),
    (REFUSED_AS_STORED, |_, state| {
        state.brokers.iter().any(|broker| {
            matches!(broker.writer, Writer::Refused(Transaction::Flush(_)))
                && is_committed(state, broker)
        })
    }),
    (LEARNED_FROM_LOG, |_, state| {
        state
            .brokers
            .iter()
            .filter(|broker| has_lane(state, broker))
            .any(|broker| {
                broker.queue.iter().any(|record| {
                    let known = broker.partitions.iter().filter(|known| known.is_led);
                    let mut logs = known.map(|known| &known.log);
                    logs.any(|log| log.contains(record)) && !state.is_acknowledged(*record)
                })
            })
    }),
    (ALL_BY_TWO, |cluster, state| {
        let mut partitions = state.database.partitions.iter();
        let all = (0..cluster.records).all(|record| state.is_acknowledged(record));
        all && partitions.any(|partition| {
            let (first, last) = (partition.log.first(), partition.log.last());
            first.map(|row| row.leader_epoch) != last.map(|row| row.leader_epoch)
        })
    }),
];

/// By its lease, which is what a broker knows of it.
fn has_lane(state: &State, broker: &Broker) -> bool {
    let lane = &state.database.lanes[usize::from(broker.lane)];
    broker.life == Life::Serving && lane.epoch == broker.epoch
}

fn is_committed(state: &State, broker: &Broker) -> bool {
    let lane = &state.database.lanes[usize::from(broker.lane)];
    has_lane(state, broker) && lane.flush_seq == broker.flush_seq + 1
}

fn committed_in_doubt(state: &State, is_meant: fn(&Transaction) -> bool) -> bool {
    let mut brokers = state.brokers.iter();
    brokers
        .any(|broker| broker.writer.in_doubt().is_some_and(is_meant) && is_committed(state, broker))
}

pub(crate) fn all(cluster: &Cluster) -> Vec<Property<Cluster>> {
    let always = ALWAYS
        .iter()
        .filter(|(name, _)| cluster.only.is_none_or(|only| only == *name));
    let sometimes = SOMETIMES
        .iter()
        .filter(|(name, _)| cluster.sees.contains(name));
    let always = always.map(|(name, holds)| Property::always(name, *holds));
    always
        .chain(sometimes.map(|(name, holds)| Property::sometimes(name, *holds)))
        .collect()
}
