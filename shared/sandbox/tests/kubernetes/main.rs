//! The cluster does what Kubernetes does: one world, no wire, no runtime.

mod arrivals;
mod budgets;
mod deletions;
mod evictions;
mod owners;
mod patches;
mod reads;
mod rules;
mod volumes;
mod watches;

use sandbox::kubernetes::{
    Kubernetes, Manners, NodeSpec, Request, ServiceSpec, Workload, WorkloadKind, serve,
};
use sandbox::{Millis, Sandbox, World};
use serde_json::{Value, json};

/// 2026-11-22T12:00:00Z
const START: Millis = 1_795_348_800_000;

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A world with three nodes: ip-10-0-1-1 to ip-10-0-1-3, instances i-1 to i-3.
fn in_cluster<R>(seed: u64, test: impl FnOnce(&mut World) -> R) -> R {
    let sandbox = Sandbox::new(seed, START);
    let mut world = sandbox.world();
    for number in 1..=3 {
        let (name, instance) = (format!("ip-10-0-1-{number}"), format!("i-{number}"));
        Kubernetes::add_node(&mut world, NodeSpec::new(&name, &instance, "eu-west-1a"));
    }
    test(&mut world)
}

const NODES: [&str; 3] = ["ip-10-0-1-1", "ip-10-0-1-2", "ip-10-0-1-3"];

/// The Deployment `shop/web` of so many replicas.
fn web(replicas: u32) -> Workload {
    Workload::new(WorkloadKind::Deployment, "shop", "web", replicas)
}

/// Adds `shop/web` and a Service of its name.
fn add_web(world: &mut World, work: Workload) -> Vec<String> {
    let pods = Kubernetes::add_workload(world, work);
    Kubernetes::add_service(world, ServiceSpec::new("shop", "web", 30080));
    pods
}

fn call(world: &mut World, method: &str, path: &str, body: &Value) -> (u16, Value) {
    call_as(world, method, path, ("", body))
}

fn call_as(
    world: &mut World,
    method: &str,
    path: &str,
    (content_type, body): (&str, &Value),
) -> (u16, Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        accept: String::new(),
        content_type: content_type.to_owned(),
        body,
    };
    let response = serve(world, 7, &request);
    (response.status, serde_json::from_slice(&response.body).expect("an API server speaks JSON"))
}

fn get(world: &mut World, path: &str) -> Value {
    let (status, body) = call(world, "GET", path, &Value::Null);
    assert_eq!(status, 200, "GET {path}: {body}");
    body
}

fn pod_path(name: &str) -> String {
    format!("/api/v1/namespaces/shop/pods/{name}")
}

/// The uid of a pod in `shop`.
fn uid(world: &World, name: &str) -> String {
    (*world.kubernetes.pod("shop", name).expect(name).meta.uid).to_owned()
}

/// The node of a pod in `shop`.
fn node_of(world: &World, name: &str) -> String {
    let pod = world.kubernetes.pod("shop", name).expect(name);
    pod.spec["nodeName"].as_str().expect("it is bound").to_owned()
}

/// The pods in `shop` that are Ready and not terminating.
fn ready_pods(world: &World) -> Vec<String> {
    let on = NODES.iter().flat_map(|node| world.kubernetes.pods_on(node));
    let ready = on.filter(|pod| pod.condition_is("Ready", "True") && pod.meta.deletion.is_none());
    ready.map(|pod| (*pod.meta.name).to_owned()).collect()
}

fn evict(world: &mut World, name: &str, options: &Value) -> (u16, Value) {
    evict_with(world, name, "", &json!({"deleteOptions": options}))
}

fn evict_with(world: &mut World, name: &str, query: &str, more: &Value) -> (u16, Value) {
    let mut body = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": name, "namespace": "shop"}});
    for (field, value) in more.as_object().into_iter().flatten() {
        body[field] = value.clone();
    }
    call(world, "POST", &format!("{}/eviction{query}", pod_path(name)), &body)
}

/// Cordons a node as a caller would.
fn cordon(world: &mut World, node: &str) {
    let body = json!({"spec": {"unschedulable": true}});
    let (status, _) = call_as(world, "PATCH", &format!("/api/v1/nodes/{node}"), (STRATEGIC, &body));
    assert_eq!(status, 200);
}

/// Lets so many milliseconds go by.
fn pass(world: &mut World, ms: Millis) {
    let to = world.now + ms;
    world.advance(to);
}

/// Pods that stop listening at SIGTERM and exit 100 ms later.
fn abrupt(mut work: Workload) -> Workload {
    work.manners = Manners::StopsAtOnce { exit_ms: 100 };
    work
}
