//! What a decision costs: one about a full node, and a plan of ten of them. A slice has seconds, most of them for calls,
//! so a decision must not count beside one.

use criterion::{Criterion, criterion_group, criterion_main};
use decision::annotation::{Contributor, DEPARTURE, Departure, TAINT, VERSION};
use decision::decide::decide;
use decision::plan::join;
use decision::policy::Policy;
use decision::signal::{HookRoute, HookSignal, Signal, SignalKind, Transition};
use decision::snapshot::aws::{Asg, AwsView, Hook, LifecycleState, Membership};
use decision::snapshot::cluster::{
    Budget, ClusterView, Node, NodeLookup, NodeView, Owner, Peer, Phase, Pod, Selector, Service,
    Sibling, Taint, TrafficPolicy,
};
use decision::snapshot::{Memory, Seen, Snapshot};
use decision::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hint::black_box;
use std::str::FromStr;
use std::time::Duration;

/// The most pods that a node of the usual size takes.
const PODS: usize = 110;
/// Applications on the node, each with a Service, a PodDisruptionBudget and pods on two more nodes.
const APPS: usize = 22;
const SENT: Timestamp = Timestamp::from_seconds(1_795_339_800);

fn id<T: FromStr>(text: impl AsRef<str>) -> T
where
    T::Err: Debug,
{
    text.as_ref().parse().expect("a well-formed id")
}

fn labels(app: usize) -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), format!("app-{app}"))])
}

fn pod(number: usize) -> Pod {
    let app = number % APPS;
    Pod {
        key: id(format!("shop/app-{app}-{number}")),
        uid: id(format!("pod-{number}")),
        owner: Some(Owner {
            kind: "ReplicaSet".to_owned(),
            name: format!("app-{app}"),
            uid: id(format!("owner-{app}")),
        }),
        phase: Phase::Running,
        mirror: false,
        deletion: None,
        containers_stopped: false,
        labels: labels(app),
        annotations: BTreeMap::new(),
        ready: true,
        priority: 0,
        grace: Duration::from_secs(30),
        pre_stop: true,
        tolerations: Vec::new(),
        host_network: false,
        host_ports: Vec::new(),
        empty_dir: false,
        claims: false,
    }
}

fn sibling(pod: &Pod, node: &str) -> Sibling {
    Sibling {
        key: pod.key.clone(),
        uid: pod.uid.clone(),
        owner: pod.owner.as_ref().map(|owner| owner.uid.clone()).expect("owned"),
        node: Some(id(node)),
        labels: pod.labels.clone(),
        ready: true,
        leaving: false,
        created_at: None,
        trouble: None,
        unschedulable: false,
    }
}

fn view(instance: usize, record: &Departure) -> NodeView {
    let name = format!("node-{instance}");
    let pods: Vec<Pod> = (0..PODS).map(pod).collect();
    let elsewhere: Vec<Pod> = (PODS..3 * PODS).map(pod).collect();
    let siblings = pods
        .iter()
        .map(|pod| sibling(pod, &name))
        .chain(elsewhere.iter().map(|pod| sibling(pod, "node-x")));
    let taint = Taint {
        key: TAINT.to_owned(),
        value: None,
        effect: "NoSchedule".to_owned(),
        time_added: None,
    };
    NodeView {
        node: Node {
            name: id(&name),
            uid: id("node-uid"),
            resource_version: "1".to_owned(),
            created_at: None,
            provider_id: format!("aws:///eu-central-1a/{}", record.instance),
            boot: None,
            unschedulable: true,
            taints: vec![taint],
            labels: BTreeMap::new(),
            annotations: BTreeMap::from([(DEPARTURE.to_owned(), record.text())]),
            ready: Some(true),
        },
        peers: Ok(vec![Peer {
            instance: record.instance.clone(),
            node: id(&name),
            annotation: record.text(),
        }]),
        siblings: Ok(siblings.collect()),
        pods: Ok(pods),
        budgets: Ok((0..APPS).map(budget).collect()),
        services: Ok((0..APPS).map(service).collect()),
        volumes: Ok(Vec::new()),
    }
}

fn budget(app: usize) -> Budget {
    Budget {
        key: id(format!("shop/app-{app}")),
        selector: Selector { labels: labels(app), expressions: Vec::new() },
        rule: "maxUnavailable 1".to_owned(),
        allowed: 1,
        healthy: 15,
        desired: 14,
        unhealthy_always: false,
    }
}

fn service(app: usize) -> Service {
    Service {
        key: id(format!("shop/app-{app}")),
        selector: labels(app),
        policy: TrafficPolicy::Cluster,
        node_ports: Vec::new(),
        ready: Vec::new(),
    }
}

/// The drain of a full node, a minute after its signal.
fn snapshot(number: usize) -> Snapshot {
    let instance: decision::id::InstanceId = id(format!("i-{number:017x}"));
    let hook = HookSignal {
        transition: Transition::Terminating,
        asg: id("workers"),
        hook: id("ebbtide-terminate"),
        token: id(format!("00000000-0000-4000-8000-{number:012x}")),
        metadata: None,
        route: HookRoute::Normal,
    };
    let global = Duration::from_secs(7_200);
    let heartbeat = Duration::from_secs(3_600);
    let facts = Hook {
        name: hook.hook.clone(),
        transition: hook.transition,
        heartbeat,
        global,
        metadata: None,
    };
    let contributor = Contributor {
        hook: hook.hook.clone(),
        token: hook.token.fingerprint(),
        hard: SENT + global,
    };
    let record = Departure {
        v: VERSION,
        instance: instance.clone(),
        boot: None,
        since: SENT,
        ranked_at: SENT,
        cordoned: true,
        tainted: true,
        labelled: false,
        because: vec![contributor],
        withdrawn: Vec::new(),
        rest: serde_json::Map::new(),
    };
    let node = NodeLookup::Found(Box::new(view(number, &record)));
    let signal = Signal {
        instance: instance.clone(),
        sent_at: Some(SENT),
        account: None,
        region: None,
        kind: SignalKind::Hook(hook),
    };
    let tags = BTreeMap::from([("ebbtide.dev/managed".to_owned(), "true".to_owned())]);
    Snapshot {
        now: SENT + Duration::from_secs(60),
        instance,
        signals: vec![Seen {
            message: "1".to_owned(),
            signal,
            receives: 1,
            sent_at: SENT,
            hook: Ok(Some(facts)),
        }],
        aws: AwsView {
            membership: Ok(Some(Membership {
                asg: id("workers"),
                state: LifecycleState::TerminatingWait,
            })),
            group: Ok(Some(Asg { name: id("workers"), tags, target_groups: Vec::new() })),
            instance: Err(decision::snapshot::Unread::because("not asked")),
            target_groups: Ok(Vec::new()),
        },
        cluster: ClusterView::Reached { cluster: id("prod"), node },
        memory: Memory::default(),
    }
}

fn bench(criterion: &mut Criterion) {
    let policy = Policy::parse(|name| (name == "MODE").then(|| "act".to_owned()))
        .expect("the defaults parse");
    let full = snapshot(1);
    assert!(!decide(&full, &policy).steps.is_empty(), "a drain has steps");
    criterion.bench_function("decide, 110 pods", |bencher| {
        bencher.iter(|| decide(black_box(&full), &policy));
    });
    let ten: Vec<_> = (1..=10).map(|number| decide(&snapshot(number), &policy)).collect();
    criterion
        .bench_function("join, 10 decisions", |bencher| bencher.iter(|| join(black_box(&ten))));
}

criterion_group!(benches, bench);
criterion_main!(benches);
