//! Kubelets: what really runs, which is not always what the API says.
//!
//! ```text
//!   bound ─> Waiting ─> Starting ─> Running ──SIGTERM──> Stopping ──exit, SIGKILL──> Ended ─> object gone
//!               ^                      │ listens               │ serves on, or not
//!               └────── reboot ────────┴── host gone: Dead ────┘
//! ```
//!
//! A host that goes takes its containers with it in the same millisecond; the API learns of that
//! only from the node controller, or from the kubelet once it is back.

use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{Key, Object};
use crate::kubernetes::scenario::Probe;
use crate::kubernetes::workload::{Manners, Workload, WorkloadKind};
use crate::kubernetes::{KubernetesEvent, pod, taint, volume};
use crate::world::{Event, Millis, World};
use std::sync::Arc;

/// What a kubelet, or a container by itself, does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Act {
    /// It begins with a pod: volume, image.
    Start,
    /// The containers run.
    Run,
    /// The probes pass.
    Ready,
    /// The containers end by themselves: a Job's work is done.
    Finish,
    /// It heard that the pod is to go within so many seconds: SIGTERM, and SIGKILL at their end.
    Terminate(i64),
    /// The containers stop listening.
    StopListening,
    /// The containers exit.
    Exit,
    /// SIGKILL.
    Kill,
    /// It removes the object.
    Remove,
    /// It puts a mirror pod back.
    Mirror,
}

/// How far a pod's containers are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    Waiting,
    Starting,
    Running,
    Stopping,
    Ended,
    Dead,
}

/// What really runs of one pod. It may outlive its object: a deletion with grace 0 removes that alone.
#[derive(Debug)]
pub(crate) struct Run {
    pub(super) key: Key,
    pub(super) workload: Arc<str>,
    pub(super) work: Arc<Workload>,
    pub(super) node: Option<Arc<str>>,
    pub(super) pin: Option<Arc<str>>,
    pub(super) volume: Option<String>,
    pub(super) address: String,
    pub(super) restarts: u32,
    pub(super) stage: Stage,
    listening: bool,
    round: u32,
    exit_code: i64,
}

impl Run {
    pub(super) fn new(
        key: Key,
        workload: Arc<str>,
        work: Arc<Workload>,
        pin: Option<Arc<str>>,
        volume: Option<String>,
    ) -> Self {
        Self {
            key,
            workload,
            work,
            node: None,
            pin,
            volume,
            address: String::new(),
            restarts: 0,
            stage: Stage::Waiting,
            listening: false,
            round: 0,
            exit_code: 0,
        }
    }

    /// Whether its containers accept connections.
    pub(super) fn listens(&self) -> bool {
        self.listening
    }

    /// Whether its containers run.
    pub(super) fn runs(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Stopping)
    }
}

/// Does what was planned, unless the pod's round is another one by now.
pub(super) fn act(world: &mut World, uid: &Arc<str>, round: u32, act: Act) {
    let Some(run) = world.kubernetes.pods.get(uid) else { return };
    if run.round != round {
        return;
    }
    let alive = kubelet_alive(world, run.node.as_deref());
    match act {
        Act::StopListening => stop_listening(world, uid),
        Act::Exit | Act::Finish => stopped(world, uid, 0),
        Act::Kill => {
            if run.runs() {
                tell(world, uid, "was killed at the end of its grace");
            }
            stopped(world, uid, 137);
        }
        // The rest is the kubelet's own to do.
        _ if !alive => {}
        Act::Start => start(world, uid),
        Act::Run => run_containers(world, uid),
        Act::Ready => {
            let before = run.listening;
            become_ready(world, uid);
            if !before && world.kubernetes.pod_serving(uid) {
                tell(world, uid, "is Ready");
            }
        }
        Act::Terminate(grace) => terminate(world, uid, grace),
        Act::Remove => remove(world, uid),
        Act::Mirror => mirror(world, uid),
    }
}

/// Plans what happens to a pod in its present round.
pub(super) fn plan(world: &mut World, uid: &Arc<str>, delay: Millis, act: Act) {
    let Some(run) = world.kubernetes.pods.get(uid) else { return };
    let event = KubernetesEvent::Kubelet { uid: uid.clone(), round: run.round, act };
    world.after(delay, Event::Kubernetes(event));
}

/// Plans something for as soon as the kubelet hears of it.
pub(super) fn hear(world: &mut World, uid: &Arc<str>, act: Act) {
    let delay = world.lag(|lags| lags.kubelet);
    plan(world, uid, delay, act);
}

/// The host is gone: everything on it stops in this very millisecond.
pub(super) fn host_gone(world: &mut World, node: &str) {
    for uid in on(world, node) {
        let Some(run) = world.kubernetes.pods.get_mut(&uid) else { continue };
        run.round += 1;
        run.listening = false;
        if run.stage != Stage::Ended {
            run.stage = Stage::Dead;
        }
        world.traffic.touch_pod(&uid);
    }
}

/// The pods that were bound to a node and still have something there.
fn on(world: &World, node: &str) -> Vec<Arc<str>> {
    world.kubernetes.runs_on.get(node).into_iter().flatten().cloned().collect()
}

/// Nothing is left of a pod on its node.
fn forget(world: &mut World, uid: &Arc<str>) {
    let Some(run) = world.kubernetes.pods.remove(uid) else { return };
    world.traffic.touch_pod(uid);
    let Some(node) = run.node else { return };
    if let Some(here) = world.kubernetes.runs_on.get_mut(&node) {
        here.remove(uid);
        if here.is_empty() {
            world.kubernetes.runs_on.remove(&node);
        }
    }
}

/// The kubelet is there (again): it looks at all its pods.
pub(super) fn resume(world: &mut World, node: &str) {
    for uid in on(world, node) {
        let Some(stage) = world.kubernetes.pods.get(&uid).map(|run| run.stage) else { continue };
        let pod = object(world, &uid);
        let deletion = pod.as_ref().map(|pod| pod.meta.deletion.map(|deletion| deletion.grace));
        match (stage, deletion) {
            (Stage::Running | Stage::Stopping, Some(Some(grace))) => {
                hear(world, &uid, Act::Terminate(grace));
            }
            (Stage::Running | Stage::Stopping, None) => outlive(world, &uid),
            (Stage::Dead | Stage::Waiting | Stage::Starting, Some(None)) => restart(world, &uid),
            (Stage::Running | Stage::Stopping, Some(None)) => hear(world, &uid, Act::Ready),
            (Stage::Ended, Some(_)) => report_end(world, &uid),
            (_, Some(Some(_))) => stopped(world, &uid, 137),
            (_, None) => forget(world, &uid),
        }
    }
}

/// The object is gone, but the containers still run: the kubelet stops them with the pod's own grace.
pub(super) fn outlive(world: &mut World, uid: &Arc<str>) {
    let Some(run) = world.kubernetes.pods.get(uid) else { return };
    match run.stage {
        Stage::Running | Stage::Stopping => {
            let grace = run.work.grace_seconds;
            hear(world, uid, Act::Terminate(grace));
        }
        _ => forget(world, uid),
    }
}

/// Puts a pod in place as it is in a cluster that has run for a while.
pub(super) fn in_place(world: &mut World, uid: &Arc<str>) {
    give_address(world, uid);
    run_containers(world, uid);
    become_ready(world, uid);
    if let Some(volume) = world.kubernetes.pods.get(uid).and_then(|run| run.volume.clone()) {
        volume::attach(world, uid, &volume);
    }
}

/// Whether a pod stays on a node with these NoExecute taints. The taints of a lost node have a
/// time of their own and are not looked at.
pub(super) fn tolerates_execution(world: &World, key: &Key, node: &Object) -> bool {
    let Some(pod) = world.kubernetes.store.get(Kind::Pod, key) else { return true };
    let Some(run) = world.kubernetes.pods.get(&pod.meta.uid) else { return true };
    let tolerations = run.work.all_tolerations();
    pod.meta.deletion.is_some()
        || taint::of(node).iter().all(|taint| {
            taint["effect"] != "NoExecute"
                || taint["key"] == taint::UNREACHABLE
                || taint["key"] == taint::NOT_READY
                || tolerations.iter().any(|one| one.covers(taint))
        })
}

/// Sets whether a pod's readiness probe passes, as its kubelet reports it.
pub(super) fn probe(world: &mut World, key: &Key, probe: Probe) {
    let now = world.now;
    world.kubernetes.store.update(Kind::Pod, key, |pod| {
        if probe == Probe::Passes {
            pod::ready(pod, now);
        } else {
            pod::unready(pod, now, "ContainersNotReady");
        }
    });
}

/// Tells the story something about a pod.
fn tell(world: &mut World, uid: &str, what: &str) {
    if let Some(run) = world.kubernetes.pods.get(uid) {
        let node = run.node.as_deref().unwrap_or_default();
        let line = format!("{} on {node} {what}", run.key);
        world.tell(line);
    }
}

fn kubelet_alive(world: &World, node: Option<&str>) -> bool {
    node.and_then(|node| world.kubernetes.nodes.get(node)).is_some_and(|state| state.alive)
}

/// The pod's object, if there is still this very pod.
fn object(world: &World, uid: &str) -> Option<Arc<Object>> {
    let run = world.kubernetes.pods.get(uid)?;
    let pod = world.kubernetes.store.get(Kind::Pod, &run.key)?;
    (*pod.meta.uid == *uid).then(|| pod.clone())
}

fn write(world: &mut World, uid: &str, change: impl FnOnce(&mut Object, &Run)) {
    let Some(run) = world.kubernetes.pods.get(uid) else { return };
    let same = |pod: &&Arc<Object>| *pod.meta.uid == *uid;
    if world.kubernetes.store.get(Kind::Pod, &run.key).filter(same).is_some() {
        world.kubernetes.store.update(Kind::Pod, &run.key, |pod| change(pod, run));
    }
}

fn restart(world: &mut World, uid: &Arc<str>) {
    let now = world.now;
    if let Some(run) = world.kubernetes.pods.get_mut(uid) {
        run.restarts += u32::from(run.stage == Stage::Dead);
        run.round += 1;
        run.stage = Stage::Waiting;
    }
    write(world, uid, |pod, _| {
        if pod::is_ready(pod) {
            pod::unready(pod, now, "ContainersNotReady");
        }
    });
    hear(world, uid, Act::Start);
}

fn start(world: &mut World, uid: &Arc<str>) {
    let Some(pod) = object(world, uid) else { return };
    let Some(run) = world.kubernetes.pods.get(uid) else { return };
    if pod.meta.deletion.is_some() || run.stage != Stage::Waiting {
        return;
    }
    // A volume that is still on another node holds the pod up; its detachment starts it again.
    if let Some(volume) = run.volume.clone()
        && !volume::attach(world, uid, &volume)
    {
        return;
    }
    give_address(world, uid);
    let Some(run) = world.kubernetes.pods.get_mut(uid) else { return };
    run.stage = Stage::Starting;
    let least = run.work.ready_ms;
    let whole = least + world.rng.i64(0..=least / 2);
    plan(world, uid, whole * 3 / 5, Act::Run);
    plan(world, uid, whole, Act::Ready);
}

fn give_address(world: &mut World, uid: &Arc<str>) {
    world.kubernetes.addresses += 1;
    let count = world.kubernetes.addresses;
    if let Some(run) = world.kubernetes.pods.get_mut(uid) {
        run.address = match &run.node {
            Some(node) if run.work.host_network => super::node::address(node),
            _ => format!("10.1.{}.{}", count / 250 % 250, count % 250 + 1),
        };
    }
}

fn run_containers(world: &mut World, uid: &Arc<str>) {
    let now = world.now;
    if let Some(run) = world.kubernetes.pods.get_mut(uid) {
        run.stage = Stage::Running;
    }
    write(world, uid, |pod, run| pod::running(pod, now, run));
}

fn become_ready(world: &mut World, uid: &Arc<str>) {
    let now = world.now;
    let Some(run) = world.kubernetes.pods.get_mut(uid) else { return };
    let broken = world.kubernetes.workloads.get(&run.workload).is_some_and(|state| state.broken);
    if run.stage != Stage::Running || run.listening || broken {
        return;
    }
    run.listening = true;
    let work = run.work.clone();
    write(world, uid, |pod, _| pod::ready(pod, now));
    world.traffic.touch_pod(uid);
    if let WorkloadKind::Job { run_ms } = work.kind {
        plan(world, uid, run_ms, Act::Finish);
    }
}

fn terminate(world: &mut World, uid: &Arc<str>, grace: i64) {
    let Some(run) = world.kubernetes.pods.get_mut(uid) else { return };
    if run.work.kind == WorkloadKind::Static {
        // The kubelet goes by its file: the container stays, and so does, soon, its mirror.
        return plan(world, uid, 0, Act::Mirror);
    }
    let kill_ms = grace.max(1) * 1000;
    match run.stage {
        Stage::Running => {
            run.stage = Stage::Stopping;
            run.round += 1;
            match run.work.manners {
                Manners::StopsAtOnce { exit_ms } => {
                    stop_listening(world, uid);
                    plan(world, uid, exit_ms, Act::Exit);
                }
                Manners::ServesOn { ms } => plan(world, uid, ms, Act::Exit),
                Manners::Ignores => {}
            }
            plan(world, uid, kill_ms, Act::Kill);
        }
        // A second request may only have shortened the grace: what was planned stays, the kill
        // comes sooner.
        Stage::Stopping => plan(world, uid, kill_ms, Act::Kill),
        Stage::Waiting | Stage::Starting | Stage::Dead => stopped(world, uid, 137),
        Stage::Ended => {}
    }
}

fn stop_listening(world: &mut World, uid: &Arc<str>) {
    if let Some(run) = world.kubernetes.pods.get_mut(uid) {
        run.listening = false;
        world.traffic.touch_pod(uid);
    }
}

/// The containers are gone.
fn stopped(world: &mut World, uid: &Arc<str>, code: i64) {
    let Some(run) = world.kubernetes.pods.get_mut(uid) else { return };
    if run.stage == Stage::Ended {
        return;
    }
    run.stage = Stage::Ended;
    run.listening = false;
    run.exit_code = code;
    let node = run.node.clone();
    world.traffic.touch_pod(uid);
    if kubelet_alive(world, node.as_deref()) {
        report_end(world, uid);
    }
}

/// The kubelet tells the API that the containers are gone, and cleans up.
fn report_end(world: &mut World, uid: &Arc<str>) {
    let now = world.now;
    write(world, uid, |pod, run| pod::ended(pod, now, run, run.exit_code));
    volume::release(world, uid);
    match object(world, uid) {
        None => forget(world, uid),
        Some(pod) if pod.meta.deletion.is_some() => {
            let delay = world.lag(|lags| lags.removal);
            plan(world, uid, delay, Act::Remove);
        }
        Some(_) => {}
    }
}

/// The kubelet's own deletion, with grace 0: finalizers keep the object.
fn remove(world: &mut World, uid: &Arc<str>) {
    let Some(pod) = object(world, uid) else { return };
    if pod.meta.deletion.is_some() {
        super::delete::remove_object(world, &pod.key());
    }
}

/// Puts a mirror pod back: the same name, a new uid, the container untouched.
fn mirror(world: &mut World, uid: &Arc<str>) {
    let now = world.now;
    let Some(old) = world.kubernetes.pods.get(uid) else { return };
    let (id, key, pin) = (old.workload.clone(), old.key.clone(), old.node.clone());
    let (address, stage, listening) = (old.address.clone(), old.stage, old.listening);
    if let Some(pod) = object(world, uid) {
        world.kubernetes.store.remove(Kind::Pod, &pod.key());
    }
    forget(world, uid);
    let name = key.rsplit('/').next().unwrap_or_default();
    let Some(node) = pin.clone() else { return };
    let key = pod::create(world, &id, name, pin);
    pod::bind(world, &key, &node);
    let Some(new) = world.kubernetes.store.get(Kind::Pod, &key).map(|pod| pod.meta.uid.clone())
    else {
        return;
    };
    if let Some(run) = world.kubernetes.pods.get_mut(&new) {
        (run.address, run.stage, run.listening) = (address, stage, listening);
    }
    world.traffic.touch_pod(&new);
    write(world, &new, |pod, run| {
        pod::running(pod, now, run);
        pod::ready(pod, now);
    });
}
