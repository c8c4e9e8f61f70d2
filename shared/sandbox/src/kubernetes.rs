//! The cluster.
use crate::world::{Millis, World};
use std::collections::BTreeMap;
#[derive(Clone, Debug)]
pub enum KubernetesEvent {}
#[derive(Debug, Default)]
pub struct Kubernetes;

/// One HTTP request to the API server.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `POST`, `PATCH`, `DELETE`.
    pub method: String,
    /// Without the query: `/api/v1/nodes/n1`.
    pub path: String,
    /// Decoded query parameters.
    pub query: BTreeMap<String, String>,
    /// The content type of the body, which names the kind of a patch.
    pub content_type: String,
    /// The body as it came.
    pub body: Vec<u8>,
}

/// What the API server answers.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
}

/// An instance that runs, as EC2 tells it: its kubelet will register soon.
#[derive(Clone, Debug)]
pub struct InstanceBirth {
    /// `i-…`.
    pub instance: String,
    /// The private DNS name: the node's name.
    pub private_dns: String,
    /// `eu-west-1a`.
    pub zone: String,
    /// Counts the boots of this instance, from 1.
    pub boot: u32,
}

/// How a host went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// For good.
    Terminated,
    /// It may be started again.
    Stopped,
    /// It is started again at once.
    Rebooted,
}

/// One pod behind a Service, as its EndpointSlice says now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// The pod.
    pub pod_uid: String,
    /// Its node's name.
    pub node: String,
    /// Takes new connections.
    pub ready: bool,
    /// The pod's readiness, whether or not it terminates.
    pub serving: bool,
    /// The pod has a deletion timestamp.
    pub terminating: bool,
    /// When one of these flags last changed.
    pub changed_at: Millis,
}

impl Kubernetes {
    pub(crate) fn happen(_world: &mut World, event: KubernetesEvent) {
        match event {}
    }

    /// The cluster hears that an instance runs: its node registers and turns Ready.
    pub fn instance_started(_world: &mut World, _birth: &InstanceBirth) {}

    /// The cluster loses a host: its containers stop in this very millisecond.
    pub fn instance_stopped(_world: &mut World, _instance: &str, _stop: Stop) {}

    /// The global resource version, where a watch that was answered up to now goes on.
    pub fn resource_version(&self) -> u64 {
        0
    }

    /// The endpoints of a Service, as its EndpointSlice says now; none when there is no such Service.
    pub fn endpoints(&self, _namespace: &str, _service: &str) -> &[Endpoint] {
        &[]
    }

    /// Whether the pod's containers accept connections right now.
    pub fn pod_serving(&self, _uid: &str) -> bool {
        false
    }

    /// The node whose providerID ends in this instance.
    pub fn node_of_instance(&self, _instance: &str) -> Option<&str> {
        None
    }
}

/// Answers one request (not a watch).
pub fn serve(_world: &mut World, _process: u32, _request: &Request) -> Response {
    Response { status: 404, body: Vec::new() }
}

/// The JSON lines of a watch since `resource_version` (0: all there is, as ADDED), or 410 when too
/// old. The next poll goes on from [`Kubernetes::resource_version`].
pub fn watch_since(
    _world: &mut World,
    _request: &Request,
    _resource_version: u64,
) -> Result<Vec<Vec<u8>>, Response> {
    Ok(Vec::new())
}

/// How long the real server holds this answer back: it retries a uid conflict of an eviction for
/// 9.97 s before it says 409.
pub fn held_ms(request: &Request, response: &Response) -> Millis {
    let conflict = response.status == 409 && request.path.ends_with("/eviction");
    if conflict { 9_970 } else { 0 }
}
