//! The store: every object by kind and key, one counter of writes, and a bounded history of them.
//!
//! Controllers and kubelets read the same history as watches do (`take_news`), so that whoever
//! wrote (a caller, another controller, a scenario) makes no difference to them.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{Key, Object};
use crate::world::Millis;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How many writes a watch can look back over: some minutes of a busy cluster. Fewer would answer
/// 410 to clients that pause, more would only cost memory.
const HISTORY_MAX: usize = 8_192;

/// One write.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its number.
    pub resource_version: u64,
    /// The kind of the object.
    pub kind: Kind,
    /// The object before, or none if it was created.
    pub before: Option<Arc<Object>>,
    /// The object after, or none if it is gone.
    pub after: Option<Arc<Object>>,
}

impl Change {
    /// The newest version of the object: for one that is gone, its last.
    pub fn object(&self) -> Option<&Arc<Object>> {
        self.after.as_ref().or(self.before.as_ref())
    }
}

/// All objects.
#[derive(Debug, Default)]
pub struct Store {
    /// By kind, in the order of their declaration.
    objects: [BTreeMap<Key, Arc<Object>>; Kind::ALL.len()],
    resource_version: u64,
    history: VecDeque<Change>,
    /// Watches from before this version are too old.
    compacted: u64,
    /// Up to where controllers and kubelets have heard.
    heard: u64,
    pods_on: BTreeMap<Arc<str>, BTreeSet<Key>>,
    pods_of: BTreeMap<Arc<str>, BTreeSet<Key>>,
    /// The nodes that are unschedulable.
    cordoned: BTreeSet<Key>,
    /// The latest write by kind.
    latest: BTreeMap<Kind, u64>,
    /// The latest write to a pod of a node.
    latest_on: BTreeMap<Arc<str>, u64>,
}

impl Store {
    /// The number of the latest write.
    pub fn resource_version(&self) -> u64 {
        self.resource_version
    }

    /// The oldest version that a watch may still start from.
    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    /// One object.
    pub fn get(&self, kind: Kind, key: &str) -> Option<&Arc<Object>> {
        self.objects[kind as usize].get(key)
    }

    /// All objects of a kind, in the order of their keys.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Arc<Object>)> {
        self.objects[kind as usize].iter()
    }

    /// The objects of a kind in one namespace.
    pub fn within(
        &self,
        kind: Kind,
        namespace: &str,
    ) -> impl Iterator<Item = (&Key, &Arc<Object>)> {
        let first = crate::kubernetes::object::key(namespace, "");
        let end = first.len();
        let rest = self.objects[kind as usize].range(first.clone()..);
        rest.take_while(move |(key, _)| key.get(..end) == Some(&*first))
    }

    /// The keys of a node's pods.
    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &Key> {
        self.pods_on.get(node).into_iter().flatten()
    }

    /// The keys of the nodes that are unschedulable.
    pub fn cordoned(&self) -> impl Iterator<Item = &Key> {
        self.cordoned.iter()
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.objects[kind as usize].len()
    }

    /// The number of the latest write to an object of a kind; for pods of a node, if one is named, alone.
    pub fn latest(&self, kind: Kind, node: Option<&str>) -> u64 {
        let latest = match node {
            Some(node) if kind == Kind::Pod => self.latest_on.get(node),
            _ => self.latest.get(&kind),
        };
        latest.copied().unwrap_or(0)
    }

    /// The pods of an owner by its uid; of nobody for an empty one.
    pub fn pods_of(&self, owner: &str) -> impl Iterator<Item = (&Key, &Arc<Object>)> {
        let keys = self.pods_of.get(owner).into_iter().flatten();
        keys.filter_map(|key| Some((key, self.get(Kind::Pod, key)?)))
    }

    /// Keeps a new object, or a new version of one, and numbers it.
    pub fn put(&mut self, mut object: Object) -> Arc<Object> {
        self.resource_version += 1;
        object.meta.resource_version = self.resource_version;
        object.forget_known();
        let (kind, key, after) = (object.kind, object.key(), Arc::new(object));
        let before = self.objects[kind as usize].insert(key.clone(), after.clone());
        self.index(&key, before.as_deref(), Some(&after));
        self.record(kind, before, Some(after.clone()));
        after
    }

    /// Changes an object; nothing is written if there is none, or if it stays the same.
    pub fn update(&mut self, kind: Kind, key: &str, change: impl FnOnce(&mut Object)) -> bool {
        let Some(old) = self.get(kind, key) else { return false };
        let mut new = Object::clone(old);
        change(&mut new);
        if new.same(old) {
            return false;
        }
        drop(self.put(new));
        true
    }

    /// Removes an object. The last version that watches see carries the number of the removal.
    pub fn remove(&mut self, kind: Kind, key: &str) -> Option<Arc<Object>> {
        let (key, last) = self.objects[kind as usize].remove_entry(key)?;
        self.index(&key, Some(&last), None);
        self.resource_version += 1;
        let mut last = Object::clone(&last);
        last.meta.resource_version = self.resource_version;
        let last = Arc::new(last);
        self.record(kind, Some(last.clone()), None);
        Some(last)
    }

    /// The writes after a version, oldest first.
    pub fn since(&self, resource_version: u64) -> impl Iterator<Item = &Change> {
        let from =
            self.history.partition_point(|change| change.resource_version <= resource_version);
        self.history.range(from..)
    }

    /// The next write that controllers and kubelets have not heard of.
    pub(crate) fn take_news(&mut self) -> Option<Change> {
        let change = self.since(self.heard).next()?.clone();
        self.heard = change.resource_version;
        Some(change)
    }

    /// Forgets the history, as etcd does every five minutes: older watches get a 410.
    pub fn compact(&mut self) {
        self.compacted = self.resource_version;
        self.heard = self.resource_version;
        self.history.clear();
    }

    fn record(&mut self, kind: Kind, before: Option<Arc<Object>>, after: Option<Arc<Object>>) {
        let resource_version = self.resource_version;
        self.latest.insert(kind, resource_version);
        if kind == Kind::Pod {
            for version in [&before, &after].into_iter().flatten() {
                let Some(node) = version.node() else { continue };
                match self.latest_on.get_mut(node) {
                    Some(latest) => *latest = resource_version,
                    None => drop(self.latest_on.insert(node.clone(), resource_version)),
                }
            }
        }
        self.history.push_back(Change { resource_version, kind, before, after });
        let heard = self.heard;
        if self.history.len() > HISTORY_MAX
            && let Some(old) = self.history.pop_front_if(|change| change.resource_version <= heard)
        {
            self.compacted = old.resource_version;
        }
    }

    fn index(&mut self, key: &Key, before: Option<&Object>, after: Option<&Object>) {
        match after.or(before).map(|object| object.kind) {
            Some(Kind::Pod) => {
                move_key(&mut self.pods_of, key, before.map(owner), after.map(owner));
                move_key(&mut self.pods_on, key, before.and_then(node), after.and_then(node));
            }
            Some(Kind::Node) => {
                if after.is_some_and(|node| node.spec["unschedulable"] == true) {
                    self.cordoned.insert(key.clone());
                } else {
                    self.cordoned.remove(key);
                }
            }
            _ => {}
        }
    }
}

/// The uid of a pod's owner; empty for nobody.
fn owner(pod: &Object) -> &str {
    pod.controller().map_or("", |owner| &owner.uid)
}

fn node(pod: &Object) -> Option<&str> {
    pod.node().map(|node| &**node)
}

type Index = BTreeMap<Arc<str>, BTreeSet<Key>>;

fn move_key(index: &mut Index, key: &Key, from: Option<&str>, to: Option<&str>) {
    if from == to {
        return;
    }
    if let Some(from) = from
        && let Some(keys) = index.get_mut(from)
    {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(from);
        }
    }
    if let Some(to) = to {
        match index.get_mut(to) {
            Some(keys) => drop(keys.insert(key.clone())),
            None => drop(index.insert(to.into(), [key.clone()].into())),
        }
    }
}

/// A random uid.
pub(crate) fn uid(rng: &mut fastrand::Rng) -> Arc<str> {
    let (high, low) = (rng.u64(..), rng.u64(..));
    let node = low & 0xffff_ffff_ffff;
    let text = format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{node:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 52
    );
    text.into()
}

/// The five letters that the server puts behind a generated name.
pub(crate) fn suffix(rng: &mut fastrand::Rng) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).map(|_| char::from(*rng.choice(LETTERS).unwrap_or(&b'x'))).collect()
}

/// How much of a delay of at least `low` and at most `high` milliseconds this one takes.
pub(crate) fn draw(rng: &mut fastrand::Rng, (low, high): (Millis, Millis)) -> Millis {
    rng.i64(low..=high.max(low))
}
