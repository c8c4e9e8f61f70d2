//! The cluster's half of the reads: the node first, then only what this turn can use.

use super::Round;
use crate::retry::{self, Classed as _, Failure};
use cluster::ClusterError;
use decision::id::{ClusterName, InstanceId, NodeName};
use decision::looks::{self, ClusterLook};
use decision::snapshot::cluster::{ClusterView, Node, NodeLookup, NodeView, Peer, Pod, Service};
use decision::snapshot::{Read, Snapshot, Unread};

type Tried<T> = Result<T, Failure<ClusterError>>;

/// One read through the retry loop; what it says about the way to the cluster goes to the breaker.
async fn read<T>(
    round: Round<'_>,
    cluster: &ClusterName,
    call: impl AsyncFn() -> Result<T, ClusterError>,
) -> Tried<T> {
    let noted = async || {
        let answer = call().await;
        round.app.note_reach(cluster, &answer);
        answer
    };
    retry::read(round.until, &round.app.clock, None, noted).await
}

/// Finds the cluster and, in it, the node.
pub(super) async fn node(round: Round<'_>, snapshot: &mut Snapshot) {
    snapshot.cluster = match looks::cluster(snapshot, &round.app.policy) {
        ClusterLook::No => ClusterView::NotAsked,
        ClusterLook::Unnamed => ClusterView::Unnamed,
        ClusterLook::Ask(name) => ask(round, snapshot, name).await,
    };
}

async fn ask(round: Round<'_>, snapshot: &Snapshot, name: ClusterName) -> ClusterView {
    let client = match round.app.client(&name, round.until).await {
        Ok(Some(client)) => client,
        Ok(None) => return ClusterView::Deleted(name),
        Err(why) => return ClusterView::Unreachable { cluster: name, why },
    };
    match find(round, snapshot, &name, &client).await {
        Ok(Found::Node(node)) => ClusterView::Reached { cluster: name, node: begin(*node) },
        Ok(Found::None) => ClusterView::Reached { cluster: name, node: NodeLookup::Absent },
        Ok(Found::NotListed) => {
            let why =
                "its nodes were listed less than a minute ago, this one is looked for next time"
                    .into();
            ClusterView::Unreachable { cluster: name, why }
        }
        Err(error) => ClusterView::Unreachable { cluster: name, why: error.why() },
    }
}

/// The node by its likely name, verified by its provider id; otherwise by a list, at most once a minute.
async fn find(
    round: Round<'_>,
    snapshot: &Snapshot,
    cluster: &ClusterName,
    client: &kube::Client,
) -> Tried<Found> {
    let app = round.app;
    let known = app.kept.nodes.get(&snapshot.instance, round.now);
    let likely = known.or_else(|| private_dns(snapshot));
    if let Some(name) = likely {
        let node = read(round, cluster, || cluster::node(client, &name)).await?;
        if let Some(node) = node.filter(|node| is_of(node, &snapshot.instance)) {
            app.kept.nodes.put(snapshot.instance.clone(), name, round.now);
            return Ok(Found::Node(Box::new(node)));
        }
    }
    if app.kept.scanned.get(cluster, round.now).is_some() {
        return Ok(Found::NotListed);
    }
    app.kept.scanned.put(cluster.clone(), round.now, round.now);
    let node = read(round, cluster, || cluster::find_node(client, &snapshot.instance)).await?;
    if let Some(node) = &node {
        app.kept.nodes.put(snapshot.instance.clone(), node.name.clone(), round.now);
    }
    Ok(node.map_or(Found::None, |node| Found::Node(Box::new(node))))
}

/// What a search for a node came to.
enum Found {
    /// It is there.
    Node(Box<Node>),
    /// The whole cluster has none for this instance.
    None,
    /// Not under its usual name, and the cluster's nodes were listed less than a minute ago for another instance.
    NotListed,
}

fn private_dns(snapshot: &Snapshot) -> Option<NodeName> {
    let instance = snapshot.aws.instance.as_ref().ok()?.as_ref()?;
    instance.private_dns.as_ref()?.parse().ok()
}

/// `aws:///<zone>/<instance>`: the name alone proves nothing, since addresses are used again.
fn is_of(node: &Node, instance: &InstanceId) -> bool {
    node.provider_id.rsplit('/').next() == Some(instance.as_str())
}

fn begin(node: Node) -> NodeLookup {
    NodeLookup::Found(Box::new(NodeView {
        node,
        peers: super::not_yet(),
        pods: super::not_yet(),
        budgets: super::not_yet(),
        services: super::not_yet(),
        siblings: super::not_yet(),
        volumes: super::not_yet(),
    }))
}

/// The rest of what this turn can use, round by round.
pub(super) async fn rest(round: Round<'_>, snapshot: &mut Snapshot) {
    let ClusterView::Reached { cluster, node: NodeLookup::Found(view) } = &snapshot.cluster else {
        return;
    };
    let (cluster, mut view) = (cluster.clone(), view.clone());
    let Ok(Some(client)) = round.app.client(&cluster, round.until).await else { return };
    let policy = &round.app.policy;
    let listed = looks::peers(snapshot, &view, policy);
    if listed {
        view.peers = departing(round, &cluster, &client).await;
    }
    if looks::pods(snapshot, &view, policy) {
        view.pods =
            plain(read(round, &cluster, || cluster::pods_on(&client, &view.node.name)).await);
    }
    if looks::budgets(snapshot, &view, policy) {
        let pods = view.pods.clone().unwrap_or_default();
        let peers = async {
            if listed { view.peers.clone() } else { departing(round, &cluster, &client).await }
        };
        let (peers, budgets, services, siblings) = futures_util::join!(
            peers,
            read(round, &cluster, || cluster::budgets(&client)),
            services(round, &cluster, &client, &pods),
            read(round, &cluster, || cluster::siblings(&client, &pods)),
        );
        (view.peers, view.services) = (peers, services);
        (view.budgets, view.siblings) = (plain(budgets), plain(siblings));
    }
    if looks::volumes(snapshot, &view, policy) {
        view.volumes =
            plain(read(round, &cluster, || cluster::volumes_on(&client, &view.node.name)).await);
    }
    snapshot.cluster = ClusterView::Reached { cluster, node: NodeLookup::Found(view) };
}

async fn departing(
    round: Round<'_>,
    cluster: &ClusterName,
    client: &kube::Client,
) -> Read<Vec<Peer>> {
    plain(read(round, cluster, || cluster::departing(client)).await)
}

fn plain<T>(read: Tried<T>) -> Read<T> {
    read.map_err(|error| Unread::because(error.why()))
}

/// All Services of a cluster, which are kept for a while.
async fn all_services(
    round: Round<'_>,
    cluster: &ClusterName,
    client: &kube::Client,
) -> Read<Vec<Service>> {
    if let Some(services) = round.app.kept.services.get(cluster, round.now) {
        return Ok(services);
    }
    let services = plain(read(round, cluster, || cluster::services(client)).await)?;
    round.app.kept.services.put(cluster.clone(), services.clone(), round.now);
    Ok(services)
}

/// Reads the Services of this snapshot's cluster ahead.
pub(super) async fn services_ahead(round: Round<'_>, snapshot: &Snapshot) {
    let ClusterView::Reached { cluster, .. } = &snapshot.cluster else { return };
    if let Ok(Some(client)) = round.app.client(cluster, round.until).await {
        drop(all_services(round, cluster, &client).await);
    }
}

/// The Services that select one of these pods, with their endpoints as of now.
async fn services(
    round: Round<'_>,
    cluster: &ClusterName,
    client: &kube::Client,
    pods: &[Pod],
) -> Result<Vec<Service>, Unread> {
    let services = all_services(round, cluster, client).await?;
    let mut ours: Vec<Service> = services
        .into_iter()
        .filter(|service| pods.iter().any(|pod| decision::matching::serves(service, pod)))
        .collect();
    if ours.is_empty() {
        return Ok(ours);
    }
    let names: Vec<_> = ours.iter().map(|service| service.key.clone()).collect();
    let mut endpoints = plain(read(round, cluster, || cluster::endpoints(client, &names)).await)?;
    for service in &mut ours {
        service.ready = endpoints.remove(&service.key).unwrap_or_default();
    }
    Ok(ours)
}
