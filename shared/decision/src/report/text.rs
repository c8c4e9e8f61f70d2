//! The report as text: one line for a drain that goes its way, a page for one that is blocked.

use super::{Remaining, Report, Stage};
use crate::annotation::{FORCE, HOLD_UNTIL};
use crate::policy::{AtLongestDrain, Policy};
use crate::time::{Timestamp, human};
use std::fmt::{self, Write as _};

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Looking => write!(out, "looking"),
            Self::Proving => write!(out, "asking AWS whether the hook still waits"),
            Self::Registering(until) => write!(out, "waiting for its node to register, until {until}"),
            Self::Cordoning => write!(out, "cordoning"),
            Self::Withdrawing => write!(out, "leaving its target groups"),
            Self::Draining => write!(out, "draining"),
            Self::Detaching => write!(out, "volumes detach"),
            Self::Settling(until) => write!(out, "empty, connections may last until {until}"),
            Self::Drained => write!(out, "drained"),
            Self::Overdue => write!(out, "the deadline came first"),
            Self::Ended => write!(out, "nothing left to drain"),
            Self::Unreachable { cluster, why } => write!(out, "cluster {cluster} unreachable: {why}"),
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

impl Report {
    /// The page about a blocked drain: the same text in the log, in the node's Event and in a notification.
    pub fn blocked_page(&self, now: Timestamp, policy: &Policy) -> String {
        let mut page = String::new();
        let node = self.node.as_ref().map_or("", |node| node.as_str());
        let age = self.since.map_or(String::new(), |since| human(now.since(since)));
        line(&mut page, format_args!("BLOCKED  {node} ({})   {age}", self.instance));
        let blocked = self.remaining.iter().filter(|pod| pod.blocked).count();
        line(&mut page, format_args!("{} pods left, {blocked} of them blocked", self.remaining.len()));
        for registration in &self.registrations {
            line(&mut page, format_args!("{registration}"));
        }
        for pod in self.remaining.iter().filter(|pod| pod.blocked) {
            blocked_pod(&mut page, pod);
        }
        self.if_nobody_acts(&mut page, policy);
        self.what_you_can_do(&mut page, node);
        page
    }

    fn if_nobody_acts(&self, page: &mut String, policy: &Policy) {
        line(page, format_args!("\nif nobody acts"));
        if let Some(soft) = self.soft.filter(|soft| self.hard.is_none_or(|hard| *soft < hard)) {
            let then = match policy.at_longest_drain {
                AtLongestDrain::GoOn => "policy go-on: nothing is deleted, this is reported again",
                AtLongestDrain::Force => "policy force: what is left is deleted, budgets or not",
            };
            line(page, format_args!("  {soft}  longest drain, {then}"));
        }
        match self.hard {
            Some(hard) => line(
                page,
                format_args!("  {hard}  the hook's global timeout: what is left is deleted shortly before"),
            ),
            None => line(page, format_args!("  no hard deadline is known")),
        }
    }

    fn what_you_can_do(&self, page: &mut String, node: &str) {
        line(page, format_args!("\nwhat you can do"));
        for because in self.remaining.iter().filter_map(|pod| pod.because.as_ref()) {
            line(page, format_args!("  make room      {because}"));
        }
        line(page, format_args!("  let it break   kubectl annotate node {node} {FORCE}=now"));
        line(page, format_args!("  wait longer    kubectl annotate node {node} {HOLD_UNTIL}=15:30Z"));
    }
}

fn blocked_pod(page: &mut String, pod: &Remaining) {
    line(page, format_args!("\n{}   {}", pod.pod, pod.owner));
    line(page, format_args!("  {}", pod.verdict));
    if let Some(budget) = &pod.budget {
        line(page, format_args!("  budget    {budget}"));
    }
    if let Some(because) = &pod.because {
        line(page, format_args!("  because   {because}"));
    }
    if let Some(tried) = &pod.tried {
        line(
            page,
            format_args!("  tried     eviction {} times, last {}", tried.count, tried.last_at),
        );
    }
}

fn line(page: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let written = writeln!(page, "{text}");
    debug_assert!(written.is_ok(), "a String takes every write");
}
