//! What cases are made of: nodes, pods and budgets, created through the API on either side.
//!
//! No kubelet and no controller is there, so their reports are written by the case: whether a pod is Ready, what a
//! budget's controller has counted.

use crate::side::{Answer, MERGE, Side};
use serde_json::{Value, json};

/// How a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Is {
    /// Its node has not reported yet.
    Pending,
    /// It runs and its probes pass.
    Ready,
    /// It runs and its probes fail.
    Unready,
    /// It has ended.
    Succeeded,
}

/// What a budget's controller has counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) allowed: u32,
    pub(crate) healthy: u32,
    pub(crate) desired: u32,
}

impl Side<'_> {
    /// The name of the case's node of this number.
    pub(crate) fn node_name(&self, number: u32) -> String {
        format!("{}-{number}", self.namespace)
    }

    pub(crate) fn node_path(&self, number: u32) -> String {
        format!("/api/v1/nodes/{}", self.node_name(number))
    }

    /// Creates a node, with more in its spec.
    pub(crate) async fn make_node(&self, number: u32, spec: &Value) {
        let name = self.node_name(number);
        let mut whole = json!({"providerID": format!("aws:///eu-west-1a/i-{number:017x}")});
        for (field, value) in spec.as_object().into_iter().flatten() {
            whole[field] = value.clone();
        }
        let node = json!({"apiVersion": "v1", "kind": "Node", "spec": whole,
            "metadata": {"name": name, "labels": {"case": self.namespace}}});
        created(&self.post("/api/v1/nodes", &node).await);
    }

    /// Creates a pod labelled `app: web` on the case's first node.
    pub(crate) async fn make_pod(&self, name: &str, is: Is) {
        self.make_pod_with(name, is, &json!({"app": "web"})).await;
    }

    pub(crate) async fn make_pod_with(&self, name: &str, is: Is, labels: &Value) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": labels},
            "spec": {"nodeName": self.node_name(1), "terminationGracePeriodSeconds": 30,
                "automountServiceAccountToken": false,
                "containers": [{"name": "web", "image": "registry.test/web:1"}]}});
        created(&self.post(&self.path("pods", ""), &pod).await);
        self.report(name, is).await;
    }

    /// What a pod's kubelet reports.
    pub(crate) async fn report(&self, name: &str, is: Is) {
        let (phase, ready) = match is {
            Is::Pending => return,
            Is::Ready => ("Running", "True"),
            Is::Unready => ("Running", "False"),
            Is::Succeeded => ("Succeeded", "False"),
        };
        let status = json!({"status": {"phase": phase, "conditions": [
            {"type": "Ready", "status": ready, "lastTransitionTime": "2026-11-22T12:00:00Z"}]}});
        let path = format!("{}/status", self.path("pods", name));
        ok(&self.patch(&path, MERGE, &status).await);
    }

    /// Creates a budget for the pods labelled `app: web`, as nobody has counted it yet.
    pub(crate) async fn make_budget(&self, name: &str, spec: &Value) {
        let mut whole = json!({"selector": {"matchLabels": {"app": "web"}}});
        for (field, value) in spec.as_object().into_iter().flatten() {
            whole[field] = value.clone();
        }
        let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": name}, "spec": whole});
        created(&self.post(&self.path("poddisruptionbudgets", ""), &budget).await);
    }

    /// What the budget's controller writes.
    pub(crate) async fn count(&self, name: &str, count: Count) {
        let status = json!({"status": {"observedGeneration": 1, "expectedPods": count.healthy,
            "disruptionsAllowed": count.allowed, "currentHealthy": count.healthy,
            "desiredHealthy": count.desired}});
        let path = format!("{}/status", self.path("poddisruptionbudgets", name));
        ok(&self.patch(&path, MERGE, &status).await);
    }

    /// A budget `web` that was counted.
    pub(crate) async fn make_counted(&self, spec: &Value, count: Count) {
        self.make_budget("web", spec).await;
        self.count("web", count).await;
    }

    /// The uid of an object.
    pub(crate) async fn uid(&self, resource: &str, name: &str) -> String {
        let path = if resource == "nodes" {
            format!("/api/v1/nodes/{name}")
        } else {
            self.path(resource, name)
        };
        let object = self.raw(&path).await;
        object["metadata"]["uid"].as_str().expect("it is there").to_owned()
    }

    /// Asks for an eviction with these delete options.
    pub(crate) async fn evict(&self, pod: &str, options: &Value) -> Answer {
        self.evict_with(pod, "", options).await
    }

    pub(crate) async fn evict_with(&self, pod: &str, query: &str, options: &Value) -> Answer {
        let mut eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace}});
        if !options.is_null() {
            eviction["deleteOptions"] = options.clone();
        }
        self.post(&format!("{}/eviction{query}", self.path("pods", pod)), &eviction).await
    }

    /// A pod as its deletion left it: the grace, and the reason's condition, if it is there and terminating.
    pub(crate) async fn deletion(&self, pod: &str) -> Value {
        let answer = self.get(&self.path("pods", pod)).await;
        if answer.status == 404 {
            return json!("gone");
        }
        let conditions = answer.body["status"]["conditions"].as_array().cloned();
        let why = conditions.into_iter().flatten().find(|one| one["type"] == "DisruptionTarget");
        json!({"grace": answer.body["metadata"]["deletionGracePeriodSeconds"],
            "terminating": answer.body["metadata"]["deletionTimestamp"].is_string(),
            "why": why.map_or(Value::Null, |why| why["reason"].clone())})
    }
}

#[track_caller]
pub(crate) fn created(answer: &Answer) {
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[track_caller]
pub(crate) fn ok(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A `Status` that refuses, whole.
pub(crate) fn refusal(code: u16, reason: &str, message: &str, details: &Value) -> Value {
    let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "message": message, "code": code});
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    if !details.is_null() {
        status["details"] = details.clone();
    }
    status
}

/// The `Status` of a removal that was granted.
pub(crate) fn success(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code})
}
