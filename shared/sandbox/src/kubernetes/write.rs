//! PATCH: what a client may change, and what validation refuses.

use crate::kubernetes::api::{Request, Response, Target};
use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{Object, Part};
use crate::kubernetes::status::{self, Cause};
use crate::kubernetes::{delete, patch, rule, strict, taint};
use crate::world::World;
use serde_json::{Map, Value};
use std::sync::Arc;

/// How much all annotations of an object may take: 256 KiB.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// Answers `PATCH` of one object or of its status.
pub(super) fn patch(
    world: &mut World,
    process: u32,
    target: &Target,
    request: &Request,
) -> Result<Response, Response> {
    let (kind, key) = (target.kind, target.key());
    let media = request.content_type.split(';').next().unwrap_or_default().trim();
    let apply = match media {
        "application/merge-patch+json" => patch::merge,
        "application/strategic-merge-patch+json" if !kind.resource().custom => {
            patch::merge_strategically
        }
        _ => return Err(status::unsupported_media_type()),
    };
    let body: Value = serde_json::from_slice(&request.body)
        .map_err(|error| status::bad_request(&format!("error decoding patch: {error}")))?;
    let Some(before) = world.kubernetes.store.get(kind, &key).cloned() else {
        return Err(status::not_found(kind, &target.name));
    };
    let of_status = target.subresource == "status";
    let mut merged = if of_status { before.to_value() } else { before.without_status() };
    apply(&mut merged, &body);
    check_metadata(&before, &merged)?;
    strict::check_patched(request, &before, &merged)?;
    let mut after = before.with(&merged);
    // A patch of an object leaves its status alone, and one of the status all the rest.
    if of_status {
        let status = after.status;
        after = Object::clone(&before);
        after.status = status;
    } else {
        after.status = before.status.clone();
    }
    check_fields(&before, &after)?;
    let dry_run = request.is_dry_run(&Value::Null);
    if !dry_run && !after.same(&before) {
        rule::judge_patch(world, process, &before, &after);
        world.kubernetes.store.put(after.clone());
    }
    let shown = match world.kubernetes.store.get(kind, &key) {
        Some(stored) if !dry_run => stored.clone(),
        _ => Arc::new(after),
    };
    if kind == Kind::Pod && !dry_run {
        delete::remove_if_done(world, &key);
    }
    Ok(whole(200, &shown))
}

/// The preconditions in a patch's own metadata. The version is looked at first, as in the real one.
fn check_metadata(before: &Object, merged: &Value) -> Result<(), Response> {
    let meta = &merged["metadata"];
    let (kind, name) = (before.kind, &*before.meta.name);
    if meta["name"] != *name {
        let wanted = meta["name"].as_str().unwrap_or_default();
        return Err(status::bad_request(&format!(
            "the name of the object ({wanted}) does not match the name on the URL ({name})"
        )));
    }
    let version = meta["resourceVersion"].as_str().unwrap_or_default();
    if !version.is_empty() && version != before.meta.resource_version.to_string() {
        return Err(status::modified(kind, name));
    }
    if meta["uid"] != *before.meta.uid {
        let found = meta["uid"].as_str().unwrap_or_default();
        return Err(refused(before, "metadata.uid", found, "field is immutable"));
    }
    Ok(())
}

fn check_fields(before: &Object, after: &Object) -> Result<(), Response> {
    check_labels(before, after)?;
    let size: usize =
        after.meta.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > ANNOTATIONS_BYTES_MAX {
        let cause = Cause {
            reason: "FieldValueTooLong",
            message: "Too long: may not be more than 262144 bytes".to_owned(),
            field: "metadata.annotations".to_owned(),
        };
        return Err(status::invalid(before.kind, &before.meta.name, &[cause]));
    }
    match before.kind {
        Kind::Node => check_node(before, after),
        Kind::Pod if !same_pod_spec(before, after) => {
            let cause = Cause {
                reason: "FieldValueForbidden",
                message: "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)".to_owned(),
                field: "spec".to_owned(),
            };
            Err(status::invalid(before.kind, &before.meta.name, &[cause]))
        }
        _ => Ok(()),
    }
}

fn check_labels(before: &Object, after: &Object) -> Result<(), Response> {
    if before.meta.labels == after.meta.labels {
        return Ok(());
    }
    for value in after.meta.labels.values() {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let edge = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
        let mut bytes = value.bytes();
        let fine = value.len() <= 63 && value.bytes().all(inner) && edge(bytes.next());
        if !fine || !edge(value.bytes().last()) {
            let why = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
            return Err(refused(before, "metadata.labels", value, why));
        }
    }
    Ok(())
}

fn check_node(before: &Object, after: &Object) -> Result<(), Response> {
    if before.spec["providerID"] != after.spec["providerID"] {
        let found = after.spec["providerID"].as_str().unwrap_or_default();
        let why = "may not be changed except from \"\" to valid";
        return Err(refused(before, "spec.providerID", found, why));
    }
    for (index, one) in taint::of(after).iter().enumerate() {
        let effect = one["effect"].as_str().unwrap_or_default();
        if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
            let cause = Cause {
                reason: "FieldValueNotSupported",
                message: format!(
                    "Unsupported value: \"{effect}\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\""
                ),
                field: format!("metadata.taints[{index}].effect"),
            };
            return Err(status::invalid(before.kind, &before.meta.name, &[cause]));
        }
        let earlier = taint::of(after).iter().take(index);
        let same = |other: &Value| other["key"] == one["key"] && other["effect"] == one["effect"];
        if earlier.into_iter().any(same) {
            let cause = Cause {
                reason: "FieldValueDuplicate",
                message: format!(
                    "Duplicate value: {}: taints must be unique by key and effect pair",
                    as_go_writes(one)
                ),
                field: format!("metadata.taints[{index}]"),
            };
            return Err(status::invalid(before.kind, &before.meta.name, &[cause]));
        }
    }
    Ok(())
}

/// A taint as the message shows it: in the server's own field names.
fn as_go_writes(taint: &Value) -> String {
    let text = |name: &str| Value::from(taint[name].as_str().unwrap_or_default());
    let added = &taint["timeAdded"];
    format!(
        "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":{added}}}",
        text("key"),
        text("value"),
        text("effect")
    )
}

/// Whether only what a pod's spec may change has changed: its tolerations.
fn same_pod_spec(before: &Object, after: &Object) -> bool {
    let fixed = |spec: &Part| -> Map<String, Value> {
        let fields = spec.as_object().cloned().unwrap_or_default();
        fields.into_iter().filter(|(name, _)| name != "tolerations").collect()
    };
    *before.spec == *after.spec || fixed(&before.spec) == fixed(&after.spec)
}

fn refused(object: &Object, field: &str, value: &str, why: &str) -> Response {
    let cause = Cause {
        reason: "FieldValueInvalid",
        message: format!("Invalid value: \"{value}\": {why}"),
        field: field.to_owned(),
    };
    status::invalid(object.kind, &object.meta.name, &[cause])
}

fn whole(code: u16, object: &Object) -> Response {
    let mut body = Vec::with_capacity(2048);
    object.write(&mut body);
    Response::new(code, body)
}
