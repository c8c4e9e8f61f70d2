//! A world from a seed, with everything varied that ever made a drain go wrong.

use super::{Front, Host, Incident, Owner, Scenario, deployment, hooks};
use crate::aws::autoscaling::{HookSpec, Verdict};
use crate::aws::elbv2;
use crate::aws::events::Delivery;
use crate::fault::{Chance, Fault, Faults, Scope, Window};
use crate::kubernetes::{
    Amount, Budget, Limit, Manners, OtherParty, Strategy, Taint, Toleration, UnhealthyPods,
    Workload, WorkloadKind,
};
use crate::scenario::{NAMESPACE, START};
use crate::traffic::Entry;
use crate::world::Millis;
use fastrand::Rng;

impl Scenario {
    /// The scenario of `seed`. The same seed gives the same scenario, and the same world from it.
    pub fn random(seed: u64) -> Self {
        // The world draws from the seed itself: this must be another sequence.
        let mut rng = Rng::with_seed(seed ^ 0x5eed_0f5c_e4a2_1050);
        let rng = &mut rng;
        let hosts = hosts(rng);
        let mut workloads = vec![workload(rng, "web"), workload(rng, "api")];
        let fronts = fronts(rng, &mut workloads);
        workloads.extend(others(rng));
        let incidents = incidents(rng, hosts.len());
        Self {
            seed,
            hosts,
            workloads,
            fronts,
            hooks: random_hooks(rng),
            delivery: delivery(rng),
            other_party: (rng.u32(0..3) == 0).then(|| OtherParty {
                every_ms: (500, 20_000),
                key: "other-controller.example.com/busy".to_owned(),
            }),
            faults: faults(rng),
            incidents,
            batch: pick(rng, &[1, 2, 10]),
            concurrency_max: pick(rng, &[2, 5, 20]),
        }
    }
}

fn pick<T: Clone>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(0..choices.len())].clone()
}

/// True `of` times in a hundred.
fn often(rng: &mut Rng, of: u32) -> bool {
    rng.u32(0..100) < of
}

fn hosts(rng: &mut Rng) -> Vec<Host> {
    let zones = &["a", "b", "c"][..rng.usize(1..=3)];
    let count = rng.usize(2..=8);
    (0..count)
        .map(|_| {
            let mut host = Host::in_zone(zones[rng.usize(0..zones.len())]);
            if often(rng, 15) {
                host.taints.push(Taint::new("example.com/quiet", "PreferNoSchedule"));
            }
            if often(rng, 10) {
                let key = "ebs.csi.aws.com/agent-not-ready";
                host.taints.push(Taint::new(key, "PreferNoSchedule"));
            }
            // Never all of them: pods need a place at the start.
            host.cordoned = count > 3 && often(rng, 5);
            host
        })
        .collect()
}

fn manners(rng: &mut Rng) -> Manners {
    match rng.u32(0..5) {
        0 => Manners::StopsAtOnce { exit_ms: rng.i64(0..3_000) },
        1 => Manners::Ignores,
        _ => Manners::ServesOn { ms: rng.i64(2_000..=20_000) },
    }
}

/// None, loose, tight, or so that nothing may ever go.
fn budget(rng: &mut Rng, replicas: u32) -> Option<Budget> {
    let all = i64::from(replicas);
    let limit = match rng.u32(0..8) {
        0 => return None,
        1 | 2 => Limit::MaxUnavailable(Amount::Count(1)),
        3 => Limit::MaxUnavailable(Amount::Percent(50)),
        4 => Limit::MinAvailable(Amount::Count((all - 1).max(0))),
        5 => Limit::MinAvailable(Amount::Percent(pick(rng, &[30, 50, 90]))),
        6 => Limit::MinAvailable(Amount::Count(all)),
        _ => Limit::MaxUnavailable(Amount::Count(0)),
    };
    let unhealthy = pick(rng, &[UnhealthyPods::IfHealthyBudget, UnhealthyPods::AlwaysAllow]);
    Some(Budget { limit, unhealthy })
}

/// A Deployment with its share of peculiarities.
fn workload(rng: &mut Rng, name: &str) -> Workload {
    let replicas = pick(rng, &[1, 2, 2, 3, 4, 6]);
    let mut work = Workload {
        pdb: budget(rng, replicas),
        manners: manners(rng),
        ready_ms: pick(rng, &[500, 2_000, 8_000, 25_000]),
        grace_seconds: pick(rng, &[1, 5, 30, 30, 60, 300]),
        ..deployment(name, replicas)
    };
    if let Manners::ServesOn { ms } = work.manners
        && often(rng, 50)
    {
        work.pre_stop_seconds = Some(ms / 1_000);
    }
    let annotations = [
        ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
        ("karpenter.sh/do-not-disrupt", "true"),
    ];
    for (key, value) in annotations {
        if often(rng, 5) {
            work.annotations.insert(key.to_owned(), value.to_owned());
        }
    }
    if often(rng, 15) {
        work.priority = pick(rng, &[-10, 1_000, 1_000_000]);
    }
    if often(rng, 10) {
        work.finalizers.push("example.com/wait-for-me".to_owned());
    }
    if often(rng, 5) {
        work.tolerations.push(Toleration::everything());
    }
    if often(rng, 10) {
        work.strategy = Strategy::Recreate;
    }
    work.empty_dir = often(rng, 30);
    work
}

fn fronts(rng: &mut Rng, workloads: &mut [Workload]) -> Vec<Front> {
    let mut fronts = vec![
        Front::new("web", 30_080, Owner::Asg),
        Front::new("api", 30_081, pick(rng, &[Owner::Script, Owner::Controller])),
    ];
    for (front, workload) in fronts.iter_mut().zip(workloads) {
        front.entry = pick(rng, &[Entry::Cluster, Entry::Cluster, Entry::Local]);
        front.request_ms = pick(rng, &[20, 200, 2_000]);
        let group = &mut front.target_group;
        group.kind = if often(rng, 25) { elbv2::Kind::Nlb } else { elbv2::Kind::Alb };
        group.deregistration_delay_seconds = pick(rng, &[0, 10, 30, 120, 300]);
        group.health_check_interval_seconds = pick(rng, &[5, 10, 30]);
        group.healthy_threshold = pick(rng, &[2, 5]);
        if front.entry == Entry::Local && often(rng, 20) {
            front.entry = Entry::HostPort;
            workload.host_port = Some(group.port);
        }
    }
    fronts
}

/// The pods that are not behind any front.
fn others(rng: &mut Rng) -> Vec<Workload> {
    let new = |kind, name: &str, count| Workload::new(kind, NAMESPACE, name, count);
    let mut agent = Workload::new(WorkloadKind::DaemonSet, "kube-system", "agent", 0);
    agent.priority = 2_000_001_000;
    agent.priority_class = Some("system-node-critical".to_owned());
    let mut all = vec![agent];
    if often(rng, 60) {
        let replicas = rng.u32(1..=3);
        let mut db = new(WorkloadKind::StatefulSet, "db", replicas);
        db.volume = often(rng, 80).then(|| "gp3".to_owned());
        db.pdb = budget(rng, replicas);
        db.manners = manners(rng);
        all.push(db);
    }
    if often(rng, 30) {
        all.push(new(WorkloadKind::Bare, "debug", rng.u32(1..=2)));
    }
    if often(rng, 40) {
        let kind = WorkloadKind::Job { run_ms: rng.i64(5_000..=600_000) };
        all.push(new(kind, "report", rng.u32(1..=3)));
    }
    if often(rng, 20) {
        all.push(Workload::new(WorkloadKind::Static, "kube-system", "proxy", 0));
    }
    if often(rng, 15) {
        let mut cache = new(WorkloadKind::ReplicaSet, "cache", rng.u32(1..=3));
        cache.empty_dir = true;
        cache.tolerations.push(Toleration::everything());
        all.push(cache);
    }
    all
}

fn random_hooks(rng: &mut Rng) -> Vec<HookSpec> {
    let heartbeat_seconds = pick(rng, &[120, 300, 900, 3_600]);
    let [mut terminate, mut launch, mut foreign] = hooks(heartbeat_seconds);
    terminate.default_result = pick(rng, &[Verdict::Continue, Verdict::Abandon]);
    launch.default_result = pick(rng, &[Verdict::Continue, Verdict::Abandon]);
    foreign.heartbeat_seconds = pick(rng, &[30, 120, 300]);
    let mut all = vec![terminate];
    all.extend(often(rng, 70).then_some(launch));
    all.extend(often(rng, 40).then_some(foreign));
    all
}

fn delivery(rng: &mut Rng) -> Delivery {
    if often(rng, 40) {
        return Delivery::default();
    }
    Delivery {
        duplicate: pick(rng, &[0, 100, 500]),
        lost: pick(rng, &[0, 0, 50, 200]),
        late: pick(rng, &[0, 100, 300]),
        ..Delivery::default()
    }
}

fn faults(rng: &mut Rng) -> Faults {
    let mut faults = Faults::default();
    if often(rng, 40) {
        return faults;
    }
    for fault in [
        Fault::Throttled,
        Fault::ServerError,
        Fault::TimedOutBefore,
        Fault::TimedOutAfter,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::Slow,
    ] {
        if often(rng, 40) {
            let scope = pick(rng, &[Scope::All, Scope::Kubernetes, Scope::Aws]);
            faults.chances.push(Chance { scope, fault, per_mille: pick(rng, &[5, 20, 60]) });
        }
    }
    if often(rng, 30) {
        faults.chances.push(Chance { scope: Scope::Aws, fault: Fault::Stale, per_mille: 200 });
    }
    if often(rng, 20) {
        faults.windows.push(outage(rng));
    }
    faults.kills_per_mille = pick(rng, &[0, 0, 20, 100]);
    faults
}

/// The API server or one AWS service is away for a while.
fn outage(rng: &mut Rng) -> Window {
    let service = |name: &str| Scope::Service(name.to_owned());
    let scopes = [
        Scope::Kubernetes,
        Scope::Kubernetes,
        service("autoscaling"),
        service("ec2"),
        service("elasticloadbalancing"),
        service("sqs"),
    ];
    let scope = pick(rng, &scopes);
    let from = START + rng.i64(0..120_000);
    let to = from + rng.i64(5_000..180_000);
    let fault = pick(rng, &[Fault::TimedOutBefore, Fault::ResetBefore, Fault::ServerError]);
    Window { scope, from, to, fault }
}

/// One to four of them, close together, so that departures overlap.
fn incidents(rng: &mut Rng, hosts: usize) -> Vec<(Millis, usize, Incident)> {
    let mut order: Vec<usize> = (0..hosts).collect();
    rng.shuffle(&mut order);
    // One node at least stays.
    let count = rng.usize(1..=4.min(hosts - 1));
    let mut all: Vec<(Millis, usize, Incident)> = Vec::new();
    for host in order.into_iter().take(count) {
        let at = rng.i64(1_000..60_000);
        let incident = match rng.u32(0..20) {
            0..=5 => Incident::ScaleIn,
            6..=11 => Incident::Replace,
            12..=15 => Incident::Spot,
            16 => Incident::ReplaceRootVolume,
            17 => Incident::Rebalance,
            18 => Incident::Crash,
            _ => Incident::LoseKubelet,
        };
        // A Spot notice often comes while the group is replacing the instance anyway.
        if incident == Incident::Replace && often(rng, 20) {
            all.push((at + rng.i64(0..60_000), host, Incident::Spot));
        }
        all.push((at, host, incident));
    }
    if often(rng, 20) {
        all.push((rng.i64(0..60_000), 0, Incident::ScaleOut));
    }
    if often(rng, 10) {
        let name = pick(rng, &["web", "api"]);
        let at = rng.i64(0..60_000);
        all.push((at, 0, Incident::Break(name.to_owned())));
        all.push((at + rng.i64(60_000..900_000), 0, Incident::Mend(name.to_owned())));
    }
    all
}
