//! Nodes: read one, find one by its instance, list those on their way out, patch one.
//!
//! A node's name says nothing sure about its instance; `spec.providerID` (`aws:///eu-west-1a/i-…`) does.
//! Neither name nor provider id of an instance that is gone may be taken for its successor's, hence
//! the preconditions in every patch: `metadata.uid` (422 when it is another node by now) and
//! `metadata.resourceVersion` (409 when somebody else wrote meanwhile).

use crate::call::{Call, MERGE_PATCH, PageOf};
use crate::error::{ClusterError, Operation};
use crate::meta::{Condition, condition};
use decision::id::{BootId, InstanceId, NodeName, Uid};
use decision::snapshot::cluster::{Node, Taint};
use decision::snapshot::departing::Peer;
use decision::step::NodePatch;
use decision::time::Timestamp;
use http::Method;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const PATH: &str = "/api/v1/nodes";

/// The node of this name; `None` if there is none.
pub async fn node(client: &kube::Client, name: &NodeName) -> Result<Option<Node>, ClusterError> {
    let call = Call::get(Operation::GetNode, name.as_str(), format!("{PATH}/{name}"));
    match call.fetch::<RawNode>(client).await {
        Ok(raw) => Ok(Some(raw.into())),
        Err(error) if error.code() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names of all nodes by their instances: a list, since the API server has no field selector for `spec.providerID`. A name
/// says no more than where to look: its node may have gone since, or be another instance's.
pub async fn node_names(
    client: &kube::Client,
) -> Result<BTreeMap<InstanceId, NodeName>, ClusterError> {
    let call = Call::get(Operation::ListNodes, "to find instances", PATH.to_owned());
    let named = |raw: RawProvided| Some((instance_of(&raw.spec.provider_id)?, raw.metadata.name));
    // Two of one instance are possible for a while, after a host name has changed; any of them will do.
    Ok(call.list(client, PageOf::Large, named).await?.into_iter().collect())
}

/// The nodes that are unschedulable and carry our annotation, from their metadata alone: in a storm all processes list a
/// thousand of them again and again. A record that can't be read is nobody's.
pub async fn departing(client: &kube::Client) -> Result<Vec<Peer>, ClusterError> {
    let call = Call::get(Operation::ListNodes, "on their way out", PATH.to_owned())
        .with("fieldSelector", "spec.unschedulable=true");
    call.list(client, PageOf::Metadata, |mut raw: RawPeer| {
        let annotation = raw.metadata.annotations.departure.take()?;
        let Whose { instance } = serde_json::from_str(&annotation).ok()?;
        Some(Peer { instance, node: raw.metadata.name, annotation })
    })
    .await
}

/// Patches the node if it still is what was read, and returns it as it is then.
pub async fn patch_node(client: &kube::Client, patch: &NodePatch) -> Result<Node, ClusterError> {
    let call =
        Call::get(Operation::PatchNode, patch.node.as_str(), format!("{PATH}/{}", patch.node))
            .write(Method::PATCH, MERGE_PATCH, &MergePatch::from(patch))?;
    Ok(call.fetch::<RawNode>(client).await?.into())
}

/// The instance at the end of a provider id of AWS.
fn instance_of(provider_id: &str) -> Option<InstanceId> {
    let (_, id) = provider_id.strip_prefix("aws://")?.rsplit_once('/')?;
    InstanceId::parse(id).ok()
}

#[derive(Deserialize)]
struct RawNode {
    metadata: RawMetadata,
    #[serde(default)]
    spec: RawSpec,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetadata {
    name: NodeName,
    uid: Uid,
    resource_version: String,
    creation_timestamp: Option<Timestamp>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSpec {
    #[serde(rename = "providerID")]
    provider_id: String,
    unschedulable: bool,
    taints: Vec<Taint>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawStatus {
    conditions: Vec<Condition>,
    node_info: RawNodeInfo,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawNodeInfo {
    #[serde(rename = "bootID")]
    boot_id: String,
}

/// A node in a list: thousands are read to find one.
#[derive(Deserialize)]
struct RawProvided {
    metadata: RawPeerMetadata,
    #[serde(default)]
    spec: RawProvidedSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawProvidedSpec {
    #[serde(rename = "providerID")]
    provider_id: String,
}

/// A node in a list of metadata.
#[derive(Deserialize)]
struct RawPeer {
    metadata: RawPeerMetadata,
}

#[derive(Deserialize)]
struct RawPeerMetadata {
    name: NodeName,
    #[serde(default)]
    annotations: RawPeerAnnotations,
}

/// Of the annotations, `decision::annotation::DEPARTURE`.
#[derive(Default, Deserialize)]
struct RawPeerAnnotations {
    #[serde(rename = "ebbtide.dev/departure")]
    departure: Option<String>,
}

/// Our annotation, as far as a list needs it.
#[derive(Deserialize)]
struct Whose {
    instance: InstanceId,
}

impl From<RawNode> for Node {
    fn from(raw: RawNode) -> Self {
        let RawNode { metadata, spec, status } = raw;
        Self {
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            created_at: metadata.creation_timestamp,
            provider_id: spec.provider_id,
            // Empty until the kubelet has reported for the first time.
            boot: BootId::parse(&status.node_info.boot_id).ok(),
            unschedulable: spec.unschedulable,
            taints: spec.taints,
            labels: metadata.labels,
            annotations: metadata.annotations,
            ready: condition(&status.conditions, "Ready").map(Condition::is_true),
        }
    }
}

/// The patch as it is sent. What is `null` in a merge patch is taken off, what is left out stays.
#[derive(Serialize)]
struct MergePatch<'a> {
    metadata: PatchMetadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<PatchSpec<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PatchMetadata<'a> {
    uid: &'a Uid,
    resource_version: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a str, Option<&'a str>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, Option<&'a str>>,
}

#[derive(Serialize)]
struct PatchSpec<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    unschedulable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taints: Option<&'a [Taint]>,
}

impl<'a> From<&'a NodePatch> for MergePatch<'a> {
    fn from(patch: &'a NodePatch) -> Self {
        fn pairs(list: &[(String, Option<String>)]) -> BTreeMap<&str, Option<&str>> {
            list.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect()
        }
        let touched = patch.unschedulable.is_some() || patch.taints.is_some();
        Self {
            metadata: PatchMetadata {
                uid: &patch.uid,
                resource_version: &patch.resource_version,
                labels: pairs(&patch.labels),
                annotations: pairs(&patch.annotations),
            },
            spec: touched.then_some(PatchSpec {
                unschedulable: patch.unschedulable,
                taints: patch.taints.as_deref(),
            }),
        }
    }
}
