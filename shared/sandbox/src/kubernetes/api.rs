//! The API server's front: paths, verbs, rights, and the record of each call.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{self, Key};
use crate::kubernetes::{create, delete, event, eviction, news, read, status, write};
use crate::world::{Call, Millis, World};
use serde_json::Value;
use std::collections::BTreeMap;

/// One HTTP request to the API server.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `POST`, `PATCH`, `DELETE`.
    pub method: String,
    /// Without the query: `/api/v1/nodes/n1`.
    pub path: String,
    /// Decoded query parameters.
    pub query: BTreeMap<String, String>,
    /// What the client accepts: a list of metadata alone, for example.
    pub accept: String,
    /// The content type of the body, which names the kind of a patch.
    pub content_type: String,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Request {
    /// Whether only the metadata of a list's objects is asked for.
    pub(super) fn wants_metadata(&self) -> bool {
        self.accept.contains("as=PartialObjectMetadataList")
    }

    /// One query parameter, empty if absent.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// Whether the request, or these options in it, only asks what would happen.
    pub(super) fn is_dry_run(&self, options: &Value) -> bool {
        let listed = options["dryRun"].as_array().is_some_and(|all| !all.is_empty());
        listed || self.parameter("dryRun") == "All"
    }

    pub(super) fn is_watch(&self) -> bool {
        matches!(self.parameter("watch"), "1" | "true")
    }
}

/// What the API server answers.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
    /// The header `Retry-After`; 0 for none.
    pub retry_after_seconds: u32,
    /// How long the real server holds it back.
    pub held_ms: Millis,
}

impl Response {
    /// One that comes at once.
    pub(super) fn new(status: u16, body: Vec<u8>) -> Self {
        Self { status, body, retry_after_seconds: 0, held_ms: 0 }
    }
}

/// What a path is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    pub(super) kind: Kind,
    /// Empty for all namespaces, or for what has none.
    pub(super) namespace: String,
    /// Empty for a list.
    pub(super) name: String,
    /// `eviction`, `status`, or empty.
    pub(super) subresource: String,
}

impl Target {
    /// Reads a path: `/api/v1/…`, `/apis/{group}/{version}/…`, with or without a namespace.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let group = match parts.next()? {
            "api" => "",
            "apis" => parts.next()?,
            _ => return None,
        };
        let version = parts.next()?;
        let mut plural = parts.next()?;
        let mut namespace = "";
        if plural == "namespaces" {
            namespace = parts.next()?;
            plural = parts.next()?;
        }
        let kind = Kind::find(group, version, plural)?;
        let name = parts.next().unwrap_or_default();
        let subresource = parts.next().unwrap_or_default();
        let resource = kind.resource();
        let misplaced = !namespace.is_empty() && !resource.namespaced
            || namespace.is_empty() && !name.is_empty() && resource.namespaced;
        if misplaced || parts.next().is_some() {
            return None;
        }
        let [namespace, name, subresource] = [namespace, name, subresource].map(str::to_owned);
        Some(Self { kind, namespace, name, subresource })
    }

    pub(super) fn key(&self) -> Key {
        object::key(&self.namespace, &self.name)
    }
}

/// What a watch is about, roughly: enough to tell that nothing of it happened.
#[derive(Clone, Debug)]
pub(crate) struct Interest {
    kind: Kind,
    /// The node whose pods alone are meant.
    node: Option<String>,
}

impl Interest {
    /// What a request asks to watch; nothing if its path leads nowhere.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let kind = Target::parse(&request.path)?.kind;
        let node = request.parameter("fieldSelector").strip_prefix("spec.nodeName=");
        let node = node.filter(|node| kind == Kind::Pod && !node.contains(',') && !node.is_empty());
        Some(Self { kind, node: node.map(str::to_owned) })
    }

    /// Whether anything of it may have happened after a version.
    pub(crate) fn changed_since(&self, world: &World, version: u64) -> bool {
        world.kubernetes.store.latest(self.kind, self.node.as_deref()) > version
    }
}

/// Answers one request that is not a watch.
pub fn serve(world: &mut World, process: u32, request: &Request) -> Response {
    let answered = match Target::parse(&request.path) {
        Some(target) => allowed(world, &target, request)
            .and_then(|()| dispatch(world, process, &target, request)),
        None => elsewhere(world, request),
    };
    let response = answered.unwrap_or_else(|refusal| refusal);
    world.calls.push(Call {
        at: world.now,
        process,
        operation: operation(request),
        subject: request.path.clone(),
        status: response.status,
        write: request.method != "GET",
    });
    news::spread(world);
    response
}

/// How a call is named in the record: `PATCH nodes`, `POST pods/eviction`.
pub fn operation(request: &Request) -> String {
    let Some(target) = Target::parse(&request.path) else {
        return format!("{} {}", request.method, request.path);
    };
    let resource = resource_of(&target);
    format!("{} {resource}", request.method)
}

/// Refuses what the scenario denied.
pub(super) fn allowed(world: &World, target: &Target, request: &Request) -> Result<(), Response> {
    let verb = match (request.method.as_str(), target.name.is_empty()) {
        ("GET", _) if request.is_watch() => "watch",
        ("GET", true) => "list",
        ("GET", false) => "get",
        ("PATCH", _) => "patch",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        (_, false) => "delete",
        (_, true) => "deletecollection",
    };
    let denied = (verb.to_owned(), resource_of(target));
    if world.kubernetes.denied.contains(&denied) {
        let scope = (target.namespace.as_str(), target.name.as_str());
        let resource = target.kind.resource();
        let own = event::is_own_group(&request.path);
        let group = if own { "events.k8s.io" } else { resource.group };
        let resource = (group, resource.plural);
        return Err(status::forbidden(verb, resource, scope, &target.subresource));
    }
    Ok(())
}

fn resource_of(target: &Target) -> String {
    let plural = target.kind.resource().plural;
    if target.subresource.is_empty() {
        return plural.to_owned();
    }
    format!("{plural}/{}", target.subresource)
}

fn dispatch(
    world: &mut World,
    process: u32,
    target: &Target,
    request: &Request,
) -> Result<Response, Response> {
    let named = !target.name.is_empty();
    let sub = target.subresource.as_str();
    let pod = target.kind == Kind::Pod;
    match (request.method.as_str(), named, sub) {
        ("GET", false, "") => read::list(world, target, request),
        ("GET", true, "" | "status") => read::get(world, target),
        ("PATCH", true, "" | "status") => write::patch(world, process, target, request),
        ("POST", false, "") if create::is_served(target.kind) => {
            create::answer(world, target, request)
        }
        ("POST", true, "eviction") if pod => eviction::answer(world, process, target, request),
        ("DELETE", true, "") => delete::answer(world, process, target, request),
        (_, _, "" | "status") => Err(status::method_not_allowed()),
        (_, _, "eviction") if pod => Err(status::method_not_allowed()),
        _ => Err(status::no_such_resource()),
    }
}

/// What is no object: the version, the health, and the question of one's own rights.
fn elsewhere(world: &World, request: &Request) -> Result<Response, Response> {
    let ok = |status: u16, body: Value| Ok(Response::new(status, body.to_string().into_bytes()));
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/version") => ok(
            200,
            serde_json::json!({"major": "1", "minor": "34", "gitVersion": "v1.34.1-eks-113cf36",
                "platform": "linux/amd64"}),
        ),
        ("GET", "/readyz" | "/livez") => Ok(Response::new(200, b"ok".to_vec())),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews") => {
            let mut review: Value = serde_json::from_slice(&request.body)
                .map_err(|error| status::bad_request(&format!("unable to decode: {error}")))?;
            let asked = &review["spec"]["resourceAttributes"];
            let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
            let resource = match text("subresource").as_str() {
                "" => text("resource"),
                sub => format!("{}/{sub}", text("resource")),
            };
            let denied = world.kubernetes.denied.contains(&(text("verb"), resource));
            review["status"] = serde_json::json!({"allowed": !denied});
            ok(201, review)
        }
        _ => Err(status::no_such_resource()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Target};

    #[test]
    fn paths_are_read_as_the_real_server_reads_them() {
        for (path, expected) in [
            ("/api/v1/nodes", Some((Kind::Node, "", "", ""))),
            ("/api/v1/nodes/n1", Some((Kind::Node, "", "n1", ""))),
            ("/api/v1/nodes/n1/status", Some((Kind::Node, "", "n1", "status"))),
            ("/api/v1/pods", Some((Kind::Pod, "", "", ""))),
            ("/api/v1/namespaces/a/pods", Some((Kind::Pod, "a", "", ""))),
            ("/api/v1/namespaces/a/pods/p/eviction", Some((Kind::Pod, "a", "p", "eviction"))),
            ("/apis/policy/v1/poddisruptionbudgets", Some((Kind::PodDisruptionBudget, "", "", ""))),
            ("/api/v1/pods/p", None),
            ("/api/v1/namespaces/a/nodes/n1", None),
            ("/apis/apps/v2/deployments", None),
            ("/metrics", None),
        ] {
            let found = Target::parse(path);
            let found = found.as_ref().map(|target| {
                (target.kind, &*target.namespace, &*target.name, &*target.subresource)
            });
            assert_eq!(found, expected, "{path}");
        }
    }
}
