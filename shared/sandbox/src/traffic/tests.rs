//! The arithmetic against a simulation that follows every single request.

use super::flow::{Cause, Hop, Onward, Place, Pool};
use super::meter::Meter;
use crate::world::Millis;
use std::collections::{BTreeMap, BTreeSet};
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

    fn hop(&self, pod: usize) -> Hop {
        let alive = self.pod_alive[pod];
        let host = Self::host_of(pod);
        Hop { serves: alive, runs: alive, host: Some(name(host)), host_up: self.up[host] }
    }

    /// Tells a meter what changed from one state to this one.
    fn tell(&self, meter: &mut Meter, before: &Self, pools: &mut Pools) {
        for host in 0..HOSTS {
            let view: BTreeSet<Arc<str>> = self.view[host].iter().map(|pod| name(*pod)).collect();
            let onward = if view.is_empty() {
                Onward::Dropped(Cause::NoReadyPod)
            } else {
                Onward::Pool(pools.of(&view))
            };
            let lane: Arc<str> = if pools.shared { format!("{view:?}").into() } else { name(host) };
            meter.put_lane(&lane, &onward, |pod| self.hop(pod.parse().unwrap()));
            let place = match (self.in_group[host], self.up[host]) {
                (false, _) => Place::Absent,
                (true, false) => Place::Dropped(Cause::TargetGone),
                (true, true) => Place::Lane(lane),
            };
            meter.put_target(&(name(host), 80), place);
        }
        for pod in 0..PODS {
            meter.put_pod(&name(pod), &self.hop(pod));
        }
        for host in (0..HOSTS).filter(|host| before.up[*host] && !self.up[*host]) {
            meter.cut_instance(&name(host));
        }
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

fn name(number: usize) -> Arc<str> {
    number.to_string().into()
}

/// A pool for each set of pods that was ever asked for.
struct Pools {
    /// Whether hosts with the same pods share a lane.
    shared: bool,
    all: BTreeMap<BTreeSet<Arc<str>>, Arc<Pool>>,
}

impl Pools {
    fn of(&mut self, pods: &BTreeSet<Arc<str>>) -> Arc<Pool> {
        let number = u64::try_from(self.all.len()).unwrap();
        let new = || Arc::new(Pool { number, pods: pods.clone() });
        self.all.entry(pods.clone()).or_insert_with(new).clone()
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
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let request_ms = [0, 1, 40, 300][rng.usize(0..4)];
        let mut state = State {
            up: vec![true; HOSTS],
            in_group: vec![true; HOSTS],
            pod_alive: vec![true; PODS],
            view: vec![(0..PODS).collect(); HOSTS],
        };
        let mut meter = Meter::new(1_000.0, request_ms, 0);
        let mut pools = Pools { shared: rng.bool(), all: BTreeMap::new() };
        meter.begin(0);
        state.tell(&mut meter, &state, &mut pools);
        let (mut now, mut history) = (0, vec![(0, state.clone())]);
        for _ in 0..40 {
            now += rng.i64(1..120);
            let before = state.clone();
            state.change(&mut rng);
            meter.begin(now);
            state.tell(&mut meter, &before, &mut pools);
            history.push((now, state.clone()));
        }
        let expected = one_by_one(&history, now + 50, request_ms);
        let report = meter.report(now + 50, "group", "service");
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

/// A meter of one target `i-1` whose node leads to these pods.
fn meter(rate: f64, request_ms: Millis, hops: &[Hop]) -> Meter {
    let mut meter = Meter::new(rate, request_ms, 0);
    meter.begin(0);
    lead(&mut meter, 1, hops);
    meter.put_target(&("i-1".into(), 80), Place::Lane("lane".into()));
    meter
}

fn lead(meter: &mut Meter, number: u64, hops: &[Hop]) {
    let first = usize::try_from(number).unwrap() * 100;
    let pods = (0..hops.len()).map(|index| name(first + index)).collect();
    let onward = Onward::Pool(Arc::new(Pool { number, pods }));
    let hop = |pod: &str| hops[pod.parse::<usize>().unwrap() - first].clone();
    meter.put_lane(&"lane".into(), &onward, hop);
}

fn hop([serves, host_up]: [bool; 2]) -> Hop {
    Hop { serves, runs: true, host: Some("i-2".into()), host_up }
}

#[test]
fn every_cause_has_its_case() {
    let rows = [
        ("no target", Place::Absent, None, Some(Cause::NoTarget)),
        (
            "node gone",
            Place::Dropped(Cause::TargetGone),
            Some(hop([true, true])),
            Some(Cause::TargetGone),
        ),
        (
            "pod deaf",
            Place::Lane("lane".into()),
            Some(hop([false, true])),
            Some(Cause::PodNotListening),
        ),
        (
            "pod's node gone",
            Place::Lane("lane".into()),
            Some(hop([false, false])),
            Some(Cause::PodNodeGone),
        ),
        ("fine", Place::Lane("lane".into()), Some(hop([true, true])), None),
    ];
    for (name, place, hop, cause) in rows {
        let mut meter = Meter::new(1_000.0, 0, 0);
        meter.begin(0);
        lead(&mut meter, 1, hop.as_slice());
        meter.put_target(&("i-1".into(), 80), place);
        let report = meter.report(1_000, "group", "service");
        let dropped: Vec<_> = report.dropped.into_iter().collect();
        assert_eq!(dropped, cause.map(|cause| (cause, 1_000)).as_slice(), "{name}");
    }
    for cause in [Cause::NotForwarding, Cause::NoReadyPod, Cause::NoLocalPod, Cause::NoHostPod] {
        let mut meter = meter(1_000.0, 0, &[hop([true, true])]);
        meter.put_lane(&"lane".into(), &Onward::Dropped(cause), |_| hop([true, true]));
        let report = meter.report(1_000, "group", "service");
        assert_eq!(report.dropped.into_iter().collect::<Vec<_>>(), [(cause, 1_000)]);
    }
}

#[test]
fn a_share_of_one_request_is_a_request() {
    let mut meter = meter(100.0, 0, &[hop([true, true]), hop([true, true]), hop([false, true])]);
    meter.begin(1);
    lead(&mut meter, 2, &[hop([true, true])]);
    let report = meter.report(10_000, "group", "service");
    assert_eq!((report.total, report.dropped(), report.served()), (1_000, 1, 999));
}

#[test]
fn exactly_three_dropped_requests_are_not_four() {
    let mut meter = meter(100.0, 0, &[hop([false, true])]);
    for at in 1..=30 {
        meter.begin(at);
    }
    assert_eq!(meter.report(30, "group", "service").dropped(), 3);
}

#[test]
fn in_flight_rises_to_rate_times_duration_and_falls_when_the_target_leaves() {
    let mut meter = meter(100.0, 500, &[hop([true, true])]);
    let rounded = |meter: &Meter, now| (meter.in_flight(now, "i-1") * 10.0).round();
    assert_eq!(rounded(&meter, 200), 200.0);
    assert_eq!(rounded(&meter, 900), 500.0);
    let on_pod = |meter: &Meter, now| (meter.in_flight(now, "i-2") * 10.0).round();
    assert_eq!(on_pod(&meter, 900), 500.0, "the pod's node has it in flight as well");
    meter.begin(1_000);
    meter.put_target(&("i-1".into(), 80), Place::Absent);
    assert_eq!(rounded(&meter, 1_300), 200.0);
    assert_eq!(rounded(&meter, 1_500), 0.0);
}
