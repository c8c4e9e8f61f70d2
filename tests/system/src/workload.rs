//! What runs on the nodes: a Deployment with a Service and a PodDisruptionBudget.

use crate::account::NODE_PORT;
use crate::api::Api;
use crate::error::SystemError;
use serde_json::{Value, json};
use std::time::Duration;

/// Some pods of one Deployment in namespace `default`.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its name, and the value of the label `app`.
    pub name: String,
    /// How many pods.
    pub replicas: usize,
    /// Nodes with the label `pool` of this value.
    pub pool: String,
    /// What the budget says: `{"maxUnavailable": "10%"}`; `null`: none.
    pub budget: Value,
    /// `terminationGracePeriodSeconds`.
    pub grace_seconds: u32,
    /// What must be taken off a pod before it is gone: `example.com/stays`.
    pub finalizers: Vec<String>,
}

impl Workload {
    /// Creates all of it and waits until the pods are Ready.
    pub async fn create(&self, api: &Api, within: Duration) -> Result<(), SystemError> {
        let Self { name, replicas, pool, budget, grace_seconds, finalizers } = self;
        let labels = json!({"app": name});
        let pod = json!({"metadata": {"labels": labels, "finalizers": finalizers}, "spec": {
            "terminationGracePeriodSeconds": grace_seconds,
            "nodeSelector": {"pool": pool},
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": labels}}],
            "containers": [{"name": "web", "image": "registry.test/web:1"}]}});
        let deployment = json!({"metadata": {"name": name}, "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}});
        drop(api.post("/apis/apps/v1/namespaces/default/deployments", &deployment).await?);
        let service = json!({"metadata": {"name": name}, "spec": {
            "selector": labels, "ports": [{"port": 80}]}});
        drop(api.post("/api/v1/namespaces/default/services", &service).await?);
        if let Some(budget) = budget.as_object() {
            let mut spec = budget.clone();
            drop(spec.insert("selector".to_owned(), json!({"matchLabels": labels})));
            let budget = json!({"metadata": {"name": name}, "spec": spec});
            let path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
            drop(api.post(path, &budget).await?);
            let path = format!("{path}/{name}");
            let counted = |found: &Value| found["status"]["expectedPods"] == *replicas;
            drop(api.until(&path, within, counted).await?);
        }
        self.ready(api, within).await
    }

    /// Waits until all pods are Ready.
    pub async fn ready(&self, api: &Api, within: Duration) -> Result<(), SystemError> {
        let path = format!("/apis/apps/v1/namespaces/default/deployments/{}", self.name);
        let ready = |found: &Value| found["status"]["readyReplicas"] == self.replicas;
        api.until(&path, within, ready).await.map(drop)
    }

    /// A Service of type NodePort, behind which the nodes are targets.
    pub async fn expose(&self, api: &Api) -> Result<(), SystemError> {
        let Self { name, .. } = self;
        let service = json!({"metadata": {"name": format!("{name}-nodes")}, "spec": {
            "type": "NodePort", "selector": {"app": name},
            "ports": [{"port": 80, "nodePort": NODE_PORT}]}});
        api.post("/api/v1/namespaces/default/services", &service).await.map(drop)
    }
}
