//! VolumeAttachments: which volumes still hang on a node.

use crate::call::{Call, PageOf};
use crate::error::{ClusterError, Operation};
use decision::id::NodeName;
use serde::Deserialize;

const PATH: &str = "/apis/storage.k8s.io/v1/volumeattachments";

/// The persistent volumes attached to the node, or being attached or detached: while the object is
/// there, no other node gets the volume. The API server has no field selector for the node, so all
/// attachments of the cluster are read.
pub async fn volumes_on(
    client: &kube::Client,
    node: &NodeName,
) -> Result<Vec<String>, ClusterError> {
    let call = Call::get(Operation::ListVolumes, format!("on {node}"), PATH.to_owned());
    let mut volumes: Vec<String> = call
        .list(client, PageOf::Small, |raw: RawAttachment| {
            let here = raw.spec.node_name == node.as_str();
            // An inline volume has no name of its own; the attachment's has to do.
            here.then(|| raw.spec.source.persistent_volume_name.unwrap_or(raw.metadata.name))
        })
        .await?;
    volumes.sort();
    Ok(volumes)
}

#[derive(Deserialize)]
struct RawAttachment {
    metadata: RawMetadata,
    spec: RawSpec,
}

#[derive(Deserialize)]
struct RawMetadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    node_name: String,
    #[serde(default)]
    source: RawSource,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSource {
    persistent_volume_name: Option<String>,
}
