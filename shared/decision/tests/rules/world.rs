//! A small world that tests change: one instance, its group and hook, its node, pods, budgets, Services, target groups.

use decision::annotation::{Contributor, DEPARTURE, Departure, TAINT, VERSION, Withdrawn};
use decision::decision::{Decision, Next};
use decision::id::{HookToken, InstanceId, PodKey, TargetGroupArn, Uid};
use decision::policy::Policy;
use decision::signal::{HookRoute, HookSignal, Signal, SignalKind, Transition};
use decision::snapshot::aws::{
    Asg, AwsView, Balancer, Hook, Instance, InstanceState, LifecycleState, Membership,
    RegistrationOwner, Target, TargetGroup, TargetState,
};
use decision::snapshot::cluster::{
    Budget, ClusterView, Deletion, Endpoint, Node, NodeLookup, NodeView, Owner, Phase, Pod,
    Selector, Service, Sibling, Taint, TrafficPolicy,
};
use decision::snapshot::departing::Peer;
use decision::snapshot::{HookState, Memory, Seen, Snapshot, Unread};
use decision::step::{NodePatch, Step, TargetId};
use decision::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

/// When the signal was sent: 2026-11-22T09:30:00Z.
pub(crate) const SENT: Timestamp = Timestamp::from_seconds(1_795_339_800);
/// The hook's global timeout in most tests.
pub(crate) const GLOBAL: Duration = Duration::from_secs(7_200);
/// The hook's heartbeat timeout in most tests.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(3_600);

/// Seconds after the signal was sent.
pub(crate) fn after(seconds: u64) -> Timestamp {
    SENT + secs(seconds)
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Parses what a test wrote down.
#[track_caller]
pub(crate) fn id<T: FromStr>(text: &str) -> T
where
    T::Err: Debug,
{
    text.parse().expect("the test's own text is well formed")
}

/// The instance of most tests is number 1.
pub(crate) fn instance(number: usize) -> InstanceId {
    id(&format!("i-{number:017x}"))
}

pub(crate) fn token(number: usize) -> HookToken {
    id(&format!("00000000-0000-4000-8000-{number:012x}"))
}

pub(crate) fn arn(name: &str) -> TargetGroupArn {
    id(&format!(
        "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/{name}/0123456789abcdef"
    ))
}

pub(crate) fn key(text: &str) -> PodKey {
    id(text)
}

pub(crate) fn uid(text: &str) -> Uid {
    id(text)
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The defaults, in mode `act`, with these settings over them.
#[track_caller]
pub(crate) fn policy(settings: &[(&str, &str)]) -> Policy {
    let lookup = |name: &str| match settings.iter().find(|(variable, _)| *variable == name) {
        Some((_, text)) => Some((*text).to_owned()),
        None => (name == "MODE").then(|| "act".to_owned()),
    };
    Policy::parse(lookup).expect("the test's own settings parse")
}

pub(crate) fn act() -> Policy {
    policy(&[])
}

pub(crate) fn hook_signal(transition: Transition, route: HookRoute) -> HookSignal {
    let hook = match transition {
        Transition::Launching => "ebbtide-launch",
        Transition::Terminating => "ebbtide-terminate",
    };
    HookSignal {
        transition,
        asg: id("workers"),
        hook: id(hook),
        token: token(1),
        metadata: None,
        route,
    }
}

pub(crate) fn seen(transition: Transition, route: HookRoute) -> Seen {
    let signal = hook_signal(transition, route);
    let hook = facts(&signal);
    Seen {
        message: "message-1".to_owned(),
        signal: Signal {
            instance: instance(1),
            sent_at: Some(SENT),
            account: Some("111122223333".to_owned()),
            region: Some("eu-central-1".to_owned()),
            kind: SignalKind::Hook(signal),
        },
        receives: 1,
        sent_at: SENT,
        hook: Ok(Some(hook)),
    }
}

/// The facts of a signal's hook, as the group lists them.
fn facts(signal: &HookSignal) -> Hook {
    Hook {
        name: signal.hook.clone(),
        transition: signal.transition,
        heartbeat: HEARTBEAT,
        global: GLOBAL,
        metadata: None,
    }
}

/// The terminate hook that the group of most tests has.
pub(crate) fn terminate_hook() -> Hook {
    facts(&hook_signal(Transition::Terminating, HookRoute::Normal))
}

/// The hook's part of a signal.
#[track_caller]
pub(crate) fn hook_of(seen: &mut Seen) -> &mut HookSignal {
    match &mut seen.signal.kind {
        SignalKind::Hook(hook) => hook,
        SignalKind::Interruption(other) => panic!("the test wants a hook: {other:?}"),
    }
}

/// The hook's part of the first signal.
#[track_caller]
pub(crate) fn hook_mut(snapshot: &mut Snapshot) -> &mut HookSignal {
    hook_of(&mut snapshot.signals[0])
}

/// The facts of the first signal's hook.
pub(crate) fn facts_mut(snapshot: &mut Snapshot) -> &mut Hook {
    let facts = snapshot.signals[0].hook.as_mut().expect("read").as_mut();
    facts.expect("the hook exists")
}

pub(crate) fn state_of(transition: Transition, route: HookRoute) -> LifecycleState {
    match (transition, route) {
        (_, HookRoute::RootVolume) => LifecycleState::ReplacingRootVolumeWait,
        (Transition::Terminating, HookRoute::WarmPoolEnd) => LifecycleState::WarmedTerminatingWait,
        (Transition::Terminating, _) => LifecycleState::TerminatingWait,
        (Transition::Launching, HookRoute::WarmPoolIn) => LifecycleState::WarmedPendingWait,
        (Transition::Launching, _) => LifecycleState::PendingWait,
    }
}

/// A signal that is ours and true, two seconds old, and a node as it was before we touched it.
pub(crate) fn signalled(transition: Transition, route: HookRoute) -> Snapshot {
    Snapshot {
        now: after(2),
        instance: instance(1),
        signals: vec![seen(transition, route)],
        aws: AwsView {
            membership: Ok(Some(Membership {
                asg: id("workers"),
                state: state_of(transition, route),
            })),
            group: Ok(Some(asg())),
            hooks: Ok(vec![terminate_hook()]),
            instance: Ok(Some(ec2())),
            is_scheduled: Err(Unread::because("not asked")),
            target_groups: Ok(Vec::new()),
        },
        cluster: reached(view(node())),
        memory: Memory::default(),
    }
}

/// A terminate hook waits, and nothing was done yet.
pub(crate) fn signalled_out() -> Snapshot {
    signalled(Transition::Terminating, HookRoute::Normal)
}

/// A launch hook waits, and the node is ready.
pub(crate) fn signalled_in() -> Snapshot {
    signalled(Transition::Launching, HookRoute::Normal)
}

/// A departure under way: the node carries our cordon and record, whose place in the order has settled.
pub(crate) fn departing() -> Snapshot {
    let mut snapshot = signalled_out();
    snapshot.now = after(60);
    snapshot.cluster = reached(view(cordoned(node(), &record(1))));
    let peer = peer(&record(1));
    view_mut(&mut snapshot).peers = Ok(vec![peer].into());
    snapshot
}

pub(crate) fn asg() -> Asg {
    Asg {
        name: id("workers"),
        tags: labels(&[("ebbtide.dev/managed", "true")]),
        target_groups: Vec::new(),
    }
}

pub(crate) fn ec2() -> Instance {
    Instance {
        id: instance(1),
        state: InstanceState::Running,
        private_dns: Some("ip-10-0-3-1.ec2.internal".to_owned()),
        tags: labels(&[
            ("aws:autoscaling:groupName", "workers"),
            ("kubernetes.io/cluster/prod", "owned"),
        ]),
        launched_at: Some(SENT - secs(86_400)),
    }
}

pub(crate) fn reached(view: NodeView) -> ClusterView {
    ClusterView::Reached { cluster: id("prod"), node: NodeLookup::Found(Box::new(view)) }
}

pub(crate) fn absent() -> ClusterView {
    ClusterView::Reached { cluster: id("prod"), node: NodeLookup::Absent }
}

pub(crate) fn unreachable() -> ClusterView {
    ClusterView::Unreachable { cluster: id("prod"), why: "connect: timed out after 2 s".to_owned() }
}

pub(crate) fn view_mut(snapshot: &mut Snapshot) -> &mut NodeView {
    match &mut snapshot.cluster {
        ClusterView::Reached { node: NodeLookup::Found(view), .. } => view,
        other => panic!("the test wants a node: {other:?}"),
    }
}

pub(crate) fn node_mut(snapshot: &mut Snapshot) -> &mut Node {
    &mut view_mut(snapshot).node
}

pub(crate) fn view(node: Node) -> NodeView {
    NodeView {
        node,
        outdated: None,
        peers: Ok(Vec::new().into()),
        pods: Ok(Vec::new()),
        budgets: Ok(Vec::new()),
        services: Ok(Vec::new()),
        siblings: Ok(Vec::new()),
        volumes: Ok(Vec::new()),
    }
}

pub(crate) fn node_name(number: usize) -> decision::id::NodeName {
    id(&format!("ip-10-0-3-{number}.ec2.internal"))
}

pub(crate) fn node() -> Node {
    Node {
        name: node_name(1),
        uid: uid("node-uid-1"),
        resource_version: "4711".to_owned(),
        created_at: Some(SENT - secs(86_000)),
        provider_id: format!("aws:///eu-central-1a/{}", instance(1)),
        boot: Some(id("boot-1")),
        unschedulable: false,
        taints: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        ready: Some(true),
    }
}

pub(crate) fn taint(key: &str) -> Taint {
    Taint { key: key.to_owned(), value: None, effect: "NoSchedule".to_owned(), time_added: None }
}

/// The node with our cordon and `record` on it.
pub(crate) fn cordoned(mut node: Node, record: &Departure) -> Node {
    node.unschedulable = true;
    node.taints.push(taint(TAINT));
    node.annotations.insert(DEPARTURE.to_owned(), record.text());
    node
}

/// The record of instance `number`, begun with the signal, with the hook's deadline.
pub(crate) fn record(number: usize) -> Departure {
    Departure {
        v: VERSION,
        instance: instance(number),
        boot: Some(id("boot-1")),
        since: SENT,
        ranked_at: SENT,
        cordoned: true,
        tainted: true,
        labelled: false,
        out_of_service: false,
        because: vec![Contributor {
            by: "ebbtide-terminate".to_owned(),
            token: token(number).fingerprint(),
            hard: Some(SENT + GLOBAL),
        }],
        withdrawn: Vec::new(),
        rest: serde_json::Map::new(),
    }
}

/// The record with a withdrawal of the instance's own target from the group.
pub(crate) fn withdrawn(mut record: Departure, group: &str, at: Timestamp) -> Departure {
    let targets = vec![target_id(&record.instance)];
    record.withdrawn.push(Withdrawn { group: arn(group), at, targets });
    record
}

pub(crate) fn peer(record: &Departure) -> Peer {
    let number = usize::from_str_radix(record.instance.as_str().trim_start_matches("i-"), 16)
        .expect("a test's instance");
    Peer { instance: record.instance.clone(), node: node_name(number), annotation: record.text() }
}

pub(crate) fn proven(snapshot: &mut Snapshot) {
    let now = snapshot.now;
    snapshot.memory.hooks.insert(token(1).fingerprint(), HookState::Active(now));
}

// ---- Target groups -------------------------------------------------------------------------------

pub(crate) fn target(number: usize, state: TargetState) -> Target {
    Target { id: instance(number).to_string(), port: 30_080, zone: None, state }
}

pub(crate) fn target_id(instance: &InstanceId) -> TargetId {
    TargetId { id: instance.to_string(), port: 30_080, zone: None }
}

/// The group `web` of an Application Load Balancer, which only we take targets out of.
pub(crate) fn web(targets: Vec<Target>) -> TargetGroup {
    TargetGroup {
        arn: arn("web"),
        owner: RegistrationOwner::Named,
        balancer: Balancer::Application,
        deregistration_delay: secs(300),
        targets: targets.into(),
        read_at: after(60),
    }
}

pub(crate) fn healthy(numbers: impl IntoIterator<Item = usize>) -> Vec<Target> {
    numbers.into_iter().map(|number| target(number, TargetState::Healthy)).collect()
}

// ---- Pods ----------------------------------------------------------------------------------------

/// A Ready pod `shop/<name>` of ReplicaSet `<name without its last part>`.
pub(crate) fn pod(name: &str) -> Pod {
    let app = name.rsplit_once('-').map_or(name, |(app, _)| app);
    Pod {
        key: key(&format!("shop/{name}")),
        uid: uid(&format!("uid-{name}")),
        owner: Some(owner("ReplicaSet", app)),
        phase: Phase::Running,
        mirror: false,
        deletion: None,
        containers_stopped: false,
        labels: labels(&[("app", app)]),
        annotations: BTreeMap::new(),
        ready: true,
        priority: 0,
        grace: secs(30),
        pre_stop: true,
        tolerations: Vec::new(),
        host_network: false,
        host_ports: Vec::new(),
        empty_dir: false,
        claims: false,
    }
}

pub(crate) fn owner(kind: &str, name: &str) -> Owner {
    Owner { kind: kind.to_owned(), name: name.to_owned(), uid: uid(&format!("owner-{name}")) }
}

pub(crate) fn daemon(name: &str) -> Pod {
    Pod { owner: Some(owner("DaemonSet", "agent")), ..pod(name) }
}

pub(crate) fn deleted(ends_at: Timestamp) -> Option<Deletion> {
    Some(Deletion { ends_at })
}

/// A pod as its siblings see it, on the numbered node.
pub(crate) fn sibling(name: &str, on: usize) -> Sibling {
    let app = name.rsplit_once('-').map_or(name, |(app, _)| app);
    Sibling {
        key: key(&format!("shop/{name}")),
        uid: uid(&format!("uid-{name}")),
        owner: uid(&format!("owner-{app}")),
        node: Some(node_name(on)),
        labels: labels(&[("app", app)]),
        ready: true,
        leaving: false,
        created_at: Some(SENT - secs(3_600)),
        trouble: None,
        unschedulable: false,
    }
}

/// The PDB `shop/<app>` with so many disruptions allowed.
pub(crate) fn budget(app: &str, allowed: i32) -> Budget {
    Budget {
        key: key(&format!("shop/{app}")),
        selector: Selector { labels: labels(&[("app", app)]), expressions: Vec::new() },
        rule: "minAvailable 3".to_owned(),
        allowed,
        healthy: 3 + allowed,
        desired: 3,
        expected: 3 + allowed.max(0),
        unhealthy_always: false,
    }
}

/// The Service `shop/<app>` on node port 30080 with these ready endpoints: a pod's name, a node's number.
pub(crate) fn service(app: &str, policy: TrafficPolicy, ready: &[(&str, usize)]) -> Service {
    Service {
        key: key(&format!("shop/{app}")),
        selector: labels(&[("app", app)]),
        policy,
        node_ports: vec![30_080],
        ready: ready
            .iter()
            .map(|(name, on)| Endpoint {
                pod: uid(&format!("uid-{name}")),
                node: Some(node_name(*on)),
            })
            .collect(),
    }
}

// ---- What came of it -----------------------------------------------------------------------------

/// The steps as people read them.
pub(crate) fn steps(decision: &Decision) -> Vec<String> {
    decision.steps.iter().map(Step::to_string).collect()
}

/// The first answer, in one line.
pub(crate) fn answer(decision: &Decision, now: Timestamp) -> String {
    told(&decision.answers[0].next, now)
}

/// All answers, one line each.
pub(crate) fn answers(decision: &Decision, now: Timestamp) -> Vec<String> {
    decision.answers.iter().map(|answer| told(&answer.next, now)).collect()
}

/// What becomes of a signal: `continue`, `abandon`, `again in 3000 ms`, `ignored: …`, `over: …`, `reject`.
fn told(next: &Next, now: Timestamp) -> String {
    match next {
        Next::Answer { result, .. } => result.wire().to_lowercase(),
        Next::ComeBack { at } if *at <= now => "at once".to_owned(),
        Next::ComeBack { at } => format!("again in {} ms", at.since(now).as_millis()),
        Next::Finished(ending) => ending.to_string(),
        Next::Reject { answer, .. } => format!("reject, answers {}", answer.iter().count()),
    }
}

/// Why the first signal's hook is answered.
#[track_caller]
pub(crate) fn why(decision: &Decision) -> &str {
    match &decision.answers[0].next {
        Next::Answer { why, .. } | Next::Reject { why, .. } => why,
        other => panic!("no answer: {other:?}"),
    }
}

/// The node after the PATCH, as the API server would store it.
pub(crate) fn patched(mut node: Node, patch: &NodePatch) -> Node {
    assert_eq!((&patch.node, &patch.uid), (&node.name, &node.uid), "the PATCH is about this node");
    assert_eq!(patch.resource_version, node.resource_version, "and about what was read");
    node.resource_version = format!("{}+1", node.resource_version);
    node.unschedulable = patch.unschedulable.unwrap_or(node.unschedulable);
    if let Some(taints) = &patch.taints {
        node.taints.clone_from(taints);
    }
    for (key, value) in &patch.labels {
        set(&mut node.labels, key, value.as_ref());
    }
    for (key, value) in &patch.annotations {
        set(&mut node.annotations, key, value.as_ref());
    }
    node
}

fn set(map: &mut BTreeMap<String, String>, key: &str, value: Option<&String>) {
    match value {
        Some(value) => map.insert(key.to_owned(), value.clone()),
        None => map.remove(key),
    };
}

/// The first PATCH of the decision.
#[track_caller]
pub(crate) fn patch(decision: &Decision) -> &NodePatch {
    let found = decision.steps.iter().find_map(|step| match step {
        Step::PatchNode(patch) => Some(patch),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no PATCH in {:?}", decision.steps))
}

/// The record that the PATCH writes.
#[track_caller]
pub(crate) fn written(patch: &NodePatch) -> Departure {
    let text = patch
        .annotations
        .iter()
        .find_map(|(key, value)| value.clone().filter(|_| key == DEPARTURE));
    Departure::parse(&text.expect("the PATCH writes a record")).expect("the record parses")
}
