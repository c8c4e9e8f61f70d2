//! A storm, for whoever acts: many nodes are warned at once, and when each is cordoned, withdrawn and empty is seen from
//! outside, in the API server and in the account.
//!
//! ```text
//!   warn ─┬─ watch of nodes ─> cordoned: unschedulable
//!         ├─ the account ────> withdrawn: its target is gone, or drains
//!         └─ watch of pods ──> drained: no pod is left on it
//! ```

mod report;
mod watch;

pub use report::{Report, Spread, Start};

use crate::account::Machine;
use crate::error::SystemError;
use crate::system::System;
use lambda::Mapping;
use sandbox::aws::ec2::Ec2;
use sandbox::aws::elbv2::Health;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use watch::Seen;

/// The longest that a watch takes to tell of all nodes and their pods, which were all created before.
const LISTED_WITHIN: Duration = Duration::from_secs(120);
/// How often the account is looked at: the time of a withdrawal is as exact as this. The other times are those in which
/// the watches told.
const LOOK: Duration = Duration::from_millis(50);
/// How long a single warning is waited for.
const SINGLE_WITHIN: Duration = Duration::from_secs(60);
/// EC2 takes the instances after this; what is not done by then never will be.
const LEAD_MS: i64 = 120_000;
/// How long it is watched: until the instances are gone, and a little more.
const WATCHED: Duration = Duration::from_secs(135);

/// When what happened to one node, from the warning on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) cordoned: Option<Duration>,
    pub(crate) withdrawn: Option<Duration>,
    pub(crate) drained: Option<Duration>,
}

impl Times {
    fn is_complete(&self) -> bool {
        self.cordoned.is_some() && self.withdrawn.is_some() && self.drained.is_some()
    }
}

/// Warns of Spot interruptions of all of these at once, and watches until all are done or the instances are gone.
pub async fn run(
    system: &System,
    machines: &[Machine],
    function: Option<&Mapping>,
) -> Result<Report, SystemError> {
    let before = system.audit.counts();
    let client = system.control.admin()?;
    let seen = RefCell::new(Seen::default());
    let looks = async {
        listed(&seen, machines).await?;
        let mut times: BTreeMap<String, Times> = BTreeMap::new();
        let began = Instant::now();
        warn(system, machines);
        while began.elapsed() < WATCHED {
            sleep(LOOK).await;
            note(system, machines, &seen.borrow(), (began, &mut times));
            if times.values().all(Times::is_complete) {
                break;
            }
        }
        Ok::<_, SystemError>(times)
    };
    let times = tokio::select! {
        why = watch::run(&client, &seen) => return Err(why),
        times = looks => times?,
    };
    let mut requests = system.audit.counts();
    for (what, count) in &mut requests {
        *count = count.saturating_sub(before.get(what).copied().unwrap_or_default());
    }
    requests.retain(|_, count| *count > 0);
    let processes = function.map(Mapping::processes).unwrap_or_default();
    Ok(Report::of(&times, requests, &processes))
}

/// Waits until all of these are seen, each with a pod.
async fn listed(seen: &RefCell<Seen>, machines: &[Machine]) -> Result<(), SystemError> {
    let by = Instant::now() + LISTED_WITHIN;
    while !seen.borrow().is_listed(machines) {
        if Instant::now() >= by {
            let what = "not every node that is to be warned is listed with a pod: are there fewer pods than nodes?";
            return Err(SystemError::Late(what.to_owned()));
        }
        sleep(LOOK).await;
    }
    Ok(())
}

fn warn(system: &System, machines: &[Machine]) {
    let mut world = system.sandbox.world();
    for machine in machines {
        Ec2::interrupt(&mut world, &machine.instance, LEAD_MS);
    }
}

/// Warns one after the other of these, and returns how long each cordon took, from its message in the queue to the watch
/// that tells of it. Before each, `prepare` is called.
pub async fn singles(
    system: &System,
    machines: &[Machine],
    prepare: impl Fn(),
) -> Result<Spread, SystemError> {
    let client = system.control.admin()?;
    let seen = RefCell::new(Seen::default());
    let looks = async {
        listed(&seen, machines).await?;
        let mut times = Vec::new();
        for machine in machines {
            prepare();
            times.push(single(system, machine, &seen).await);
        }
        Ok::<_, SystemError>(times)
    };
    tokio::select! {
        why = watch::run(&client, &seen) => Err(why),
        times = looks => Ok(Spread::of(times?.into_iter())),
    }
}

/// One warning; `None` if its node is not cordoned in time. Ends when all that was said of it is acknowledged.
async fn single(system: &System, machine: &Machine, seen: &RefCell<Seen>) -> Option<Duration> {
    let (warned_at, by) = (system.sandbox.now(), Instant::now() + SINGLE_WITHIN);
    warn(system, std::slice::from_ref(machine));
    let (mut sent_at, mut cordon) = (None, None);
    while Instant::now() < by {
        sleep(LOOK / 10).await;
        let world = system.sandbox.world();
        let mut messages = world.aws.sqs.queues.values().flat_map(|queue| queue.messages.values());
        let message =
            messages.find(|it| it.sent_at >= warned_at && it.body.contains(&machine.instance));
        match message {
            Some(message) => sent_at = sent_at.or(Some(message.sent_at)),
            None if cordon.is_some() => break,
            None => {}
        }
        drop(world);
        if let (None, Some(at), Some(sent)) =
            (cordon, seen.borrow().cordoned(&machine.node), sent_at)
        {
            let cordoned_at = system.sandbox.now() - millis(at.elapsed());
            cordon = Some(Duration::from_millis((cordoned_at - sent).max(0).unsigned_abs()));
        }
    }
    cordon
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Notes what has happened since the last look.
fn note(
    system: &System,
    machines: &[Machine],
    seen: &Seen,
    (began, times): (Instant, &mut BTreeMap<String, Times>),
) {
    let now = began.elapsed();
    let since = |at: Instant| at.saturating_duration_since(began);
    let world = system.sandbox.world();
    let mut served = BTreeSet::new();
    for group in world.aws.elb.groups.values() {
        for ((id, _), target) in &group.targets {
            if !matches!(target.health, Health::Draining { .. }) {
                served.insert(id.as_str());
            }
        }
    }
    for machine in machines {
        let times = times.entry(machine.node.clone()).or_default();
        times.cordoned = seen.cordoned(&machine.node).map(since);
        times.drained = seen.emptied(&machine.node).map(since);
        if times.withdrawn.is_none() && !served.contains(machine.instance.as_str()) {
            times.withdrawn = Some(now);
        }
    }
}
