//! The report as text: one line for a drain that goes its way, a page for one that is blocked.

use super::{Advice, Hold, Remaining, Report, Stage};
use crate::annotation::{FORCE, HOLD_UNTIL};
use crate::id::{AsgName, HookName, InstanceId};
use crate::policy::{AtLongestDrain, LaunchDeadline, Policy};
use crate::time::{Timestamp, human};
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::time::Duration;

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Looking => write!(out, "looking"),
            Self::Proving => write!(out, "asking AWS whether the hook still waits"),
            Self::Registering(until) => {
                write!(out, "waiting for its node to register, until {until}")
            }
            Self::Cordoning => write!(out, "cordoning"),
            Self::Withdrawing => write!(out, "leaving its target groups"),
            Self::Draining => write!(out, "draining"),
            Self::Detaching => write!(out, "volumes detach"),
            Self::Settling(until) => write!(out, "empty, connections may last until {until}"),
            Self::Drained => write!(out, "drained"),
            Self::Overdue => write!(out, "the deadline came first"),
            Self::Ended => write!(out, "nothing left to drain"),
            Self::Cordoned => write!(out, "cordoned"),
            Self::Recommended(until) => {
                write!(out, "cordoned; taken back at {until} if nothing follows")
            }
            Self::Lapsed => write!(out, "nothing followed"),
            Self::Announced(at) => write!(out, "announced; it is left from {at} on"),
            Self::Unreachable { cluster, why } => {
                write!(out, "cluster {cluster} unreachable: {why}")
            }
            Self::Arriving(missing) => write!(out, "arriving: {missing}"),
            Self::Arrived => write!(out, "arrived"),
            Self::NotOurs => write!(out, "not ours"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(out, "{node} ({}): {}", self.instance, self.stage)?,
            None => write!(out, "{}: {}", self.instance, self.stage)?,
        }
        match self.remaining.len() {
            0 => Ok(()),
            1 => write!(out, ", 1 pod left"),
            more => write!(out, ", {more} pods left"),
        }
    }
}

/// Pods of which a page tells one by one. Twice: an Event, which takes 1,024 bytes, ends before what can be done.
/// Half: the third blocked pod is not named where people look first.
const PODS_SHOWN_MAX: usize = 5;

impl Report {
    /// The page about this departure or arrival: the same text in the log, in the node's Event and in a notification.
    pub fn page(&self, now: Timestamp, policy: &Policy) -> String {
        let mut page = String::new();
        self.head(&mut page, now);
        self.pods_left(&mut page);
        let ahead = self.if_nobody_acts(now, policy);
        section(
            &mut page,
            "if nobody acts",
            ahead.iter().map(|(at, what)| format!("{at}  {what}")),
        );
        let advice = self.what_you_can_do(now);
        let width = advice.iter().map(|advice| advice.label.len()).max().unwrap_or_default();
        let lines =
            advice.iter().map(|advice| format!("{:<width$}   {}", advice.label, advice.text));
        section(&mut page, "what you can do", lines);
        section(&mut page, "besides", self.warnings.iter().cloned());
        page
    }

    fn head(&self, page: &mut String, now: Timestamp) {
        let age =
            self.since.map_or(String::new(), |since| format!("   {}", human(now.since(since))));
        line(page, format_args!("{}  {}{age}", self.headline(), self.names()));
        let blocked = self.remaining.iter().filter(|pod| pod.hold == Hold::Blocked).count();
        let pods = if self.remaining.len() == 1 { "pod" } else { "pods" };
        let mut counts = match (self.remaining.len(), blocked) {
            (0, _) => Vec::new(),
            (left, 0) => vec![format!("{left} {pods} left")],
            (left, blocked) => vec![format!("{left} {pods} left, {blocked} blocked")],
        };
        if self.staying > 0 {
            counts.push(format!("{} stay until the end", self.staying));
        }
        counts.extend(self.beat_at.map(|at| format!("last heartbeat {at}")));
        if !counts.is_empty() {
            line(page, format_args!("{}", counts.join(" · ")));
        }
        if !self.is_blocked() {
            line(page, format_args!("{}", self.stage));
        }
        for registration in &self.registrations {
            line(page, format_args!("{registration}"));
        }
    }

    fn headline(&self) -> &'static str {
        match self.stage {
            _ if self.is_blocked() => "BLOCKED",
            Stage::Overdue => "OVERDUE",
            Stage::Unreachable { .. } => "UNREACHABLE",
            Stage::Arriving(_) => "ARRIVING",
            Stage::Arrived => "ARRIVED",
            Stage::Drained | Stage::Ended => "DEPARTED",
            Stage::NotOurs => "NOT OURS",
            Stage::Announced(_) => "ANNOUNCED",
            Stage::Cordoned | Stage::Recommended(_) => "CORDONED",
            Stage::Lapsed => "LAPSED",
            Stage::Looking
            | Stage::Proving
            | Stage::Registering(_)
            | Stage::Cordoning
            | Stage::Withdrawing
            | Stage::Draining
            | Stage::Detaching
            | Stage::Settling(_) => "DEPARTING",
        }
    }

    /// `node (instance, ASG group, hook name, Spot warning)`.
    fn names(&self) -> String {
        let groups: BTreeSet<_> = self.hooks.iter().map(|(asg, _)| format!("ASG {asg}")).collect();
        let hooks = self.hooks.iter().map(|(_, hook)| format!("hook {hook}"));
        let causes = self.causes.iter().cloned();
        let rest: Vec<String> = groups.into_iter().chain(hooks).chain(causes).collect();
        match &self.node {
            Some(node) => {
                let inner: Vec<String> =
                    [self.instance.to_string()].into_iter().chain(rest).collect();
                format!("{node} ({})", inner.join(", "))
            }
            None if rest.is_empty() => self.instance.to_string(),
            None => format!("{} ({})", self.instance, rest.join(", ")),
        }
    }

    /// The blocked pods and those whose grace does not fit, or all of them when none is blocked.
    fn pods_left(&self, page: &mut String) {
        let blocked = self.is_blocked();
        let tells = |pod: &&Remaining| !blocked || pod.hold == Hold::Blocked || pod.is_cut_short();
        let shown: Vec<&Remaining> = self.remaining.iter().filter(tells).collect();
        for pod in shown.iter().take(PODS_SHOWN_MAX) {
            pod_left(page, pod);
        }
        if shown.len() > PODS_SHOWN_MAX {
            line(page, format_args!("\nand {} more", shown.len() - PODS_SHOWN_MAX));
        }
    }

    /// What comes by itself, and when.
    fn if_nobody_acts(&self, now: Timestamp, policy: &Policy) -> Vec<(Timestamp, String)> {
        let mut ahead = match &self.stage {
            Stage::Registering(until) => {
                return vec![(*until, "no node to drain: the hook is answered".to_owned())];
            }
            Stage::Settling(until) => {
                return vec![(*until, "the hook is answered, AWS ends the instance".to_owned())];
            }
            Stage::Recommended(until) => {
                return vec![(*until, "the cordon is taken back if nothing followed".to_owned())];
            }
            Stage::Announced(at) => vec![(*at, "the node is cordoned and drained".to_owned())],
            Stage::Drained
            | Stage::Overdue
            | Stage::Ended
            | Stage::Arrived
            | Stage::Lapsed
            | Stage::NotOurs => return Vec::new(),
            Stage::Cordoned => Vec::new(),
            Stage::Arriving(_) => return self.at_launch_deadline(policy),
            Stage::Draining => self.at_soft(at_longest_drain(policy)),
            Stage::Detaching => self.at_soft("longest drain: volumes are waited for no longer"),
            Stage::Looking
            | Stage::Proving
            | Stage::Cordoning
            | Stage::Withdrawing
            | Stage::Unreachable { .. } => Vec::new(),
        };
        let lets_go_at = self.remaining.iter().filter_map(|pod| pod.lets_go_at).min();
        let goes_on = "what only our implicit budget holds is evicted, as far as PDBs allow";
        ahead.extend(lets_go_at.map(|at| (at, goes_on.to_owned())));
        ahead.retain(|(at, _)| *at > now && self.hard.is_none_or(|hard| *at < hard));
        ahead.extend(self.hard.map(|hard| (hard, self.at_hard())));
        ahead.sort();
        ahead
    }

    fn at_soft(&self, what: &str) -> Vec<(Timestamp, String)> {
        self.soft.map(|soft| (soft, what.to_owned())).into_iter().collect()
    }

    fn at_launch_deadline(&self, policy: &Policy) -> Vec<(Timestamp, String)> {
        let what = match policy.launch_deadline {
            LaunchDeadline::Abandon => {
                "longest launch, policy abandon: AWS ends the instance and launches another"
            }
            LaunchDeadline::Continue => {
                "longest launch, policy continue: it goes into service as it is"
            }
        };
        let longest = self.since.map(|since| since + policy.longest_launch);
        let at = longest.into_iter().chain(self.hard).min();
        at.map(|at| (at, what.to_owned())).into_iter().collect()
    }

    fn at_hard(&self) -> String {
        let what = match &self.stage {
            Stage::Draining => {
                "pods that are left are deleted before it, with as much of their grace as fits"
            }
            Stage::Unreachable { .. } => "AWS ends the instance with its pods on it",
            Stage::Announced(_) | Stage::Cordoned => "AWS acts",
            _ if self.hard_by.is_some() => "AWS ends the instance, whatever is left",
            _ => "the hook is answered shortly before it, whatever is left",
        };
        match &self.hard_by {
            Some(cause) => format!("{cause}: {what}"),
            None => format!("the hook's global timeout: {what}"),
        }
    }

    fn what_you_can_do(&self, now: Timestamp) -> Vec<Advice> {
        let mut advice: Vec<Advice> = Vec::new();
        for pod in &self.remaining {
            advice.extend(pod.advice.clone().filter(|new| !advice.contains(new)));
        }
        match (&self.stage, &self.node) {
            (Stage::Draining, Some(node)) => {
                let text = format!("kubectl annotate node {node} {FORCE}=now");
                advice.push(Advice { label: "let it break", text });
                advice.extend(self.longer(now).map(|until| {
                    let text = format!("kubectl annotate node {node} {HOLD_UNTIL}={until}");
                    Advice { label: "wait longer", text }
                }));
            }
            (Stage::Unreachable { .. }, _) => {
                let text =
                    "the cluster's endpoint, its security group, and our access entry".to_owned();
                advice.push(Advice { label: "check", text });
                advice.extend(self.hooks.iter().map(|hook| answer(hook, &self.instance)));
            }
            (Stage::Arriving(_), _) => {
                advice.extend(self.hooks.iter().map(|hook| answer(hook, &self.instance)));
            }
            _ => {}
        }
        advice
    }

    /// A whole minute to which the soft deadline could be moved: an hour later, but before the hard one.
    fn longer(&self, now: Timestamp) -> Option<Timestamp> {
        let soft = self.soft?.max(now);
        let later = soft + Duration::from_secs(3_600);
        let until = self.hard.map_or(later, |hard| later.min(hard - Duration::from_secs(600)));
        let until = Timestamp::from_seconds(until.millis() / 60_000 * 60);
        (until > soft).then_some(until)
    }
}

fn answer((asg, hook): &(AsgName, HookName), instance: &InstanceId) -> Advice {
    let text = format!(
        "aws autoscaling complete-lifecycle-action --auto-scaling-group-name {asg} --lifecycle-hook-name {hook} \
         --instance-id {instance} --lifecycle-action-result CONTINUE"
    );
    Advice { label: "answer it", text }
}

fn at_longest_drain(policy: &Policy) -> &'static str {
    match policy.at_longest_drain {
        AtLongestDrain::GoOn => {
            "longest drain, policy go-on: nothing is deleted, this is reported again"
        }
        AtLongestDrain::Force => {
            "longest drain, policy force: what is left is deleted, budgets or not"
        }
    }
}

fn pod_left(page: &mut String, pod: &Remaining) {
    line(page, format_args!("\n{}   {}", pod.pod, pod.owner));
    let verdict = pod.verdict.strip_prefix("held: ").unwrap_or(&pod.verdict);
    let what = pod.budget.as_deref().unwrap_or(verdict);
    let label = match pod.hold {
        Hold::None => "now",
        Hold::Ending | Hold::Waiting => "waits",
        Hold::Blocked => "held by",
    };
    line(page, format_args!("  {label:<9} {what}"));
    if let Some(forced) = &pod.forced {
        line(page, format_args!("  then      {forced}"));
    }
    if let Some(because) = &pod.because {
        line(page, format_args!("  because   {because}"));
    }
    if let Some(tried) = &pod.tried {
        let times = if tried.count == 1 { "time" } else { "times" };
        let next = pod.next.map_or(String::new(), |at| format!("; next {at}"));
        line(
            page,
            format_args!(
                "  tried     eviction {} {times}, last {}{next}",
                tried.count, tried.last_at
            ),
        );
    }
}

fn section(page: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        line(page, format_args!("\n{title}"));
    }
    for text in lines {
        line(page, format_args!("  {text}"));
    }
}

fn line(page: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let written = writeln!(page, "{text}");
    debug_assert!(written.is_ok(), "a String takes every write");
}
