//! The API server's refusals, to the letter: each a `Status` object with a reason and a code.

use crate::kubernetes::Response;
use crate::kubernetes::kind::Kind;
use serde_json::{Map, Value, json};

/// A refusal in the making.
fn failure(code: u16, reason: &str, message: &str, details: Value) -> Response {
    let mut status = Map::new();
    status.insert("kind".into(), "Status".into());
    status.insert("apiVersion".into(), "v1".into());
    status.insert("metadata".into(), json!({}));
    status.insert("status".into(), "Failure".into());
    status.insert("message".into(), message.into());
    if !reason.is_empty() {
        status.insert("reason".into(), reason.into());
    }
    if !details.is_null() {
        status.insert("details".into(), details);
    }
    status.insert("code".into(), code.into());
    Response::new(code, Value::Object(status).to_string().into_bytes())
}

/// The `details` that name one object.
fn details(kind: Kind, name: &str) -> Value {
    details_of((kind.resource().group, kind.resource().plural), name)
}

/// The same for a resource by its group and its plural.
fn details_of((group, plural): (&str, &str), name: &str) -> Value {
    let mut details = json!({"kind": plural});
    if !name.is_empty() {
        details["name"] = name.into();
    }
    if !group.is_empty() {
        details["group"] = group.into();
    }
    details
}

/// A `Status` that says yes.
pub(crate) fn success(code: u16) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "code": code});
    Response::new(code, body.to_string().into_bytes())
}

/// 400.
pub(crate) fn bad_request(message: &str) -> Response {
    failure(400, "BadRequest", message, Value::Null)
}

/// 403, as role-based access control says it, for a resource by its group and its plural.
pub(crate) fn forbidden(
    verb: &str,
    resource: (&str, &str),
    scope: (&str, &str),
    subresource: &str,
) -> Response {
    let ((group, plural), (namespace, name)) = (resource, scope);
    let qualified = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    let sub = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    let subject = if name.is_empty() {
        format!("{qualified} is forbidden")
    } else {
        format!("{qualified} \"{name}\" is forbidden")
    };
    let place = if namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{namespace}\"")
    };
    let message = format!(
        "{subject}: User \"ebbtide\" cannot {verb} resource \"{plural}{sub}\" in API group \"{group}\" {place}"
    );
    failure(403, "Forbidden", &message, details_of(resource, name))
}

/// 404 for an object.
pub(crate) fn not_found(kind: Kind, name: &str) -> Response {
    let message = format!("{} \"{name}\" not found", kind.qualified());
    failure(404, "NotFound", &message, details(kind, name))
}

/// 404 for a path.
pub(crate) fn no_such_resource() -> Response {
    failure(404, "NotFound", "the server could not find the requested resource", json!({}))
}

/// 405.
pub(crate) fn method_not_allowed() -> Response {
    let message = "the server does not allow this method on the requested resource";
    failure(405, "MethodNotAllowed", message, json!({}))
}

/// 409 for a name that is taken.
pub(crate) fn already_exists(kind: Kind, name: &str) -> Response {
    let message = format!("{} \"{name}\" already exists", kind.qualified());
    failure(409, "AlreadyExists", &message, details(kind, name))
}

/// 409 for a stale `metadata.resourceVersion`.
pub(crate) fn modified(kind: Kind, name: &str) -> Response {
    conflict(
        &kind.qualified(),
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )
}

/// 409 for a precondition of a deletion that does not hold. The real server names the object by its
/// kind here, not by its resource.
pub(crate) fn precondition(kind: Kind, name: &str, what: &str, pair: (&str, &str)) -> Response {
    let (wanted, found) = pair;
    let more = match what {
        "UID" => "The object might have been deleted and then recreated",
        _ => "The object might have been modified",
    };
    let why = format!(
        "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). {more}"
    );
    conflict(kind.resource().kind, name, &why)
}

fn conflict(what: &str, name: &str, why: &str) -> Response {
    let message = format!("Operation cannot be fulfilled on {what} \"{name}\": {why}");
    failure(409, "Conflict", &message, json!({"name": name, "kind": what}))
}

/// 410: the history begins later than that.
pub(crate) fn expired(message: &str) -> Response {
    failure(410, "Expired", message, Value::Null)
}

/// 415.
pub(crate) fn unsupported_media_type() -> Response {
    let message = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, application/apply-patch+cbor";
    failure(415, "UnsupportedMediaType", message, json!({}))
}

/// One field that validation refused.
#[derive(Debug)]
pub(crate) struct Cause {
    /// `FieldValueInvalid`, …
    pub(crate) reason: &'static str,
    /// `Invalid value: "x": field is immutable`
    pub(crate) message: String,
    /// `metadata.uid`
    pub(crate) field: String,
}

/// 422.
pub(crate) fn invalid(kind: Kind, name: &str, causes: &[Cause]) -> Response {
    let resource = kind.resource();
    let lines: Vec<String> =
        causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    let text = match lines.as_slice() {
        [one] => one.clone(),
        _ => format!("[{}]", lines.join(", ")),
    };
    let message = format!("{} \"{name}\" is invalid: {text}", resource.kind);
    let causes: Vec<Value> = causes
        .iter()
        .map(
            |cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}),
        )
        .collect();
    let mut details = json!({"name": name, "kind": resource.kind, "causes": causes});
    if !resource.group.is_empty() {
        details["group"] = resource.group.into();
    }
    failure(422, "Invalid", &message, details)
}

/// 429: a disruption budget refuses an eviction.
pub(crate) fn too_many_requests(cause: &str, retry_after_seconds: u32) -> Response {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    if retry_after_seconds > 0 {
        let mut details = json!({"causes": [{"reason": "DisruptionBudget", "message": cause}]});
        details["retryAfterSeconds"] = retry_after_seconds.into();
        let refusal = failure(429, "TooManyRequests", message, details);
        return Response { retry_after_seconds, ..refusal };
    }
    // The most frequent refusal of all, so it is written out.
    let cause = Value::from(cause);
    let body = format!(
        "{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{{}},\"status\":\"Failure\",\
         \"message\":\"{message}\",\"reason\":\"TooManyRequests\",\"details\":{{\"causes\":\
         [{{\"reason\":\"DisruptionBudget\",\"message\":{cause}}}]}},\"code\":429}}"
    );
    Response::new(429, body.into_bytes())
}

/// 403: a budget's controller is too far behind.
pub(crate) fn too_many_disrupted(budget: &str) -> Response {
    let message = format!(
        "poddisruptionbudget.policy \"{budget}\" is forbidden: DisruptedPods map too big - too many evictions not confirmed by PDB controller"
    );
    let details = json!({"name": budget, "group": "policy", "kind": "poddisruptionbudget"});
    failure(403, "Forbidden", &message, details)
}

/// 500: two budgets select one pod. The real server gives no reason with it.
pub(crate) fn two_budgets() -> Response {
    let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    failure(500, "", message, Value::Null)
}
