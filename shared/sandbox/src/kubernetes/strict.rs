//! `fieldValidation=Strict`: a field that the server does not know is refused, where it would otherwise be dropped.
//!
//! Only what callers write is looked at: the top of an object, and the spec of a node.

use crate::kubernetes::api::{Request, Response};
use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::Object;
use crate::kubernetes::status::{self, Cause};
use serde_json::Value;

/// What the spec of a node may hold.
const NODE_SPEC: [&str; 7] =
    ["configSource", "externalID", "podCIDR", "podCIDRs", "providerID", "taints", "unschedulable"];

/// Refuses a new object with a field at its top that is none of these.
pub(super) fn check_fields(
    request: &Request,
    body: &Value,
    known: &[&str],
) -> Result<(), Response> {
    match unknown(body, known).filter(|_| asked_for(request)) {
        Some(field) => {
            let kind = body["kind"].as_str().unwrap_or_default();
            let version = body["apiVersion"].as_str().unwrap_or_default();
            let version = version.rsplit('/').next().unwrap_or_default();
            let message = format!(
                "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: unknown field \"{field}\""
            );
            Err(status::bad_request(&message))
        }
        None => Ok(()),
    }
}

/// Refuses a patch that leaves a node with a spec it cannot have.
pub(super) fn check_patched(
    request: &Request,
    before: &Object,
    merged: &Value,
) -> Result<(), Response> {
    if !asked_for(request) || before.kind != Kind::Node {
        return Ok(());
    }
    let Some(field) = unknown(&merged["spec"], &NODE_SPEC) else { return Ok(()) };
    let cause = Cause {
        reason: "FieldValueInvalid",
        message: format!(
            "Invalid value: {}: strict decoding error: unknown field \"spec.{field}\"",
            Value::from(merged.to_string())
        ),
        field: "patch".to_owned(),
    };
    Err(status::invalid(before.kind, "", &[cause]))
}

fn asked_for(request: &Request) -> bool {
    request.parameter("fieldValidation") == "Strict"
}

fn unknown<'a>(value: &'a Value, known: &[&str]) -> Option<&'a str> {
    let mut fields = value.as_object()?.keys().map(String::as_str);
    fields.find(|field| !known.contains(field))
}
