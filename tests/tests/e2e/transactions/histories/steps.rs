//! The steps of a history, and how they are drawn.

use proptest::prelude::*;

use super::IDS;
use super::model::PARTITIONS;

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A new producer takes an id over, and fences the one before it.
    Init {
        id: usize,
    },
    /// A producer asks for another epoch (KIP-360).
    Recover {
        id: usize,
    },
    /// A partition becomes part of a transaction without records, which transaction version 1 allows.
    Add {
        id: usize,
        partition: usize,
    },
    Produce {
        id: usize,
        partition: usize,
        records: usize,
    },
    /// The last batch once more, and one that leaves a gap.
    Repeat {
        id: usize,
        partition: usize,
    },
    /// By a producer without transactions, twice.
    Plain {
        partition: usize,
        records: usize,
    },
    Offset {
        id: usize,
    },
    End {
        id: usize,
        is_commit: bool,
    },
    /// The last end once more, as after an answer that was lost.
    EndAgain {
        id: usize,
    },
    /// Whoever was fenced tries everything.
    Late {
        id: usize,
        partition: usize,
    },
    /// A producer begins a transaction and is never heard of again.
    Vanish {
        id: usize,
        partition: usize,
    },
    /// A reader begins somewhere.
    Read {
        partition: usize,
        share: u8,
    },
    /// kill -9 of the broker while a request is under way, which is sent again.
    Crash {
        id: usize,
        partition: usize,
        deed: Deed,
        pause_us: u64,
    },
}

/// What is under way when the broker is killed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    Nothing,
    Produce,
    Commit,
    Abort,
    Init,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let (id, partition) = (0..IDS, 0..PARTITIONS);
    let both = || (0..IDS, 0..PARTITIONS);
    let deed = prop_oneof![
        Just(Deed::Nothing),
        Just(Deed::Produce),
        Just(Deed::Commit),
        Just(Deed::Abort),
        Just(Deed::Init),
    ];
    prop_oneof![
        3 => id.clone().prop_map(|id| Step::Init { id }),
        1 => id.clone().prop_map(|id| Step::Recover { id }),
        2 => both().prop_map(|(id, partition)| Step::Add { id, partition }),
        14 => (both(), 1..4_usize)
            .prop_map(|((id, partition), records)| Step::Produce { id, partition, records }),
        3 => both().prop_map(|(id, partition)| Step::Repeat { id, partition }),
        3 => (partition.clone(), 1..3_usize)
            .prop_map(|(partition, records)| Step::Plain { partition, records }),
        4 => id.clone().prop_map(|id| Step::Offset { id }),
        10 => (id.clone(), any::<bool>()).prop_map(|(id, is_commit)| Step::End { id, is_commit }),
        3 => id.prop_map(|id| Step::EndAgain { id }),
        4 => both().prop_map(|(id, partition)| Step::Late { id, partition }),
        1 => both().prop_map(|(id, partition)| Step::Vanish { id, partition }),
        3 => (partition, any::<u8>()).prop_map(|(partition, share)| Step::Read { partition, share }),
        1 => (both(), deed, 0..3_000_u64).prop_map(|((id, partition), deed, pause_us)| Step::Crash {
            id,
            partition,
            deed,
            pause_us,
        }),
    ]
}
