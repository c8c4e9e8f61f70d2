//! A watch that only wakes: the next turn looks for itself at what changed.
//!
//! A watch that breaks off waits its time out, so that whoever waits does not spin because of a broken server. One that we may
//! not open says so at once: waiting goes on by the clock alone, and somebody should hear why.

use crate::budget::{RawCount, in_namespace};
use crate::call::Call;
use crate::error::{ClusterError, Operation};
use crate::pod::on_node;
use decision::id::NodeName;
use decision::step::Class;
use http_body_util::BodyExt;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// How much of one event is kept while its line is not complete. Doubled, it only costs memory; halved,
/// a pod with long annotations (they may have 256 kB) and its managed fields wakes nobody.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Ends at the first event on one of the node's pods, at the latest after `timeout`. Events count from
/// the resource version of an earlier list, or from now. Fails, and at once, only where the watch is denied.
pub async fn pods_changed(
    client: &kube::Client,
    node: &NodeName,
    resource_version: Option<&str>,
    timeout: Duration,
) -> Result<(), ClusterError> {
    let call = on_node(Operation::WatchPods, node);
    let event = async {
        // Without a version the server would first send every pod that is there as "added".
        let version = match resource_version {
            Some(version) => version.to_owned(),
            None => call.clone().resource_version(client).await?,
        };
        let call = call.with("resourceVersion", version);
        wait_for_event(client, watching(call, timeout), |_| true).await
    };
    at_the_latest(timeout, event).await
}

/// Ends when one of these budgets of a namespace allows a disruption or is deleted, at the latest after
/// `timeout`. Without a version, the server first sends what is there: a budget that opened since it was
/// last read is not missed. A count that still allows none wakes nobody, since the controller writes one
/// at every change of a pod. Fails, and at once, only where the watch is denied.
pub async fn budget_opened(
    client: &kube::Client,
    namespace: &str,
    names: &BTreeSet<String>,
    timeout: Duration,
) -> Result<(), ClusterError> {
    let mut call = in_namespace(Operation::WatchBudgets, namespace);
    if let [name] = names.iter().collect::<Vec<_>>().as_slice() {
        call = call.with("fieldSelector", format!("metadata.name={name}"));
    }
    let opens = |line: &[u8]| is_opened(line, names);
    at_the_latest(timeout, wait_for_event(client, watching(call, timeout), opens)).await
}

/// Why no event came.
enum Silent {
    /// We may not watch this.
    Denied(ClusterError),
    /// The stream ended or failed.
    Broken,
}

impl From<ClusterError> for Silent {
    fn from(error: ClusterError) -> Self {
        if error.class() == Class::Denied { Self::Denied(error) } else { Self::Broken }
    }
}

/// Waits for the event. If the watch breaks off, the rest of the time is waited out: whoever waits must
/// not spin because of a broken server.
async fn at_the_latest(
    timeout: Duration,
    event: impl Future<Output = Result<(), Silent>>,
) -> Result<(), ClusterError> {
    let event = async {
        match event.await {
            Ok(()) => Ok(()),
            Err(Silent::Denied(error)) => Err(error),
            Err(Silent::Broken) => std::future::pending().await,
        }
    };
    // Either way the time is over or something happened: look again.
    tokio::time::timeout(timeout, event).await.unwrap_or(Ok(()))
}

fn watching(call: Call, timeout: Duration) -> Call {
    // Whole seconds, and 0 means the server's own choice of up to an hour.
    let seconds = timeout.as_millis().div_ceil(1000).max(1);
    call.with("watch", "true").with("timeoutSeconds", seconds.to_string())
}

/// Reads the stream line by line until a change wakes.
async fn wait_for_event(
    client: &kube::Client,
    watch: Call,
    wakes: impl Fn(&[u8]) -> bool,
) -> Result<(), Silent> {
    let mut body = watch.open(client).await?.into_body();
    let mut line = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Silent::Broken)?.into_data() else { continue };
        line.extend_from_slice(&data);
        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            match kind(&line[..end]) {
                Kind::Change if wakes(&line[..end]) => return Ok(()),
                Kind::Error => return Err(Silent::Broken),
                Kind::Change | Kind::Other => drop(line.drain(..=end)),
            }
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(Silent::Broken);
        }
    }
    Err(Silent::Broken)
}

/// Whether a change leaves one of these budgets open: it allows a disruption, or is no more.
fn is_opened(line: &[u8], names: &BTreeSet<String>) -> bool {
    #[derive(Deserialize)]
    struct Event {
        r#type: String,
        object: RawCount,
    }
    let opens = |event: &Event| event.r#type == "DELETED" || event.object.allows();
    serde_json::from_slice::<Event>(line)
        .is_ok_and(|event| names.contains(event.object.name()) && opens(&event))
}

/// What a line of the stream says.
enum Kind {
    Change,
    Error,
    Other,
}

fn kind(line: &[u8]) -> Kind {
    #[derive(Deserialize)]
    struct Event {
        r#type: String,
    }
    match serde_json::from_slice::<Event>(line) {
        Ok(event) => match event.r#type.as_str() {
            "ADDED" | "MODIFIED" | "DELETED" => Kind::Change,
            "ERROR" => Kind::Error,
            _ => Kind::Other,
        },
        Err(_) => Kind::Other,
    }
}
