//! A watch that only wakes: the next turn looks for itself at what changed.

use crate::call::Call;
use crate::error::{ClusterError, Operation};
use crate::pod::on_node;
use decision::id::NodeName;
use http_body_util::BodyExt;
use serde::Deserialize;
use std::time::Duration;

/// How much of one event is kept while its line is not complete. Doubled, it only costs memory; halved,
/// a pod with long annotations (they may have 256 kB) and its managed fields wakes nobody.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Ends at the first event on one of the node's pods, at the latest after `timeout`. Events count from
/// the resource version of an earlier list, or from now. If the watch breaks off, the rest of the time is
/// waited out: whoever waits must not spin because of a broken server.
pub async fn pods_changed(
    client: &kube::Client,
    node: &NodeName,
    resource_version: Option<&str>,
    timeout: Duration,
) {
    let event = async {
        if wait_for_event(client, node, resource_version, timeout).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    // Either way the time is over or something happened: look again.
    drop(tokio::time::timeout(timeout, event).await);
}

/// No event came before the stream ended or failed.
struct Silent;

impl From<ClusterError> for Silent {
    fn from(_: ClusterError) -> Self {
        Self
    }
}

async fn wait_for_event(
    client: &kube::Client,
    node: &NodeName,
    resource_version: Option<&str>,
    timeout: Duration,
) -> Result<(), Silent> {
    // Without a version the server would first send every pod that is there as "added".
    let version = match resource_version {
        Some(version) => version.to_owned(),
        None => on_node(Operation::WatchPods, node).resource_version(client).await?,
    };
    let mut body = watch(node, version, timeout).open(client).await?.into_body();
    let mut line = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Silent)?.into_data() else { continue };
        line.extend_from_slice(&data);
        while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            match kind(&line[..end]) {
                Kind::Change => return Ok(()),
                Kind::Error => return Err(Silent),
                Kind::Other => drop(line.drain(..=end)),
            }
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(Silent);
        }
    }
    Err(Silent)
}

fn watch(node: &NodeName, resource_version: String, timeout: Duration) -> Call {
    // Whole seconds, and 0 means the server's own choice of up to an hour.
    let seconds = timeout.as_millis().div_ceil(1000).max(1);
    on_node(Operation::WatchPods, node)
        .with("watch", "true")
        .with("resourceVersion", resource_version)
        .with("timeoutSeconds", seconds.to_string())
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
