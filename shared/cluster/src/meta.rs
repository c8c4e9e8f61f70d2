//! What all objects share, as far as it is read: metadata, conditions, controllers.
//!
//! Ids are parsed while the JSON is read, so an object without a well-formed name or uid fails the
//! whole read: not knowing must not look like knowing that there is nothing.

use decision::id::{PodKey, Uid};
use decision::snapshot::cluster::Owner;
use decision::time::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// `metadata` of a namespaced object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: Uid,
    pub(crate) creation_timestamp: Option<Timestamp>,
    pub(crate) deletion_timestamp: Option<Timestamp>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) owner_references: Vec<OwnerReference>,
}

/// One of `metadata.ownerReferences`.
#[derive(Deserialize)]
pub(crate) struct OwnerReference {
    kind: String,
    name: String,
    uid: Uid,
    #[serde(default)]
    controller: bool,
}

/// One of `status.conditions`.
#[derive(Deserialize)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) message: String,
}

impl Metadata {
    /// Namespace and name.
    pub(crate) fn key(&self) -> PodKey {
        PodKey { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// The controller among an object's owners; there is at most one.
pub(crate) fn controller(owners: Vec<OwnerReference>) -> Option<Owner> {
    let owner = owners.into_iter().find(|owner| owner.controller)?;
    Some(Owner { kind: owner.kind, name: owner.name, uid: owner.uid })
}

/// The condition of this type.
pub(crate) fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}

impl Condition {
    /// Whether its status is `True`; `Unknown` is not.
    pub(crate) fn is_true(&self) -> bool {
        self.status == "True"
    }
}
