//! Watches of all nodes and pods, from the API server to a table of what is where.

use crate::account::Machine;
use crate::error::SystemError;
use futures_util::TryStreamExt;
use http::Request;
use kube::core::WatchEvent;
use serde::Deserialize;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Longer than any storm is watched.
const WATCHES: [&str; 2] =
    ["/api/v1/nodes?watch=true&timeoutSeconds=3600", "/api/v1/pods?watch=true&timeoutSeconds=3600"];

/// How often a watch that ended is opened again, where it ended: the API server cuts off whom it would have to wait for. Twice:
/// one that can't be kept up with is tried for longer. Half: a storm of a thousand ends without its figures.
const OPENED_MAX: usize = 200;

/// What is read of a node or pod: whoever reads a storm slower than it comes is cut off by the API server.
#[derive(Clone, Debug, Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    resource_version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    unschedulable: bool,
    node_name: Option<String>,
}

/// What is known of nodes and pods.
#[derive(Debug, Default)]
pub(super) struct Seen {
    nodes: BTreeSet<String>,
    /// When a node was first seen unschedulable.
    cordoned: BTreeMap<String, Instant>,
    /// Pods by name, each with its node.
    pods: BTreeMap<String, String>,
    /// How many pods a node has.
    counts: BTreeMap<String, usize>,
    /// Since when a node has none.
    emptied: BTreeMap<String, Instant>,
}

/// What a watch says of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    /// It is there, as it is now.
    Here,
    /// It is deleted.
    Gone,
}

impl Seen {
    /// Whether all nodes are known, each with pods.
    pub(super) fn is_listed(&self, machines: &[Machine]) -> bool {
        machines.iter().all(|it| self.nodes.contains(&it.node) && !self.is_empty(&it.node))
    }

    pub(super) fn cordoned(&self, node: &str) -> Option<Instant> {
        self.cordoned.get(node).copied()
    }

    pub(super) fn emptied(&self, node: &str) -> Option<Instant> {
        self.emptied.get(node).copied()
    }

    fn is_empty(&self, node: &str) -> bool {
        self.counts.get(node).is_none_or(|count| *count == 0)
    }

    fn node(&mut self, node: &Object) {
        let name = node.metadata.name.as_str();
        self.nodes.insert(name.to_owned());
        if node.spec.unschedulable {
            self.cordoned.entry(name.to_owned()).or_insert_with(Instant::now);
        }
    }

    fn pod(&mut self, pod: &Object, change: Change) {
        let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
        let former = match pod.spec.node_name.as_deref() {
            Some(node) if change == Change::Here => {
                *self.counts.entry(node.to_owned()).or_default() += 1;
                self.emptied.remove(node);
                self.pods.insert(name, node.to_owned())
            }
            _ => self.pods.remove(&name),
        };
        let Some(node) = former else { return };
        if let Some(count) = self.counts.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                self.emptied.insert(node, Instant::now());
            }
        }
    }
}

/// Watches until something fails.
pub(super) async fn run(client: &kube::Client, seen: &RefCell<Seen>) -> SystemError {
    let [nodes, pods] = WATCHES;
    tokio::select! {
        why = watch(client, nodes, |node, _| seen.borrow_mut().node(&node)) => why,
        why = watch(client, pods, |pod, change| seen.borrow_mut().pod(&pod, change)) => why,
    }
}

/// Notes what changes, from a watch that is opened again where it ended.
async fn watch(
    client: &kube::Client,
    path: &str,
    mut note: impl FnMut(Object, Change),
) -> SystemError {
    let mut version = String::new();
    for _ in 0..OPENED_MAX {
        let from =
            if version.is_empty() { String::new() } else { format!("&resourceVersion={version}") };
        let noted = |object: Object, change| {
            version.clone_from(&object.metadata.resource_version);
            note(object, change);
        };
        if let Err(why) = watch_once(client, &format!("{path}{from}"), noted).await {
            return why;
        }
    }
    SystemError::Late(format!("{path}: the watch ended {OPENED_MAX} times"))
}

/// Until the stream ends; an error is what another try would not change.
async fn watch_once(
    client: &kube::Client,
    path: &str,
    mut note: impl FnMut(Object, Change),
) -> Result<(), SystemError> {
    let refused = |source| SystemError::Refused { what: path.to_owned(), source: Box::new(source) };
    let request = Request::get(path).body(Vec::new())?;
    let events = client.request_events::<Object>(request).await.map_err(refused)?;
    let mut events = std::pin::pin!(events);
    // A stream that breaks off in the middle of an event ends it as well.
    while let Ok(Some(event)) = events.try_next().await {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => note(object, Change::Here),
            WatchEvent::Deleted(object) => note(object, Change::Gone),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(_) => {
                return Err(SystemError::Late(format!("{path}: the watch is too old to go on")));
            }
        }
    }
    Ok(())
}
