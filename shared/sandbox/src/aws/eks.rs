//! Clusters, as far as DescribeCluster shows them.

use super::Request;
use super::protocol::Refusal;
use crate::world::World;
use std::collections::BTreeMap;

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The API server's URL.
    pub endpoint: String,
    /// The CA's certificate in PEM, in base64.
    pub certificate_authority: String,
    /// `CREATING`, `ACTIVE`, `DELETING`, `FAILED`, `UPDATING`, …
    pub status: String,
    /// The Kubernetes version.
    pub version: String,
    /// When it was made, in seconds since the epoch.
    pub created_at: i64,
}

/// Who a principal is in a cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccessEntry {
    /// Its user name there; `{{SessionName}}` stands for the session's.
    pub username: String,
    /// Its groups there.
    pub groups: Vec<String>,
}

/// All clusters.
#[derive(Clone, Debug, Default)]
pub struct Eks {
    /// Clusters by name.
    pub clusters: BTreeMap<String, Cluster>,
    /// Access entries by cluster and principal: the ARN of a role or a user.
    pub access_entries: BTreeMap<(String, String), AccessEntry>,
}

impl Eks {
    /// Adds an active cluster that listens at `endpoint`.
    pub fn add(world: &mut World, name: &str, endpoint: &str, certificate_authority: &str) {
        let cluster = Cluster {
            endpoint: endpoint.to_owned(),
            certificate_authority: certificate_authority.to_owned(),
            status: "ACTIVE".to_owned(),
            version: "1.33".to_owned(),
            created_at: world.now / 1_000 - 86_400,
        };
        world.aws.eks.clusters.insert(name.to_owned(), cluster);
    }

    /// Lets a role of the account into a cluster, with EKS's default user name.
    pub fn add_access_entry(world: &mut World, cluster: &str, role: &str, groups: &[&str]) {
        let account = &world.aws.account;
        let entry = AccessEntry {
            username: format!("arn:aws:sts::{account}:assumed-role/{role}/{{{{SessionName}}}}"),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        };
        let principal = format!("arn:aws:iam::{account}:role/{role}");
        world.aws.eks.access_entries.insert((cluster.to_owned(), principal), entry);
    }
}

pub(crate) fn serve(world: &mut World, request: &Request) -> Result<String, Refusal> {
    let path = request.path.split('?').next().unwrap_or_default();
    let name = match (request.method.as_str(), path.strip_prefix("/clusters/")) {
        ("GET", Some(name)) if !name.is_empty() && !name.contains('/') => name,
        _ => return Err(Refusal::new(404, "UnknownOperationException", "unknown operation")),
    };
    let Some(cluster) = world.aws.eks.clusters.get(name) else {
        let message = format!("No cluster found for name: {name}.");
        return Err(Refusal::new(404, "ResourceNotFoundException", message));
    };
    let (region, account) = (&world.aws.region, &world.aws.account);
    let described = serde_json::json!({ "cluster": {
        "name": name,
        "arn": format!("arn:aws:eks:{region}:{account}:cluster/{name}"),
        "createdAt": cluster.created_at,
        "version": cluster.version,
        "endpoint": cluster.endpoint,
        "status": cluster.status,
        "certificateAuthority": { "data": cluster.certificate_authority },
        "platformVersion": "eks.1",
        "accessConfig": { "authenticationMode": "API" },
        "tags": {},
    }});
    Ok(described.to_string())
}
