//! The cluster's half of the reads: the node first, then only what this turn can use.

use super::Round;
use crate::app::CROWD_LASTS;
use crate::breaker::Reach;
use crate::once::Once;
use crate::retry::{self, Classed as _, Failure};
use cluster::ClusterError;
use decision::id::{ClusterName, InstanceId, NodeName};
use decision::limits::STORM_NODES;
use decision::looks::{self, ClusterLook};
use decision::snapshot::cluster::{Budget, ClusterView, Node, NodeLookup, NodeView, Pod, Service};
use decision::snapshot::departing::Peers;
use decision::snapshot::{Read, Snapshot, Unread};
use decision::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One read through the retry loop; what it says about the way to the cluster goes to the breaker.
async fn read<T>(
    round: Round<'_>,
    cluster: &ClusterName,
    call: impl AsyncFn() -> Result<T, ClusterError>,
) -> Result<T, Failure<ClusterError>> {
    let noted = async || {
        let answer = call().await;
        round.app.note_reach(cluster, &answer);
        answer
    };
    let read = retry::read(round.until, &round.app.clock, None, noted).await;
    if let Err(failure) = &read {
        round.app.kept.denied.read(Some(cluster), failure);
    }
    read
}

/// Finds the cluster and, in it, the node.
pub(super) async fn node(round: Round<'_>, snapshot: &mut Snapshot, shared: &super::Shared) {
    snapshot.cluster = match looks::cluster(snapshot, &round.app.policy) {
        ClusterLook::No => ClusterView::NotAsked,
        ClusterLook::Unnamed => ClusterView::Unnamed,
        ClusterLook::Ask(name) => ask(round, snapshot, name, shared).await,
    };
}

async fn ask(
    round: Round<'_>,
    snapshot: &Snapshot,
    name: ClusterName,
    shared: &super::Shared,
) -> ClusterView {
    let client = match round.app.client(&name, round.until).await {
        Ok(Some(client)) => client,
        Ok(None) => return ClusterView::Deleted(name),
        Err(why) => return ClusterView::Unreachable { cluster: name, why },
    };
    let asks = Asks { round, cluster: &name, client: &client, shared: &shared.cluster };
    match find(asks, snapshot).await {
        Ok(Found::Node(node)) => ClusterView::Reached { cluster: name, node: begin(*node) },
        Ok(Found::None) => ClusterView::Reached { cluster: name, node: NodeLookup::Absent },
        Ok(Found::NotListed) => {
            let why =
                "its nodes were listed less than a minute ago, this one is looked for next time"
                    .into();
            ClusterView::Unreachable { cluster: name, why }
        }
        Err(why) => ClusterView::Unreachable { cluster: name, why },
    }
}

/// The node by its likely name, verified by its provider id; otherwise by a list of all, at most once a minute.
async fn find(asks: Asks<'_>, snapshot: &Snapshot) -> Result<Found, String> {
    let Asks { round, cluster, client, .. } = asks;
    let app = round.app;
    let known = app.kept.nodes.get(&snapshot.instance, round.now);
    let likely = known.or_else(|| private_dns(snapshot));
    if let Some(name) = likely
        && let Some(node) = named((round, cluster, client), &name, &snapshot.instance).await?
    {
        return Ok(Found::Node(Box::new(node)));
    }
    if looks::only_starts(snapshot) {
        // Most are replacements, whose nodes are still to come. What is to be taken back is on a node's record.
        let departing = asks.peers(Age::Some).await.map_err(|unread| unread.why)?;
        let Some(peer) = departing.iter().find(|peer| peer.instance == snapshot.instance) else {
            return Ok(Found::None);
        };
        let node = named((round, cluster, client), &peer.node, &snapshot.instance).await?;
        return Ok(node.map_or(Found::None, |node| Found::Node(Box::new(node))));
    }
    let scan = match app.kept.scanned.get(cluster, round.now) {
        Some(scan) => scan,
        None => asks.scan().await.map_err(|unread| unread.why)?,
    };
    let node = match scan.names.get(&snapshot.instance) {
        Some(name) => named((round, cluster, client), name, &snapshot.instance).await?,
        None => None,
    };
    // A node that registered since is seen in a minute: a launch can wait for that, and a drain must not be missed for it.
    let is_known = scan.at == round.now || looks::only_arrives(snapshot, &app.policy);
    Ok(match node {
        Some(node) => Found::Node(Box::new(node)),
        None if scan.is_whole && is_known => Found::None,
        None => Found::NotListed,
    })
}

/// All nodes of a cluster, as they were listed at a time.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    at: Timestamp,
    /// Not after a list that failed, which must not be repeated at once either.
    is_whole: bool,
    names: Arc<BTreeMap<InstanceId, NodeName>>,
}

/// The node of this name, if it is this instance's.
async fn named(
    (round, cluster, client): (Round<'_>, &ClusterName, &kube::Client),
    name: &NodeName,
    instance: &InstanceId,
) -> Result<Option<Node>, String> {
    let app = round.app;
    let brief = Round { until: round.node_until, ..round };
    let node = read(brief, cluster, || cluster::node(client, name)).await;
    if matches!(node, Err(Failure::CutOff)) && round.node_until < round.until {
        app.kept.breakers.record(cluster, Reach::Silent, app.clock.now());
    }
    let node = node.map_err(|error| error.why())?.filter(|node| is_of(node, instance));
    if node.is_some() {
        app.kept.nodes.put(instance.clone(), name.clone(), round.now);
    }
    Ok(node)
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

/// The node as it is now, after reads that took long; what else was read of it stays. Where it can't be read any more, what
/// is known is kept, and marked: an API server that is slow near a deadline must not hide the pods that are left.
pub(super) async fn node_again(round: Round<'_>, snapshot: &mut Snapshot) {
    let ClusterView::Reached { cluster, node: NodeLookup::Found(view) } = &mut snapshot.cluster
    else {
        return;
    };
    let round = Round { node_until: round.until, ..round };
    let node = match round.app.client(cluster, round.until).await {
        Ok(Some(client)) => {
            named((round, cluster, &client), &view.node.name, &snapshot.instance).await
        }
        Ok(None) => {
            snapshot.cluster = ClusterView::Deleted(cluster.clone());
            return;
        }
        Err(why) => Err(why),
    };
    match node {
        Ok(Some(node)) => view.node = node,
        Ok(None) => {
            let cluster = cluster.clone();
            snapshot.cluster = ClusterView::Reached { cluster, node: NodeLookup::Absent };
        }
        Err(why) => view.outdated = Some(why),
    }
}

/// `aws:///<zone>/<instance>`: the name alone proves nothing, since addresses are used again.
fn is_of(node: &Node, instance: &InstanceId) -> bool {
    node.provider_id.rsplit('/').next() == Some(instance.as_str())
}

fn begin(node: Node) -> NodeLookup {
    NodeLookup::Found(Box::new(NodeView {
        node,
        outdated: None,
        peers: super::not_yet(),
        pods: super::not_yet(),
        budgets: super::not_yet(),
        services: super::not_yet(),
        siblings: super::not_yet(),
        volumes: super::not_yet(),
    }))
}

/// What several instances of one cluster want read once.
#[derive(Debug, Default)]
pub(super) struct Shared {
    peers: Once<ClusterName, Read<Peers>>,
    fresh_peers: Once<ClusterName, Read<Peers>>,
    budgets: Once<ClusterName, Read<Vec<Budget>>>,
    services: Once<ClusterName, Read<Vec<Service>>>,
    scan: Once<ClusterName, Read<Scan>>,
}

/// How many nodes depart at once, before AWS is asked for what it rations. What can't be listed is no sign.
pub(super) async fn crowd(round: Round<'_>, snapshot: &Snapshot, shared: &super::Shared) {
    let ClusterView::Reached { cluster, .. } = &snapshot.cluster else { return };
    let Ok(Some(client)) = round.app.client(cluster, round.until).await else { return };
    let asks = Asks { round, cluster, client: &client, shared: &shared.cluster };
    drop(asks.peers(Age::Some).await);
}

/// How many nodes of this one's cluster were departing when they were listed last.
pub(super) fn crowded(round: Round<'_>, snapshot: &Snapshot) -> usize {
    let ClusterView::Reached { cluster, .. } = &snapshot.cluster else { return 0 };
    let listed = round.app.kept.peers.within(cluster, round.now, CROWD_LASTS);
    listed.map_or(0, |peers| peers.len())
}

/// How old a list of the departing nodes may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// As a health is: something may follow from it.
    Fresh,
    /// Long enough that a storm's nodes are not listed all the time.
    Some,
}

/// A storm's list is used for so long where it says that nothing can be done yet. Half: twenty environments list a thousand
/// nodes six times a second. Twice: a free place in a group is noticed three seconds later.
const LISTED_FOR: Duration = Duration::from_secs(3);

/// The rest of what this turn can use, round by round.
pub(super) async fn rest(round: Round<'_>, snapshot: &mut Snapshot, shared: &super::Shared) {
    let ClusterView::Reached { cluster, node: NodeLookup::Found(view) } = &snapshot.cluster else {
        return;
    };
    let (cluster, mut view) = (cluster.clone(), view.clone());
    let Ok(Some(client)) = round.app.client(&cluster, round.until).await else { return };
    let policy = &round.app.policy;
    let asks = Asks { round, cluster: &cluster, client: &client, shared: &shared.cluster };
    let (may_leave, mut are_fresh) = (looks::peers(snapshot, &view, policy), false);
    if may_leave {
        view.peers = asks.peers(Age::Some).await;
        are_fresh = asks.freshen(snapshot, &mut view, shared).await;
    }
    if looks::pods(snapshot, &view, policy) {
        view.pods =
            plain(read(round, &cluster, || cluster::pods_on(&client, &view.node.name)).await);
    }
    if looks::budgets(snapshot, &view, policy) {
        let (budgets, services) = futures_util::join!(asks.budgets(), asks.services());
        (view.budgets, view.services) = (budgets, services);
        asks.family(snapshot, &mut view).await;
    }
    // The grace of its pods may make a withdrawal due that was not before they were known.
    if may_leave && !are_fresh {
        asks.freshen(snapshot, &mut view, shared).await;
    }
    if looks::volumes(snapshot, &view, policy) {
        view.volumes =
            plain(read(round, &cluster, || cluster::volumes_on(&client, &view.node.name)).await);
    }
    snapshot.cluster = ClusterView::Reached { cluster, node: NodeLookup::Found(view) };
}

/// Reads from one cluster that a batch makes once.
#[derive(Clone, Copy)]
struct Asks<'a> {
    round: Round<'a>,
    cluster: &'a ClusterName,
    client: &'a kube::Client,
    shared: &'a Shared,
}

impl Asks<'_> {
    /// Where calls would take targets out now, what they follow from is read again; whether that was so.
    async fn freshen(
        self,
        snapshot: &mut Snapshot,
        view: &mut NodeView,
        shared: &super::Shared,
    ) -> bool {
        let calls = looks::calls(snapshot, view, &self.round.app.policy);
        if calls.any {
            let fresh = super::aws::freshen(self.round, snapshot, (&calls.stale, shared));
            (view.peers, ()) = futures_util::join!(self.peers(Age::Fresh), fresh);
        }
        calls.any
    }

    /// The departing nodes.
    async fn peers(self, age: Age) -> Read<Peers> {
        let Self { round, cluster, client, shared } = self;
        let (kept, clock) = (&round.app.kept.peers, &round.app.clock);
        let now = clock.now();
        let old = || kept.within(cluster, now, LISTED_FOR);
        let old = || old().filter(|peers| age == Age::Some && peers.len() >= STORM_NODES);
        if let Some(peers) = kept.get(cluster, now).or_else(old) {
            return Ok(peers);
        }
        let list = async || {
            // From before the list on: what is written meanwhile may not be in it.
            let listed_at = clock.now();
            let peers = plain(read(round, cluster, || cluster::departing(client)).await);
            let before = kept.last(cluster).unwrap_or_default();
            let peers = peers.map(|peers| before.renewed(peers));
            if let Ok(peers) = &peers {
                kept.put(cluster.clone(), peers.clone(), listed_at);
                round.app.note_busy(listed_at);
            }
            peers
        };
        let once = if age == Age::Fresh { &shared.fresh_peers } else { &shared.peers };
        once.get(cluster, list()).await
    }

    /// All nodes, for those that can't be found by their usual name; kept for a minute.
    async fn scan(self) -> Read<Scan> {
        let Self { round, cluster, client, shared } = self;
        let list = async || {
            let listed = read(round, cluster, || cluster::node_names(client)).await;
            let (is_whole, names) =
                (listed.is_ok(), listed.as_ref().ok().cloned().unwrap_or_default());
            let scan = Scan { at: round.now, is_whole, names: Arc::new(names) };
            round.app.kept.scanned.put(cluster.clone(), scan.clone(), round.now);
            plain(listed.map(|_| scan))
        };
        shared.scan.get(cluster, list()).await
    }

    async fn budgets(self) -> Read<Vec<Budget>> {
        let Self { round, cluster, client, shared } = self;
        let list = async || plain(read(round, cluster, || cluster::budgets(client)).await);
        shared.budgets.get(cluster, list()).await
    }

    /// All Services, without their endpoints.
    async fn services(self) -> Read<Vec<Service>> {
        let Self { round, cluster, client, shared } = self;
        let list = async || all_services(round, cluster, client).await;
        shared.services.get(cluster, list()).await
    }

    /// What only the implicit budget and the report of a blocked drain look at: other pods of the same owners, the
    /// endpoints of their Services, the order of the departing nodes.
    async fn family(self, snapshot: &Snapshot, view: &mut NodeView) {
        let Self { round, cluster, client, .. } = self;
        let pods = looks::family(snapshot, view, &round.app.policy);
        if pods.is_empty() {
            view.siblings = Ok(Vec::new());
            return;
        }
        let services = view.services.clone();
        let (peers, services, siblings) = futures_util::join!(
            self.peers(Age::Fresh),
            endpoints(round, (cluster, client), services, &pods),
            read(round, cluster, || cluster::siblings(client, &pods)),
        );
        (view.peers, view.services, view.siblings) = (peers, services, plain(siblings));
    }
}

fn plain<T>(read: Result<T, Failure<ClusterError>>) -> Read<T> {
    read.map_err(|failure| Unread::because(failure.why()))
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

/// The Services, those that select one of these pods with their endpoints as of now.
async fn endpoints(
    round: Round<'_>,
    (cluster, client): (&ClusterName, &kube::Client),
    services: Read<Vec<Service>>,
    pods: &[Pod],
) -> Result<Vec<Service>, Unread> {
    let mut services = services?;
    let serves =
        |service: &&mut Service| pods.iter().any(|pod| decision::matching::serves(service, pod));
    let mut ours: Vec<&mut Service> = services.iter_mut().filter(serves).collect();
    if ours.is_empty() {
        return Ok(services);
    }
    let names: Vec<_> = ours.iter().map(|service| service.key.clone()).collect();
    let mut found = plain(read(round, cluster, || cluster::endpoints(client, &names)).await)?;
    for service in &mut ours {
        service.ready = found.remove(&service.key).unwrap_or_default();
    }
    Ok(services)
}
