//! The nodes of a cluster that leave, with their records: listed by every process, and looked at by every instance of a batch.
//! So both are shared, read once, and counted once for each health of a target group.

use super::aws::{TargetGroup, Targets};
use crate::annotation::Departure;
use crate::id::{InstanceId, NodeName, TargetGroupArn};
use crate::withdraw::tally::Tally;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// Another node on its way out, from the list of unschedulable nodes with our annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its instance.
    pub instance: InstanceId,
    /// Its name.
    pub node: NodeName,
    /// Our annotation on it, verbatim (`annotation::Departure` reads it).
    pub annotation: String,
}

/// The departing nodes of a cluster, with their records read once.
#[derive(Clone, Debug, Default)]
pub struct Peers(Arc<Listed>);

#[derive(Debug, Default)]
struct Listed {
    peers: Vec<Peer>,
    /// The record of each of them, as far as it can be read.
    read: Vec<Option<Arc<Departure>>>,
    records: Departures,
}

impl Peers {
    /// Their records by instance; one that can't be read has none.
    pub fn records(&self) -> &Departures {
        &self.0.records
    }

    /// A new list. Of what was listed before and has not changed, nothing is read again: in a storm that is nearly all of a
    /// thousand records, several times a second.
    #[must_use]
    pub fn renewed(&self, peers: Vec<Peer>) -> Self {
        // Both are in the API server's order, by name.
        let mut before = self.iter().zip(&self.0.read).peekable();
        let read = |peer: &Peer| {
            while before.next_if(|(old, _)| old.node < peer.node).is_some() {}
            match before.peek() {
                Some((old, read)) if *old == peer => (*read).clone(),
                Some(_) | None => Departure::parse(&peer.annotation).map(Arc::new),
            }
        };
        let read: Vec<_> = peers.iter().map(read).collect();
        let records = read.iter().flatten().cloned().collect();
        Self(Arc::new(Listed { peers, read, records }))
    }
}

impl FromIterator<Peer> for Peers {
    fn from_iter<I: IntoIterator<Item = Peer>>(peers: I) -> Self {
        Self::default().renewed(peers.into_iter().collect())
    }
}

impl From<Vec<Peer>> for Peers {
    fn from(peers: Vec<Peer>) -> Self {
        peers.into_iter().collect()
    }
}

impl Deref for Peers {
    type Target = [Peer];

    fn deref(&self) -> &[Peer] {
        &self.0.peers
    }
}

impl PartialEq for Peers {
    fn eq(&self, other: &Self) -> bool {
        self.0.peers == other.0.peers
    }
}

/// The records of departing nodes by instance.
#[derive(Clone, Debug, Default)]
pub struct Departures(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    records: BTreeMap<InstanceId, Arc<Departure>>,
    /// By group, what was counted last, and for which health of it. It follows from the records and that health alone, so
    /// that nobody can tell whether it was there before; one entry for each group.
    tallies: Mutex<BTreeMap<TargetGroupArn, (Targets, Arc<Tally>)>>,
}

impl Departures {
    /// Who of a group's targets departs.
    pub fn tally(&self, group: &TargetGroup) -> Arc<Tally> {
        let mut tallies = self.0.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        match tallies.get(&group.arn) {
            Some((targets, tally)) if targets.is_same(&group.targets) => tally.clone(),
            _ => {
                let tally = Arc::new(Tally::of(group, self));
                tallies.insert(group.arn.clone(), (group.targets.clone(), tally.clone()));
                tally
            }
        }
    }
}

impl FromIterator<Arc<Departure>> for Departures {
    fn from_iter<I: IntoIterator<Item = Arc<Departure>>>(records: I) -> Self {
        let by_instance = |record: Arc<Departure>| (record.instance.clone(), record);
        let records = records.into_iter().map(by_instance).collect();
        Self(Arc::new(Counted { records, ..Counted::default() }))
    }
}

impl Deref for Departures {
    type Target = BTreeMap<InstanceId, Arc<Departure>>;

    fn deref(&self) -> &Self::Target {
        &self.0.records
    }
}
