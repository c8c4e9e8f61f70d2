//! The arithmetic against a simulation that follows every single request.

use super::Entry;
use super::flow::{Cause, Hop, Target, flows};
use super::meter::Meter;
use crate::world::Millis;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A small world: hosts that are up, the pods on them, the load balancer's and the proxies' views.
#[derive(Clone, Debug)]
struct State {
    up: Vec<bool>,
    in_group: Vec<bool>,
    pod_alive: Vec<bool>,
    /// By host: the pods that its kube-proxy forwards to.
    view: Vec<Vec<usize>>,
}

const HOSTS: usize = 4;
const PODS: usize = 6;

impl State {
    fn host_of(pod: usize) -> usize {
        pod % HOSTS
    }

    fn lives(&self, host: usize, pod: usize) -> bool {
        self.up[host] && self.pod_alive[pod]
    }

    /// One random change.
    fn change(&mut self, rng: &mut fastrand::Rng) {
        let (host, pod) = (rng.usize(0..HOSTS), rng.usize(0..PODS));
        match rng.u32(0..6) {
            0 => {
                self.up[host] = !self.up[host];
                for pod in (0..PODS).filter(|pod| Self::host_of(*pod) == host) {
                    self.pod_alive[pod] = false;
                }
            }
            1 => self.in_group[host] = !self.in_group[host],
            2 => self.pod_alive[pod] = false,
            3 => self.pod_alive[pod] = self.up[Self::host_of(pod)],
            _ if self.view[host].contains(&pod) => self.view[host].retain(|known| *known != pod),
            _ => self.view[host].push(pod),
        }
    }

    fn targets(&self) -> Vec<Target> {
        let hop = |pod: &usize| Hop {
            pod: Arc::from(pod.to_string()),
            alive: self.pod_alive[*pod],
            host: Some(Arc::from(Self::host_of(*pod).to_string())),
            host_up: self.up[Self::host_of(*pod)],
        };
        let target = |host: usize| Target {
            instance: Arc::from(host.to_string()),
            up: self.up[host],
            forwards: true,
            hops: self.view[host].iter().map(hop).collect(),
        };
        (0..HOSTS).filter(|host| self.in_group[*host]).map(target).collect()
    }

    /// Where one request may go, and what becomes of it at first: (share, host, pod, cause).
    fn ways(&self) -> Vec<(f64, usize, usize, Option<Cause>)> {
        let group: Vec<usize> = (0..HOSTS).filter(|host| self.in_group[*host]).collect();
        if group.is_empty() {
            return vec![(1.0, 0, 0, Some(Cause::NoTarget))];
        }
        let mut ways = Vec::new();
        for host in &group {
            let share = 1.0 / f64::from(u32::try_from(group.len()).unwrap());
            let pods = &self.view[*host];
            if !self.up[*host] {
                ways.push((share, *host, 0, Some(Cause::TargetGone)));
            } else if pods.is_empty() {
                ways.push((share, *host, 0, Some(Cause::NoReadyPod)));
            }
            for pod in pods.iter().filter(|_| self.up[*host]) {
                let each = share / f64::from(u32::try_from(pods.len()).unwrap());
                let cause = match (self.pod_alive[*pod], self.up[Self::host_of(*pod)]) {
                    (true, _) => None,
                    (false, true) => Some(Cause::PodNotListening),
                    (false, false) => Some(Cause::PodNodeGone),
                };
                ways.push((each, *host, *pod, cause));
            }
        }
        ways
    }
}

/// One request per millisecond, at its middle, each followed to its end.
fn one_by_one(
    history: &[(Millis, State)],
    end: Millis,
    request_ms: Millis,
) -> BTreeMap<Cause, f64> {
    let mut dropped = BTreeMap::new();
    for start in history[0].0..end {
        let now = history.iter().rposition(|(at, _)| *at <= start).unwrap();
        for (share, host, pod, cause) in history[now].1.ways() {
            let in_flight = |(at, _): &&(Millis, State)| *at <= (start + request_ms).min(end);
            let later = history[now + 1..].iter().take_while(in_flight);
            let dies = later.clone().any(|(_, state)| !state.lives(host, pod));
            let cut = (cause.is_none() && dies).then_some(Cause::CutInFlight);
            if let Some(cause) = cause.or(cut) {
                *dropped.entry(cause).or_insert(0.0) += share;
            }
        }
    }
    dropped
}

#[test]
fn arithmetic_agrees_with_following_every_request() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let request_ms = [0, 1, 40, 300][rng.usize(0..4)];
        let mut state = State {
            up: vec![true; HOSTS],
            in_group: vec![true; HOSTS],
            pod_alive: vec![true; PODS],
            view: vec![(0..PODS).collect(); HOSTS],
        };
        let mut meter = Meter::new(1_000.0, request_ms, 0);
        meter.change(0, flows(&state.targets(), Entry::Cluster), |_| true);
        let (mut now, mut history) = (0, vec![(0, state.clone())]);
        for _ in 0..40 {
            now += rng.i64(1..120);
            state.change(&mut rng);
            meter.account(now);
            let index = |name: &Arc<str>| name.parse::<usize>().unwrap();
            meter.change(now, flows(&state.targets(), Entry::Cluster), |flow| {
                state.lives(index(&flow.instance), index(flow.pod.as_ref().unwrap()))
            });
            history.push((now, state.clone()));
        }
        meter.account(now + 50);
        let expected = one_by_one(&history, now + 50, request_ms);
        let report = meter.report("group", "service");
        assert_eq!(report.total, u64::try_from(now + 50).unwrap(), "seed {seed}");
        let counted: Vec<Cause> = report.losses.keys().copied().collect();
        assert_eq!(counted, expected.keys().copied().collect::<Vec<_>>(), "seed {seed}");
        for (cause, loss) in &report.losses {
            let expected = expected[cause];
            assert!(
                (loss.requests - expected).abs() < 1e-6,
                "seed {seed}, {cause}: {loss:?} {expected}"
            );
        }
    }
}

fn target(hops: Vec<Hop>) -> Target {
    Target { instance: "i-1".into(), up: true, forwards: true, hops }
}

fn hop([alive, host_up]: [bool; 2]) -> Hop {
    Hop { pod: "p".into(), alive, host: Some("i-2".into()), host_up }
}

#[test]
fn every_cause_has_its_case() {
    let down = Target { up: false, ..target(vec![hop([true, true])]) };
    let starting = Target { forwards: false, ..target(Vec::new()) };
    let rows = [
        ("no target", vec![], Entry::Cluster, Some(Cause::NoTarget)),
        ("node gone", vec![down], Entry::Cluster, Some(Cause::TargetGone)),
        ("no kube-proxy", vec![starting], Entry::Cluster, Some(Cause::NotForwarding)),
        ("none ready", vec![target(vec![])], Entry::Cluster, Some(Cause::NoReadyPod)),
        ("none local", vec![target(vec![])], Entry::Local, Some(Cause::NoLocalPod)),
        ("no host port", vec![target(vec![])], Entry::HostPort, Some(Cause::NoHostPod)),
        (
            "pod deaf",
            vec![target(vec![hop([false, true])])],
            Entry::Cluster,
            Some(Cause::PodNotListening),
        ),
        (
            "pod's node gone",
            vec![target(vec![hop([false, false])])],
            Entry::Cluster,
            Some(Cause::PodNodeGone),
        ),
        ("fine", vec![target(vec![hop([true, true])])], Entry::Cluster, None),
    ];
    for (name, targets, entry, cause) in rows {
        let flows = flows(&targets, entry);
        assert_eq!(flows.iter().map(|flow| flow.cause).collect::<Vec<_>>(), [cause], "{name}");
    }
}

#[test]
fn a_share_of_one_request_is_a_request() {
    let mut meter = Meter::new(100.0, 0, 0);
    let bad = vec![target(vec![hop([true, true]), hop([true, true]), hop([false, true])])];
    meter.change(0, flows(&bad, Entry::Cluster), |_| true);
    meter.account(1);
    let good = vec![target(vec![hop([true, true])])];
    meter.change(1, flows(&good, Entry::Cluster), |_| true);
    meter.account(10_000);
    let report = meter.report("group", "service");
    assert_eq!((report.total, report.dropped(), report.served()), (1_000, 1, 999));
}

#[test]
fn exactly_three_dropped_requests_are_not_four() {
    let mut meter = Meter::new(100.0, 0, 0);
    meter.change(0, flows(&[target(vec![hop([false, true])])], Entry::Cluster), |_| true);
    for at in 1..=30 {
        meter.account(at);
    }
    assert_eq!(meter.report("group", "service").dropped(), 3);
}

#[test]
fn in_flight_rises_to_rate_times_duration_and_falls_when_the_target_leaves() {
    let mut meter = Meter::new(100.0, 500, 0);
    meter.change(0, flows(&[target(vec![hop([true, true])])], Entry::Cluster), |_| true);
    let rounded = |meter: &Meter, now| (meter.in_flight(now, "i-1") * 10.0).round();
    assert_eq!(rounded(&meter, 200), 200.0);
    assert_eq!(rounded(&meter, 900), 500.0);
    meter.account(1_000);
    meter.change(1_000, flows(&[], Entry::Cluster), |_| true);
    assert_eq!(rounded(&meter, 1_300), 200.0);
    assert_eq!(rounded(&meter, 1_500), 0.0);
}
