//! Fetch sessions (KIP-227): the partitions a consumer follows, kept between its requests, so that a request names only what
//! has changed and an answer only what is new. State alone: reading and waiting are the handler's business.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::ErrorCode;
use uuid::Uuid;

use crate::log::Offsets;

/// A session not used for so long gives way to a new one, as in Kafka.
const EVICTABLE_AFTER: Duration = Duration::from_secs(120);

/// The id that stands for no session.
const NO_SESSION: i32 = 0;
/// The epoch of a request that begins a session, or ends one and begins another.
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that wants no session, or ends one.
const FINAL_EPOCH: i32 = -1;

/// A partition by what requests of a version name it with: its topic's id, or where that is zero its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
}

/// What a consumer wants of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) fetch_offset: i64,
    /// -1: unknown to the client.
    pub(crate) leader_epoch: i32,
    pub(crate) bytes_max: usize,
}

/// A partition of a fetch.
pub(crate) type Wanted = (Key, Position);

/// What an answer said of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    high_watermark: i64,
    log_start_offset: i64,
}

impl Told {
    /// After an error the next answer must name the partition again.
    const ERROR: Self = Self {
        high_watermark: -1,
        log_start_offset: -1,
    };

    pub(crate) fn of(outcome: Result<Offsets, ErrorCode>) -> Self {
        outcome.map_or(Self::ERROR, |offsets| Self {
            high_watermark: offsets.high_watermark,
            log_start_offset: offsets.log_start_offset,
        })
    }
}

/// What became of a partition in one fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) told: Told,
    pub(crate) has_records: bool,
}

/// What the head of a request says of its session, and the partitions it names.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) session_id: i32,
    pub(crate) epoch: i32,
    pub(crate) uses_topic_ids: bool,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) forgotten: Vec<Key>,
}

/// A fetch that is under way: all partitions to be read, in their order.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) wanted: Vec<Wanted>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sessionless,
    /// Begins a session when it is answered.
    Full {
        uses_topic_ids: bool,
    },
    Incremental {
        session_id: i32,
        /// The epoch the session has while this fetch is under way.
        next_epoch: i32,
    },
}

/// How a fetch is to be answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) session_id: i32,
    /// For each partition of the fetch whether the answer names it.
    pub(crate) named: Vec<bool>,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    position: Position,
    told: Told,
}

#[derive(Debug)]
struct Session {
    uses_topic_ids: bool,
    /// The epoch the next request must have.
    epoch: i32,
    created_at: Instant,
    used_at: Instant,
    /// In the order they are read: who got records goes to the end.
    partitions: BTreeMap<u64, Entry>,
    places: HashMap<Key, u64>,
    next_place: u64,
}

impl Session {
    fn new(uses_topic_ids: bool, now: Instant) -> Self {
        Self {
            uses_topic_ids,
            epoch: next_epoch(INITIAL_EPOCH),
            created_at: now,
            used_at: now,
            partitions: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
        }
    }

    fn len(&self) -> usize {
        self.partitions.len()
    }

    fn set(&mut self, key: Key, position: Position) {
        let known = self
            .places
            .get(&key)
            .and_then(|at| self.partitions.get_mut(at));
        match known {
            Some(entry) => entry.position = position,
            None => self.push(Entry {
                key,
                position,
                told: Told::ERROR,
            }),
        }
    }

    fn push(&mut self, entry: Entry) {
        self.places.insert(entry.key.clone(), self.next_place);
        self.partitions.insert(self.next_place, entry);
        self.next_place += 1;
    }

    fn remove(&mut self, key: &Key) {
        if let Some(at) = self.places.remove(key) {
            self.partitions.remove(&at);
        }
    }

    fn wanted(&self) -> Vec<Wanted> {
        let entries = self.partitions.values();
        entries
            .map(|entry| (entry.key.clone(), entry.position))
            .collect()
    }

    /// Whether the answer names the partition: it has records, or there is something new to tell.
    fn tell(&mut self, key: &Key, outcome: &Outcome) -> bool {
        let Some(&at) = self.places.get(key) else {
            return true;
        };
        let Some(entry) = self.partitions.get_mut(&at) else {
            return true;
        };
        let is_named =
            outcome.has_records || outcome.told == Told::ERROR || outcome.told != entry.told;
        entry.told = outcome.told;
        if outcome.has_records
            && let Some(entry) = self.partitions.remove(&at)
        {
            self.push(entry);
        }
        is_named
    }
}

/// Kafka's: 1 follows the largest number.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

/// All sessions of a broker. There are at most so many, with so many partitions together; who gets none fetches in full.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    sessions: Mutex<Sessions>,
    sessions_max: usize,
    partitions_max: usize,
}

#[derive(Debug, Default)]
struct Sessions {
    by_id: HashMap<i32, Session>,
    partitions: usize,
}

impl Sessions {
    fn remove(&mut self, session_id: i32) {
        if let Some(session) = self.by_id.remove(&session_id) {
            self.partitions -= session.len();
        }
    }

    /// The session a new one of `size` partitions may take the place of: one long unused, else one that has been there for
    /// long enough and is smaller.
    fn evictable(&self, size: usize, now: Instant) -> Option<i32> {
        let aged = |since: Instant| now.saturating_duration_since(since) > EVICTABLE_AFTER;
        let (oldest, session) = self
            .by_id
            .iter()
            .min_by_key(|(_, session)| session.used_at)?;
        if aged(session.used_at) {
            return Some(*oldest);
        }
        let old = self
            .by_id
            .iter()
            .filter(|(_, session)| aged(session.created_at));
        let (smallest, session) = old.min_by_key(|(_, session)| session.len())?;
        (session.len() < size).then_some(*smallest)
    }

    fn free_id(&self) -> i32 {
        loop {
            // as random as the ids of topics are
            let (high, _) = Uuid::new_v4().as_u64_pair();
            let id = i32::try_from(high & 0x7fff_ffff).unwrap_or(NO_SESSION);
            if id != NO_SESSION && !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }
}

impl FetchSessions {
    /// At most `sessions_max` sessions, and so many partitions over all of them.
    pub(crate) fn new(sessions_max: usize, partitions_max: usize) -> Self {
        Self {
            sessions: Mutex::default(),
            sessions_max,
            partitions_max,
        }
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the request into its session and says what is to be read.
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.sessions().by_id.len()
    }

    pub(crate) fn begin(&self, request: Begin, now: Instant) -> Result<Fetch, ErrorCode> {
        let mut sessions = self.sessions();
        if matches!(request.epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            sessions.remove(request.session_id);
            let kind = if request.epoch == FINAL_EPOCH {
                Kind::Sessionless
            } else {
                Kind::Full {
                    uses_topic_ids: request.uses_topic_ids,
                }
            };
            return Ok(Fetch {
                wanted: request.wanted,
                kind,
            });
        }
        let found = sessions.by_id.get_mut(&request.session_id);
        let session = found.ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != request.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != request.uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let before = session.len();
        for key in &request.forgotten {
            session.remove(key);
        }
        for (key, position) in request.wanted {
            session.set(key, position);
        }
        session.used_at = now;
        session.epoch = next_epoch(session.epoch);
        let (after, wanted) = (session.len(), session.wanted());
        let next_epoch = session.epoch;
        sessions.partitions = sessions.partitions - before + after;
        if sessions.partitions > self.partitions_max && after > before {
            // no room for what it has grown by: the client begins again, with or without a session
            sessions.remove(request.session_id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        let kind = if wanted.is_empty() {
            sessions.remove(request.session_id);
            Kind::Sessionless
        } else {
            Kind::Incremental {
                session_id: request.session_id,
                next_epoch,
            }
        };
        Ok(Fetch { wanted, kind })
    }

    /// Notes what the answer to `fetch` tells; `outcomes` are those of its partitions, in their order.
    pub(crate) fn answer(
        &self,
        fetch: &Fetch,
        outcomes: &[Outcome],
        now: Instant,
    ) -> Result<Answer, ErrorCode> {
        let all = |session_id| Answer {
            session_id,
            named: vec![true; fetch.wanted.len()],
        };
        match fetch.kind {
            Kind::Sessionless => Ok(all(NO_SESSION)),
            Kind::Full { uses_topic_ids } => {
                let mut session = Session::new(uses_topic_ids, now);
                for ((key, position), outcome) in fetch.wanted.iter().zip(outcomes) {
                    session.set(key.clone(), *position);
                    session.tell(key, outcome);
                }
                Ok(all(self.add(session, now)))
            }
            Kind::Incremental {
                session_id,
                next_epoch,
            } => {
                let mut sessions = self.sessions();
                let found = sessions.by_id.get_mut(&session_id);
                let session = found.ok_or(ErrorCode::FetchSessionIdNotFound)?;
                // another request of the session has overtaken this one
                if session.epoch != next_epoch {
                    return Err(ErrorCode::InvalidFetchSessionEpoch);
                }
                let told = fetch.wanted.iter().zip(outcomes);
                let named = told
                    .map(|((key, _), outcome)| session.tell(key, outcome))
                    .collect();
                Ok(Answer { session_id, named })
            }
        }
    }

    /// The id of the session, or none where there is no room for it.
    fn add(&self, session: Session, now: Instant) -> i32 {
        let mut sessions = self.sessions();
        let size = session.len();
        if sessions.by_id.len() >= self.sessions_max {
            match sessions.evictable(size, now) {
                Some(evicted) if self.sessions_max > 0 => sessions.remove(evicted),
                _ => return NO_SESSION,
            }
        }
        if sessions.partitions + size > self.partitions_max {
            return NO_SESSION;
        }
        let id = sessions.free_id();
        sessions.partitions += size;
        sessions.by_id.insert(id, session);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: i32) -> Key {
        Key {
            topic: "t".into(),
            topic_id: Uuid::nil(),
            partition,
        }
    }

    fn wanted(partition: i32, fetch_offset: i64) -> Wanted {
        let position = Position {
            fetch_offset,
            leader_epoch: -1,
            bytes_max: 100,
        };
        (key(partition), position)
    }

    fn request(session_id: i32, epoch: i32, wanted: Vec<Wanted>) -> Begin {
        Begin {
            session_id,
            epoch,
            uses_topic_ids: false,
            wanted,
            forgotten: Vec::new(),
        }
    }

    fn told(high_watermark: i64, has_records: bool) -> Outcome {
        let offsets = Offsets {
            log_start_offset: 0,
            high_watermark,
            last_stable_offset: high_watermark,
        };
        Outcome {
            told: Told::of(Ok(offsets)),
            has_records,
        }
    }

    const NOTHING_NEW: fn(i64) -> Outcome = |high_watermark| told(high_watermark, false);

    fn open(sessions: &FetchSessions, partitions: i32, now: Instant) -> i32 {
        let wanted = (0..partitions).map(|p| wanted(p, 0)).collect();
        let fetch = sessions.begin(request(0, 0, wanted), now).unwrap();
        let outcomes = vec![NOTHING_NEW(5); partitions as usize];
        sessions.answer(&fetch, &outcomes, now).unwrap().session_id
    }

    #[test]
    fn an_answer_names_what_is_new_and_who_got_records_goes_last() {
        let (sessions, now) = (FetchSessions::new(10, 1_000), Instant::now());
        let id = open(&sessions, 3, now);
        assert_ne!(id, 0);
        let fetch = sessions
            .begin(request(id, 1, vec![wanted(1, 7)]), now)
            .unwrap();
        let offsets: Vec<i64> = fetch.wanted.iter().map(|(_, p)| p.fetch_offset).collect();
        assert_eq!(offsets, [0, 7, 0]);
        let outcomes = [told(6, true), NOTHING_NEW(5), NOTHING_NEW(6)];
        let answer = sessions.answer(&fetch, &outcomes, now).unwrap();
        assert_eq!(
            (answer.session_id, answer.named),
            (id, vec![true, false, true])
        );
        let fetch = sessions.begin(request(id, 2, Vec::new()), now).unwrap();
        let order: Vec<i32> = fetch.wanted.iter().map(|(k, _)| k.partition).collect();
        assert_eq!(order, [1, 2, 0]);
        let failed = Outcome {
            told: Told::of(Err(ErrorCode::KafkaStorageError)),
            has_records: false,
        };
        let outcomes = [failed, NOTHING_NEW(6), NOTHING_NEW(6)];
        assert_eq!(
            sessions.answer(&fetch, &outcomes, now).unwrap().named,
            [true, false, false]
        );
        let fetch = sessions.begin(request(id, 3, Vec::new()), now).unwrap();
        let outcomes = [NOTHING_NEW(5), NOTHING_NEW(6), NOTHING_NEW(6)];
        assert_eq!(
            sessions.answer(&fetch, &outcomes, now).unwrap().named,
            [true, false, false]
        );
    }

    #[test]
    fn forgotten_partitions_go_and_an_empty_session_ends() {
        let (sessions, now) = (FetchSessions::new(10, 1_000), Instant::now());
        let id = open(&sessions, 2, now);
        let mut forget = request(id, 1, Vec::new());
        forget.forgotten = vec![key(0)];
        assert_eq!(sessions.begin(forget, now).unwrap().wanted.len(), 1);
        let mut forget = request(id, 2, Vec::new());
        forget.forgotten = vec![key(1), key(9)];
        let fetch = sessions.begin(forget, now).unwrap();
        assert_eq!(sessions.answer(&fetch, &[], now).unwrap().session_id, 0);
        let gone = sessions.begin(request(id, 3, Vec::new()), now);
        assert_eq!(gone.unwrap_err(), ErrorCode::FetchSessionIdNotFound);
        assert_eq!(sessions.sessions().partitions, 0);
    }

    #[test]
    fn wrong_epochs_and_kinds_of_names_are_refused() {
        let (sessions, now) = (FetchSessions::new(10, 1_000), Instant::now());
        let id = open(&sessions, 1, now);
        let early = sessions.begin(request(id, 2, Vec::new()), now);
        assert_eq!(early.unwrap_err(), ErrorCode::InvalidFetchSessionEpoch);
        let mut by_id = request(id, 1, Vec::new());
        by_id.uses_topic_ids = true;
        assert_eq!(
            sessions.begin(by_id, now).unwrap_err(),
            ErrorCode::FetchSessionTopicIdError
        );
        let first = sessions.begin(request(id, 1, Vec::new()), now).unwrap();
        sessions.begin(request(id, 2, Vec::new()), now).unwrap();
        let overtaken = sessions.answer(&first, &[NOTHING_NEW(5)], now);
        assert_eq!(overtaken.unwrap_err(), ErrorCode::InvalidFetchSessionEpoch);
        assert_eq!(next_epoch(i32::MAX), 1);
    }

    #[test]
    fn a_full_request_or_the_final_epoch_ends_the_session() {
        let (sessions, now) = (FetchSessions::new(10, 1_000), Instant::now());
        for epoch in [INITIAL_EPOCH, FINAL_EPOCH] {
            let id = open(&sessions, 1, now);
            sessions.begin(request(id, epoch, Vec::new()), now).unwrap();
            let gone = sessions.begin(request(id, 1, Vec::new()), now);
            assert_eq!(gone.unwrap_err(), ErrorCode::FetchSessionIdNotFound);
        }
    }

    #[test]
    fn a_full_cache_gives_way_to_larger_sessions_after_a_while() {
        let (sessions, now) = (FetchSessions::new(2, 100), Instant::now());
        let (small, large) = (open(&sessions, 1, now), open(&sessions, 5, now));
        assert_eq!(open(&sessions, 9, now), 0, "nothing is old enough");
        let later = now + EVICTABLE_AFTER + Duration::from_secs(1);
        for id in [small, large] {
            sessions.begin(request(id, 1, Vec::new()), later).unwrap();
        }
        assert_eq!(open(&sessions, 1, later), 0, "no smaller one");
        assert_ne!(open(&sessions, 3, later), 0);
        let gone = sessions.begin(request(small, 2, Vec::new()), later);
        assert_eq!(gone.unwrap_err(), ErrorCode::FetchSessionIdNotFound);
        let much_later = later + EVICTABLE_AFTER + Duration::from_secs(1);
        assert_ne!(
            open(&sessions, 1, much_later),
            0,
            "unused sessions give way to any"
        );
    }

    #[test]
    fn partitions_are_bounded_over_all_sessions() {
        let (sessions, now) = (FetchSessions::new(10, 5), Instant::now());
        let id = open(&sessions, 4, now);
        assert_ne!(id, 0);
        assert_eq!(open(&sessions, 2, now), 0);
        let more = (0..9).map(|p| wanted(p, 0)).collect();
        let refused = sessions.begin(request(id, 1, more), now);
        assert_eq!(refused.unwrap_err(), ErrorCode::FetchSessionIdNotFound);
        assert_eq!(sessions.sessions().partitions, 0);
    }
}
