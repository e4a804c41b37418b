//! What the model is made of: the database, the brokers, what is on its way between them, and the rules that can be broken to
//! see the model fail. What happens to it is in `steps`.

/// Index of a broker process.
pub(crate) type BrokerId = usize;

/// A record; one with a larger number is sent later, and goes to the partition that is its remainder.
pub(crate) type Record = u8;

/// A record in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) part: u8,
    pub(crate) offset: u8,
    pub(crate) record: Record,
    pub(crate) leader_epoch: u8,
}

/// A row of `kafka.lanes`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LaneRow {
    pub(crate) epoch: u8,
    pub(crate) flush_seq: u8,
    /// Partitions with rows in open segments of the lane, by number.
    pub(crate) open: Vec<bool>,
}

/// A row of `kafka.topic_partitions`, with the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PartitionRow {
    pub(crate) lane: u8,
    pub(crate) leader_epoch: u8,
    /// In the order of the commits.
    pub(crate) log: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    /// `kafka.brokers`: the incarnation registered with the number of each lane; 0 is none.
    pub(crate) registered: Vec<u8>,
    pub(crate) lanes: Vec<LaneRow>,
    pub(crate) partitions: Vec<PartitionRow>,
}

/// What a lane's owner asks the database for, under the lane's fence.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Transaction {
    Flush(Vec<Row>),
    /// `epoch` is the leader epoch that the partition is to have.
    HandOver {
        part: u8,
        to: u8,
        epoch: u8,
    },
}

/// A transaction on its way to the database, or held up in there. All its locks are taken when it is executed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) lane: u8,
    pub(crate) epoch: u8,
    pub(crate) flush_seq: u8,
    pub(crate) transaction: Transaction,
    /// Who hears the answer; nobody if the connection was lost.
    pub(crate) from: Option<BrokerId>,
}

/// The task that writes to a broker's lane, one transaction at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Writer {
    Idle,
    /// `in_doubt` if it had been sent before.
    Sent {
        transaction: Transaction,
        in_doubt: bool,
    },
    /// The answer is on its way.
    Answered {
        transaction: Transaction,
        in_doubt: bool,
        committed: bool,
    },
    /// The connection was lost.
    InDoubt(Transaction),
    /// It was not stored when the lane's row was looked at.
    NotStored(Transaction),
    /// Refused by the fence after it had been in doubt.
    Refused(Transaction),
}

impl Writer {
    pub(crate) fn in_doubt(&self) -> Option<&Transaction> {
        match self {
            Self::InDoubt(transaction) => Some(transaction),
            _ => None,
        }
    }
}

/// A partition as a broker knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    pub(crate) is_led: bool,
    pub(crate) leader_epoch: u8,
    /// Records by offset, with those that are being flushed: the next offset, and what the producers have sent.
    pub(crate) log: Vec<Record>,
    /// The producers' records before this offset are not known.
    pub(crate) producers_from: usize,
}

/// A load of the catalog, half-way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Load {
    pub(crate) part: usize,
    pub(crate) lane: u8,
    pub(crate) leader_epoch: u8,
    /// The records, once they are read.
    pub(crate) log: Option<Vec<Record>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    /// `refused`: it found itself out of the cluster, or without its lane.
    Down {
        refused: bool,
    },
    /// Registered, without a lane.
    Joined,
    Serving,
}

/// A broker process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Broker {
    /// The number of the broker and of its lane.
    pub(crate) lane: u8,
    pub(crate) life: Life,
    pub(crate) incarnation: u8,
    /// The lease.
    pub(crate) epoch: u8,
    pub(crate) flush_seq: u8,
    pub(crate) partitions: Vec<Known>,
    /// Records that wait for a flush.
    pub(crate) queue: Vec<Record>,
    pub(crate) writer: Writer,
    pub(crate) load: Option<Load>,
    pub(crate) is_paused: bool,
    /// It was paused since it joined.
    pub(crate) woke_up: bool,
}

impl Broker {
    pub(crate) fn down(lane: u8, partitions: usize) -> Self {
        Self {
            lane,
            life: Life::Down { refused: false },
            incarnation: 0,
            epoch: 0,
            flush_seq: 0,
            partitions: vec![Known::default(); partitions],
            queue: Vec::new(),
            writer: Writer::Idle,
            load: None,
            is_paused: false,
            woke_up: false,
        }
    }
}

/// How often each of these may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Records that a client sends, those that it sends again too.
    pub(crate) sends: u8,
    pub(crate) cuts: u8,
    pub(crate) crashes: u8,
    pub(crate) pauses: u8,
    pub(crate) takeovers: u8,
    pub(crate) handovers: u8,
    pub(crate) joins: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) database: Database,
    /// In order, as theirs does not matter.
    pub(crate) requests: Vec<Request>,
    pub(crate) brokers: Vec<Broker>,
    /// Records below this number were sent at least once.
    pub(crate) sent: Record,
    /// Record and offset, as clients were told; in order.
    pub(crate) acknowledged: Vec<(Record, u8)>,
    pub(crate) budget: Budget,
    /// A broker gave its lane up that nobody had taken.
    pub(crate) gave_up_for_nothing: bool,
}

/// What the protocol consists of. All true is the protocol; each that is false is a fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// A transaction is refused if the lane has another epoch.
    pub(crate) checks_epoch: bool,
    /// A transaction is refused if the lane has another flush_seq.
    pub(crate) checks_flush_seq: bool,
    /// After a lost connection the lane's row is looked at before anything is sent, and again after a refusal.
    pub(crate) looks_at_flush_seq: bool,
    /// A handover that is sent again stays in doubt.
    pub(crate) handover_stays_in_doubt: bool,
    /// The next leader epoch is fixed before a handover is sent.
    pub(crate) fixes_epoch_of_handover: bool,
    /// A takeover raises the epoch of the lane.
    pub(crate) takeover_deposes: bool,
    /// A claim raises the epoch of the lane.
    pub(crate) claim_raises_epoch: bool,
    /// A partition is moved after the open segments of its lane are sealed.
    pub(crate) seals_before_move: bool,
    /// A move raises the leader epoch.
    pub(crate) move_raises_leader_epoch: bool,
    /// Who comes to lead a partition learns what its producers have sent.
    pub(crate) rebuilds_producers: bool,
}

impl Rules {
    pub(crate) const ALL: Self = Self {
        checks_epoch: true,
        checks_flush_seq: true,
        looks_at_flush_seq: true,
        handover_stays_in_doubt: true,
        fixes_epoch_of_handover: true,
        takeover_deposes: true,
        claim_raises_epoch: true,
        seals_before_move: true,
        move_raises_leader_epoch: true,
        rebuilds_producers: true,
    };
}
