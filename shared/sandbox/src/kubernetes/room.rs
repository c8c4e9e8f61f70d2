//! Where there is room: nodes by what the scheduler minds about them, the emptiest first, and the pods that wait.
//!
//! Both are kept up to date with each change, so that to place a pod takes no walk over all nodes, and a workload for
//! which there is no room is asked once for all of its pods.

use crate::kubernetes::object::{Key, Object};
use crate::kubernetes::workload::Workload;
use crate::kubernetes::{pod, taint};
use crate::world::Millis;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is on a node.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Pods that have not ended.
    pub(super) all: usize,
    /// How many of those each workload has.
    pub(super) same: BTreeMap<Arc<str>, usize>,
}

/// Nodes that the scheduler likes alike: the same taints, and schedulable or not.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) unschedulable: bool,
    pub(super) taints: Vec<Value>,
    /// Nodes with room by the number of their pods.
    pub(super) open: BTreeSet<(usize, Arc<str>)>,
    /// Nodes without.
    pub(super) full: BTreeSet<Arc<str>>,
}

impl Class {
    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.full.is_empty()
    }
}

/// A node in its class.
#[derive(Debug)]
struct Seat {
    class: String,
    room: usize,
}

/// All nodes.
#[derive(Debug, Default)]
pub(super) struct Room {
    classes: BTreeMap<String, Class>,
    seats: BTreeMap<Arc<str>, Seat>,
    usage: BTreeMap<Arc<str>, Usage>,
    /// Where each pod is counted, and for which workload.
    pods: BTreeMap<Key, (Arc<str>, Option<Arc<str>>)>,
}

impl Room {
    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        self.seats.len()
    }

    /// The classes of nodes.
    pub(super) fn classes(&self) -> impl Iterator<Item = &Class> {
        self.classes.values()
    }

    /// What is on a node.
    pub(super) fn usage(&self, node: &str) -> Option<&Usage> {
        self.usage.get(node)
    }

    /// How many pods of a workload are on a node.
    pub(super) fn same(&self, node: &str, workload: &str) -> usize {
        self.usage.get(node).and_then(|usage| usage.same.get(workload)).copied().unwrap_or(0)
    }

    /// A node changed, or is gone.
    pub(super) fn hear_node(&mut self, name: &Arc<str>, node: Option<&Object>) {
        let next = node.map(|node| (class(node), room(node)));
        if let (Some(seat), Some((class, room))) = (self.seats.get(name), &next)
            && seat.class == *class
            && seat.room == *room
        {
            return;
        }
        self.stand_up(name);
        if let Some(seat) = self.seats.remove(name)
            && self.classes.get(&seat.class).is_some_and(Class::is_empty)
        {
            self.classes.remove(&seat.class);
        }
        if let (Some(node), Some((class, room))) = (node, next) {
            self.classes.entry(class.clone()).or_insert_with(|| Class {
                unschedulable: node.spec["unschedulable"] == true,
                taints: taint::of(node).to_vec(),
                open: BTreeSet::new(),
                full: BTreeSet::new(),
            });
            self.seats.insert(name.clone(), Seat { class, room });
            self.sit_down(name);
        }
    }

    /// A pod changed, or is gone.
    pub(super) fn hear_pod(&mut self, key: &Key, pod: Option<&Object>) {
        let node = pod.filter(|pod| !pod::is_terminal(pod)).and_then(|pod| pod.node());
        match (node, self.pods.get(key)) {
            (None, None) => {}
            (Some(node), Some((known, _))) if known == node => {}
            (Some(node), _) => {
                let owner = pod.and_then(|pod| pod.controller()).map(|owner| owner.uid.clone());
                self.leave(key);
                self.enter(key, node, owner);
            }
            (None, Some(_)) => self.leave(key),
        }
    }

    /// A pod of a workload was bound to a node.
    pub(super) fn sit(&mut self, key: &Key, node: &Arc<str>, workload: &Arc<str>) {
        self.leave(key);
        self.enter(key, node, Some(workload.clone()));
    }

    fn enter(&mut self, key: &Key, node: &Arc<str>, workload: Option<Arc<str>>) {
        self.stand_up(node);
        let usage = self.usage.entry(node.clone()).or_default();
        usage.all += 1;
        if let Some(workload) = &workload {
            *usage.same.entry(workload.clone()).or_default() += 1;
        }
        self.pods.insert(key.clone(), (node.clone(), workload));
        self.sit_down(node);
    }

    fn leave(&mut self, key: &Key) {
        let Some((node, workload)) = self.pods.remove(key) else { return };
        self.stand_up(&node);
        if let Some(usage) = self.usage.get_mut(&node) {
            usage.all -= 1;
            if let Some(workload) = workload
                && let Some(same) = usage.same.get_mut(&workload)
            {
                *same -= 1;
                if *same == 0 {
                    usage.same.remove(&workload);
                }
            }
            if usage.all == 0 {
                self.usage.remove(&node);
            }
        }
        self.sit_down(&node);
    }

    /// Takes a node out of its class, since its place in there is about to change.
    fn stand_up(&mut self, name: &Arc<str>) {
        let all = self.usage.get(name).map_or(0, |usage| usage.all);
        let Some(seat) = self.seats.get(name) else { return };
        let Some(class) = self.classes.get_mut(&seat.class) else { return };
        class.open.remove(&(all, name.clone()));
        class.full.remove(name);
    }

    fn sit_down(&mut self, name: &Arc<str>) {
        let all = self.usage.get(name).map_or(0, |usage| usage.all);
        let Some(seat) = self.seats.get(name) else { return };
        let Some(class) = self.classes.get_mut(&seat.class) else { return };
        if all < seat.room {
            class.open.insert((all, name.clone()));
        } else {
            class.full.insert(name.clone());
        }
    }
}

/// What the scheduler minds about a node: not since when it has a taint.
fn class(node: &Object) -> String {
    let mut class = String::new();
    if node.spec["unschedulable"] == true {
        class.push('!');
    }
    for taint in taint::of(node) {
        for field in ["key", "value", "effect"] {
            class.push('|');
            class.push_str(taint[field].as_str().unwrap_or_default());
        }
    }
    class
}

/// How many pods a node takes.
pub(super) fn room(node: &Object) -> usize {
    let room = node.status["allocatable"]["pods"].as_str().and_then(|pods| pods.parse().ok());
    room.unwrap_or(usize::MAX)
}

/// Pods of one workload without a node.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Those that were not told yet that there is no room.
    pub(super) fresh: BTreeSet<Key>,
    /// Those that were.
    pub(super) told: BTreeSet<Key>,
    /// What they were told.
    pub(super) message: String,
    /// When.
    pub(super) told_at: Millis,
}

/// Who comes first: the priority, then the names; the workload keeps two of one name apart.
type Place = (i32, Arc<str>, Arc<str>);

/// All pods without a node, the most important first.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queues: BTreeMap<Place, Queue>,
    places: BTreeMap<Key, Place>,
}

impl Pending {
    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether this pod waits.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// A pod of a workload waits.
    pub(super) fn insert(&mut self, key: &Key, (id, work): (&Arc<str>, &Workload)) {
        let head = format!("{}/{}-", work.namespace, work.name);
        let place = (-work.priority, head.into(), id.clone());
        self.queues.entry(place.clone()).or_default().fresh.insert(key.clone());
        self.places.insert(key.clone(), place);
    }

    /// It waits no more.
    pub(super) fn remove(&mut self, key: &str) {
        let Some((key, place)) = self.places.remove_entry(key) else { return };
        let Some(queue) = self.queues.get_mut(&place) else { return };
        queue.fresh.remove(&key);
        queue.told.remove(&key);
        if queue.fresh.is_empty() && queue.told.is_empty() {
            self.queues.remove(&place);
        }
    }

    /// The places of all queues, the most important first.
    pub(super) fn places(&self) -> Vec<Place> {
        self.queues.keys().cloned().collect()
    }

    /// The queue at a place.
    pub(super) fn queue(&mut self, place: &Place) -> Option<&mut Queue> {
        self.queues.get_mut(place)
    }
}
