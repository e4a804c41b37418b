//! Features that have levels (KIP-584): which there are, and at which level they are in this cluster.
//!
//! `transaction.version` says which requests producers with transactions send; all of them are served at every level. At level 0 of
//! `group.version` there is no new protocol of groups.

/// A feature; its least level is 0, which is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// The newest level, which holds where nobody has chosen another.
    pub(crate) newest: i16,
}

/// `group.version`
pub(crate) const GROUPS: Feature = Feature {
    name: "group.version",
    newest: 1,
};
/// `transaction.version`
const TRANSACTIONS: Feature = Feature {
    name: "transaction.version",
    newest: 2,
};

/// All of them, by name.
pub(crate) const FEATURES: [Feature; 2] = [GROUPS, TRANSACTIONS];

/// The levels at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Levels {
    chosen: Vec<(String, i16)>,
    /// Grows with every change.
    pub(crate) epoch: i64,
}

impl Levels {
    /// Of what is stored; a level that is not known here is the newest that is.
    pub(super) fn new(stored: Vec<(String, i16, i64)>) -> Self {
        let epoch = stored.iter().map(|(_, _, epoch)| *epoch).max();
        let chosen = stored.into_iter().map(|(name, level, _)| (name, level));
        Self {
            chosen: chosen.collect(),
            epoch: epoch.unwrap_or(0),
        }
    }

    pub(crate) fn of(&self, feature: Feature) -> i16 {
        let chosen = self.chosen.iter().find(|(name, _)| name == feature.name);
        chosen.map_or(feature.newest, |(_, level)| *level.min(&feature.newest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_the_newest_unless_one_was_chosen() {
        let levels = Levels::new(vec![
            ("group.version".to_owned(), 0, 7),
            ("transaction.version".to_owned(), 9, 5),
        ]);
        assert_eq!((levels.of(GROUPS), levels.of(TRANSACTIONS)), (0, 2));
        assert_eq!(levels.epoch, 7);
        assert_eq!(Levels::default().of(GROUPS), 1);
    }
}
