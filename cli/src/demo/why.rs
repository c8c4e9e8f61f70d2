//! Why requests were dropped, and why none were: read from what the world recorded, in words.

use crate::demo::act::Act;
use crate::demo::run::{Fortune, Run};
use crate::demo::sample::{Sample, TargetState};
use crate::demo::world::{Column, GROUPS};
use sandbox::aws::autoscaling::LifecycleState;
use sandbox::aws::elbv2::Health;
use sandbox::traffic::Cause;
use std::collections::{BTreeMap, BTreeSet};

/// Dropped requests by cause, the greatest number first, with the target groups that they were sent to.
pub(crate) fn losses(run: &Run) -> Vec<(Cause, u64, Vec<&'static str>)> {
    let mut by_cause: BTreeMap<Cause, (u64, Vec<&'static str>)> = BTreeMap::new();
    for ((name, _), report) in GROUPS.iter().zip(&run.reports) {
        for (cause, count) in &report.dropped {
            let entry = by_cause.entry(*cause).or_default();
            entry.0 += count;
            entry.1.push(name);
        }
    }
    let mut losses: Vec<_> =
        by_cause.into_iter().map(|(cause, (count, names))| (cause, count, names)).collect();
    losses.sort_by_key(|(cause, count, _)| (std::cmp::Reverse(*count), *cause));
    losses
}

/// What a column's row says beside its numbers: the causes of what was dropped, and without Ebbtide, why a target
/// group lost nothing.
pub(crate) fn row(run: &Run, column: Column) -> Vec<String> {
    let mut parts: Vec<String> = losses(run)
        .into_iter()
        .map(|(cause, count, names)| {
            format!(
                "{} {} ({})",
                crate::demo::print::grouped(count),
                cause.text(),
                names.join(", ")
            )
        })
        .collect();
    if column == Column::Without {
        parts.extend(spared(run));
    }
    parts
}

/// Why target groups lost nothing; once where the reason is the same for all.
fn spared(run: &Run) -> Vec<String> {
    if run.fortunes.is_empty() {
        return vec!["nothing happens to any instance".to_owned()];
    }
    let mut by_reason: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for (index, (name, _)) in GROUPS.iter().enumerate() {
        if run.reports.get(index).is_some_and(|report| report.dropped() == 0) {
            let reasons: BTreeSet<String> =
                run.fortunes.iter().map(|fortune| reason(fortune, index)).collect();
            by_reason
                .entry(reasons.into_iter().collect::<Vec<_>>().join("; "))
                .or_default()
                .push(name);
        }
    }
    let all = by_reason.len() == 1 && run.dropped() == 0;
    let text = |(reason, names): (String, Vec<&str>)| {
        if all { reason } else { format!("{}: 0, {reason}", names.join(", ")) }
    };
    by_reason.into_iter().map(text).collect()
}

/// Why requests to one target group did not suffer from what happened to one instance.
fn reason(fortune: &Fortune, index: usize) -> String {
    let samples = || fortune.samples.iter().map(|(_, sample)| sample);
    let target = |sample: &Sample| sample.targets.get(index).copied();
    let is = |sample: &Sample, wanted: fn(&TargetState) -> bool| {
        target(sample).as_ref().is_some_and(wanted)
    };
    let Some(routed) = samples().position(|sample| is(sample, |target| target.routed)) else {
        return unserved(fortune, index);
    };
    let went_down = samples().skip_while(|sample| !sample.up).any(|sample| !sample.up);
    if !went_down {
        if let Some(blow) = fortune.part.act.blow() {
            return blow.spared().to_owned();
        }
        let healthy = samples()
            .position(|sample| is(sample, |target| target.health == Some(Health::Healthy)));
        let waited = healthy.is_some_and(|healthy| healthy <= routed) && routed > 0;
        let text = if waited {
            "the new node got no request before it was healthy"
        } else {
            "its host stayed"
        };
        return text.to_owned();
    }
    let drained = || {
        let before = samples().take_while(|sample| sample.up);
        before.filter(|sample| is(sample, is_draining))
    };
    if drained().any(|sample| sample.lifecycle.is_some_and(asg_drains)) {
        return format!("the ASG drained its own group before it {}", ended(fortune.part.act));
    }
    let text = if drained().next().is_some() {
        "its target was drained before"
    } else {
        "nothing was sent to it while it was away"
    };
    text.to_owned()
}

/// Why an instance got no request at all.
fn unserved(fortune: &Fortune, index: usize) -> String {
    let samples = || fortune.samples.iter().map(|(_, sample)| sample);
    let healths = || samples().filter_map(|sample| sample.targets.get(index)?.health);
    let warmed = samples()
        .any(|sample| sample.lifecycle.is_some_and(|state| state.name().starts_with("Warmed:")));
    let text = if healths().any(|health| matches!(health, Health::Unhealthy(_))) {
        "the new node got no request, since its targets failed their health checks"
    } else if healths().next().is_some() {
        "the new node got no request, since its targets were not healthy yet"
    } else if warmed {
        "the instance is in the warm pool, where no load balancer knows it"
    } else {
        "no load balancer knew the instance"
    };
    text.to_owned()
}

fn is_draining(target: &TargetState) -> bool {
    matches!(target.health, Some(Health::Draining { .. }))
}

/// The states in which Auto Scaling drains the groups that it is attached to, before any hook.
fn asg_drains(state: LifecycleState) -> bool {
    matches!(
        state,
        LifecycleState::Terminating
            | LifecycleState::WarmedPending
            | LifecycleState::ReplacingRootVolume
    )
}

fn ended(act: Act) -> &'static str {
    match act {
        Act::ToWarmPool => "stopped the instance",
        Act::ReplaceRootVolume => "rebooted the instance",
        Act::Terminate
        | Act::EndInWarmPool
        | Act::Launch
        | Act::LaunchIntoWarmPool
        | Act::LaunchFromWarmPool
        | Act::Struck(_) => "ended the instance",
    }
}
