//! Services and their endpoints: which pods traffic may reach, and through which nodes.
//!
//! Services are read once for all nodes of a batch; endpoints only of those Services that matter, in
//! one request across namespaces.

use crate::call::{Call, PageOf};
use crate::error::{ClusterError, Operation};
use decision::id::{NodeName, PodKey, Uid};
use decision::snapshot::cluster::{Endpoint, Service, TrafficPolicy};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

const SERVICES: &str = "/api/v1/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

/// The label that ties an EndpointSlice to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// All Services that select pods, without their endpoints (`ready` is empty). A Service without a
/// selector has endpoints that somebody else keeps; an `ExternalName` is only an alias in DNS.
pub async fn services(client: &kube::Client) -> Result<Vec<Service>, ClusterError> {
    let call = Call::get(Operation::ListServices, "of all namespaces", SERVICES.to_owned());
    call.list(client, PageOf::Small, RawService::selecting).await
}

/// The ready endpoints of these Services, one entry for each Service.
pub async fn endpoints(
    client: &kube::Client,
    services: &[PodKey],
) -> Result<BTreeMap<PodKey, Vec<Endpoint>>, ClusterError> {
    let mut ready: BTreeMap<PodKey, BTreeSet<Endpoint>> =
        services.iter().map(|key| (key.clone(), BTreeSet::new())).collect();
    let names: BTreeSet<&str> = services.iter().map(|key| key.name.as_str()).collect();
    let call = Call::get(Operation::ListEndpoints, "by service", SLICES.to_owned());
    for call in call.for_each_of(SERVICE_NAME, &names) {
        let slices = call.list(client, PageOf::Large, |slice: RawSlice| {
            // Services of one name in other namespaces are in the answer too.
            let key = slice.service().filter(|key| ready.contains_key(key))?;
            Some((key, slice.ready().collect::<Vec<Endpoint>>()))
        });
        for (key, endpoints) in slices.await? {
            ready.entry(key).or_default().extend(endpoints);
        }
    }
    // A set, since a pod with an IPv4 and an IPv6 address is in a slice of each.
    Ok(ready.into_iter().map(|(key, endpoints)| (key, endpoints.into_iter().collect())).collect())
}

#[derive(Deserialize)]
struct RawService {
    metadata: PodKey,
    #[serde(default)]
    spec: RawSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSpec {
    r#type: String,
    selector: BTreeMap<String, String>,
    external_traffic_policy: String,
    health_check_node_port: u16,
    ports: Vec<RawPort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPort {
    #[serde(default)]
    node_port: u16,
}

impl RawService {
    fn selecting(self) -> Option<Service> {
        let Self { metadata, spec } = self;
        if spec.selector.is_empty() || spec.r#type == "ExternalName" {
            return None;
        }
        let ports = spec.ports.iter().map(|port| port.node_port);
        let ports = ports.chain([spec.health_check_node_port]);
        Some(Service {
            key: metadata,
            policy: match spec.external_traffic_policy.as_str() {
                "Local" => TrafficPolicy::Local,
                _ => TrafficPolicy::Cluster,
            },
            node_ports: ports.filter(|port| *port != 0).collect(),
            selector: spec.selector,
            ready: Vec::new(),
        })
    }
}

/// An EndpointSlice. A slice without endpoints says `"endpoints": null`.
#[derive(Deserialize)]
struct RawSlice {
    metadata: RawSliceMetadata,
    endpoints: Option<Vec<RawEndpoint>>,
}

#[derive(Deserialize)]
struct RawSliceMetadata {
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEndpoint {
    #[serde(default)]
    conditions: RawConditions,
    target_ref: Option<RawTarget>,
    node_name: Option<NodeName>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawConditions {
    ready: Option<bool>,
}

#[derive(Deserialize)]
struct RawTarget {
    kind: Option<String>,
    uid: Option<Uid>,
}

impl RawSlice {
    fn service(&self) -> Option<PodKey> {
        let name = self.metadata.labels.get(SERVICE_NAME)?.clone();
        Some(PodKey { namespace: self.metadata.namespace.clone(), name })
    }

    /// Its endpoints that are pods and may be sent to; `ready` left out means ready (discovery/v1).
    fn ready(self) -> impl Iterator<Item = Endpoint> {
        self.endpoints.unwrap_or_default().into_iter().filter_map(|endpoint| {
            let target =
                endpoint.target_ref.filter(|target| target.kind.as_deref() == Some("Pod"))?;
            let ready = endpoint.conditions.ready != Some(false);
            ready.then_some(Endpoint { pod: target.uid?, node: endpoint.node_name })
        })
    }
}
