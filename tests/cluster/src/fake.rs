//! Nodes without kubelets: kwok reports them Ready, and runs and ends pods there by word alone.

use crate::control::ControlPlane;
use crate::error::StartError;
use crate::process::Process;
use http::Request;
use serde_json::{Value, json};

/// The annotation by which kwok knows its nodes.
const FAKE: &str = "kwok.x-k8s.io/node";

/// How nodes and pods come and go; without any, kwok does nothing.
const STAGES: &str = include_str!("stages.yaml");

/// A node to be faked.
#[derive(Clone, Debug)]
pub struct FakeNode {
    /// `ip-10-0-0-1.ec2.internal`
    pub name: String,
    /// `i-0123456789abcdef0`
    pub instance: String,
    /// `us-east-1a`
    pub zone: String,
    /// The value of its label `pool`, by which workloads choose it.
    pub pool: String,
    /// How many images it says it has: 50, as most do, make it 17 kB, of which a test has no use.
    pub images: usize,
}

impl FakeNode {
    /// Nodes of these numbers, each with an instance of its own in us-east-1a.
    pub fn numbered(numbers: impl IntoIterator<Item = u32>) -> Vec<Self> {
        let node = |number: u32| Self {
            name: format!("ip-10-0-{}-{}.ec2.internal", number / 250, number % 250),
            instance: format!("i-{number:017x}"),
            zone: "us-east-1a".to_owned(),
            pool: "workers".to_owned(),
            images: 0,
        };
        numbers.into_iter().map(node).collect()
    }

    /// `aws:///us-east-1a/i-0123456789abcdef0`
    pub fn provider_id(&self) -> String {
        format!("aws:///{}/{}", self.zone, self.instance)
    }

    fn to_value(&self) -> Value {
        let images: Vec<Value> = (0..self.images).map(image).collect();
        let room = json!({"cpu": "4", "memory": "16Gi", "pods": "58"});
        json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": self.name, "annotations": {FAKE: "fake"}, "labels": {
                "kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": self.zone,
                "pool": self.pool}},
            "spec": {"providerID": self.provider_id()},
            "status": {"capacity": room, "allocatable": room, "images": images}})
    }
}

/// An image as kubelets name theirs: by digest, and by tag.
fn image(number: usize) -> Value {
    let name = format!(
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team-{number:02}/a-service-of-ours"
    );
    let names = [format!("{name}@sha256:{number:064x}"), format!("{name}:v1.{number}.0-20260901")];
    json!({"names": names, "sizeBytes": 250_000_000})
}

impl ControlPlane {
    /// Starts kwok, which keeps all nodes of [`ControlPlane::add_nodes`] Ready and runs their pods.
    pub fn start_kwok(&self) -> Result<(), StartError> {
        let config = self.kubeconfig("kwok", "system:masters")?;
        let stages = self.files.write("stages.yaml", STAGES)?;
        let arguments = [
            format!("--kubeconfig={config}"),
            format!("--config={stages}"),
            "--manage-all-nodes=false".to_owned(),
            format!("--manage-nodes-with-annotation-selector={FAKE}=fake"),
            "--node-lease-duration-seconds=40".to_owned(),
        ];
        let folder = self.files.path();
        let process = Process::start("kwok", &self.tools.kwok(), &arguments, folder)?;
        self.beside(process);
        Ok(())
    }

    /// Registers nodes, as their kubelets would.
    pub async fn add_nodes(&self, nodes: &[FakeNode]) -> Result<(), StartError> {
        let client = self.admin()?;
        for node in nodes {
            let request = Request::post("/api/v1/nodes")
                .header("content-type", "application/json")
                .body(node.to_value().to_string().into_bytes())
                .map_err(|error| StartError::Tls(Box::new(error)))?;
            let made = client.request::<Value>(request).await;
            drop(made.map_err(StartError::refused(format!("add node {}", node.name)))?);
        }
        Ok(())
    }
}
