//! Who of a group's targets departs: counted once for a health and a list. The instances of a batch look at the same two,
//! several times in each turn, and in a storm both hold a thousand.

use crate::annotation::Departure;
use crate::id::InstanceId;
use crate::limits::CLAIM_SETTLES;
use crate::snapshot::aws::TargetGroup;
use crate::snapshot::departing::Departures;
use crate::time::Timestamp;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// What a group's health and a list of departing nodes say together.
#[derive(Debug)]
pub struct Tally {
    /// How many departing nodes count for the floor although their target lives no more (`is_gone`).
    pub(super) gone: usize,
    /// Who departs of the living targets.
    pub(super) living: Queue,
    /// Who departs of those that may turn healthy next.
    pub(super) rising: Queue,
}

impl Tally {
    pub(crate) fn of(group: &TargetGroup, departing: &Departures) -> Self {
        let targets = &group.targets;
        let gone = departing.values().filter(|record| is_gone(group, record));
        Self {
            gone: gone.count(),
            living: Queue::of(group, targets.living(), departing),
            rising: Queue::of(group, targets.rising(), departing),
        }
    }
}

/// Whether a record counts for the floor although its target lives no more: with a short deregistration delay the target
/// itself is gone from the group within seconds, and a floor without it would sink with each departure.
pub(super) fn is_gone(group: &TargetGroup, record: &Departure) -> bool {
    let id = record.instance.as_str();
    !group.targets.living().contains(id)
        && (group.targets.draining().contains(id) || record.withdrawn_from(&group.arn).is_some())
}

/// The departing nodes among some targets of a group, by their places.
#[derive(Debug)]
pub(super) struct Queue {
    /// Who wrote down that it leaves: its rank, and when.
    claimed: Vec<(Rank, Timestamp)>,
    /// Everybody else, the first in the order first.
    waiting: Vec<Rank>,
}

/// The most urgent first, ties by id.
type Rank = (Timestamp, InstanceId);

impl Queue {
    fn of(group: &TargetGroup, counted: &BTreeSet<String>, departing: &Departures) -> Self {
        let (mut claimed, mut waiting) = (Vec::new(), Vec::new());
        let mut is_counted = among(counted);
        for (id, record) in departing.iter().filter(|(id, _)| is_counted(id)) {
            let place = Place::of(id, record, group);
            let rank = (place.rank.0, id.clone());
            match place.claimed_at {
                Some(at) => claimed.push((rank, at)),
                None => waiting.push(rank),
            }
        }
        waiting.sort_unstable();
        Self { claimed, waiting }
    }

    /// How many depart.
    pub(super) fn len(&self) -> usize {
        self.claimed.len() + self.waiting.len()
    }

    /// How many wrote down that they leave.
    pub(super) fn claimed(&self) -> usize {
        self.claimed.len()
    }

    /// How many take a place before `mine` (`is_before`). Whoever is in the queue itself is compared as it was listed.
    pub(super) fn before(&self, mine: &Place<'_>, now: Timestamp) -> usize {
        if mine.claimed_at.is_none() {
            let waiting = self.waiting.partition_point(|(hard, id)| (*hard, id) < mine.rank);
            return self.claimed.len() + waiting;
        }
        let claimed = self
            .claimed
            .iter()
            .map(|((hard, id), at)| Place { rank: (*hard, id), claimed_at: Some(*at) });
        claimed.filter(|place| is_before(place, mine, now)).count()
    }
}

/// A node's place among those that leave a group.
pub(super) struct Place<'a> {
    /// The most urgent first, ties by id.
    rank: (Timestamp, &'a InstanceId),
    /// When it wrote down that it leaves.
    pub(super) claimed_at: Option<Timestamp>,
}

impl<'a> Place<'a> {
    pub(super) fn of(id: &'a InstanceId, record: &Departure, group: &TargetGroup) -> Self {
        let claim = record.withdrawn_from(&group.arn);
        Self {
            rank: (record.hard().unwrap_or(Timestamp::from_millis(i64::MAX)), id),
            claimed_at: claim.map(|withdrawn| withdrawn.at),
        }
    }
}

/// Whether another node takes a place before this one. Who wrote down that it leaves comes before all who did not, and
/// it listed the others again after that: of any who leave, the last to write it down has seen all the others. Should
/// too many have written at once, none of them leaves until all have seen that; then the order decides.
pub(super) fn is_before(other: &Place<'_>, mine: &Place<'_>, now: Timestamp) -> bool {
    let settled = |at: Timestamp| at + CLAIM_SETTLES <= now;
    let by_rank = || other.rank < mine.rank;
    match (other.claimed_at, mine.claimed_at) {
        (Some(theirs), Some(own)) => by_rank() || !settled(theirs) || !settled(own),
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (None, None) => by_rank(),
    }
}

/// Whether an instance is among `ids`, asked in the order of instances. Both are sorted, so each is gone through once.
fn among(ids: &BTreeSet<String>) -> impl FnMut(&InstanceId) -> bool + use<'_> {
    let mut ids = ids.iter().map(String::as_str).peekable();
    move |id| {
        while let Some(next) = ids.peek() {
            match (*next).cmp(id.as_str()) {
                Ordering::Less => drop(ids.next()),
                Ordering::Equal => return true,
                Ordering::Greater => return false,
            }
        }
        false
    }
}
