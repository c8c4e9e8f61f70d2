//! Bare events: one slice, and the report is the answer.

use crate::{announced, binary, due, hear, long_ago, replaced, with_hook};
use serde_json::Value;
use tests::aws::Account;
use tests::event::{named, sample};
use tests::invocation::{IN_1970, Seen, account_of, invoke};

/// Looked at and found ours, with a cluster that EKS does not know: nothing is there to drain.
const LOOKED: &[&str] = &[
    "DescribeInstances",
    "DescribeAutoScalingGroups",
    "DescribeLifecycleHooks",
    "DescribeCluster",
];
/// The same, without a look at its cluster.
const FOUND: &[&str] =
    &["DescribeInstances", "DescribeAutoScalingGroups", "DescribeLifecycleHooks"];
/// The instances of a reservation come first.
const LOOKED_UP: &[&str] = &[
    "DescribeInstances",
    "DescribeInstances",
    "DescribeAutoScalingGroups",
    "DescribeLifecycleHooks",
    "DescribeCluster",
];

/// What was announced for a time of its own is confirmed by EC2 first.
const CONFIRMED: &[&str] = &[
    "DescribeInstances",
    "DescribeAutoScalingGroups",
    "DescribeLifecycleHooks",
    "DescribeInstanceStatus",
    "DescribeCluster",
];

const NO_CLUSTER: &str = "EKS knows no cluster shop";

/// A sample, its fate, words of the reason, and all calls that it costs, in order.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const ROWS: [Row; 22] = [
    ("ec2.capacity-block-expiration.json", "done", NO_CLUSTER, LOOKED_UP),
    ("ec2.capacity-block-reservation-expiration.json", "done", NO_CLUSTER, LOOKED_UP),
    ("ec2.capacity-block.json", "done", NO_CLUSTER, LOOKED),
    ("ec2.capacity-reservation.json", "done", NO_CLUSTER, LOOKED),
    ("ec2.rebalance.json", "done", NO_CLUSTER, LOOKED),
    ("ec2.spot-hibernate.json", "done", NO_CLUSTER, LOOKED),
    ("ec2.spot-stop.json", "done", NO_CLUSTER, LOOKED),
    ("ec2.spot-terminate.json", "done", NO_CLUSTER, LOOKED),
    ("ec2.state-pending.json", "ignored", "start", &[]),
    ("ec2.state-running.json", "done", NO_CLUSTER, LOOKED),
    ("ec2.state-shutting-down.json", "done", NO_CLUSTER, LOOKED),
    ("ec2.state-stopped.json", "done", "the instance runs no more", FOUND),
    ("ec2.state-stopping.json", "done", NO_CLUSTER, LOOKED),
    ("ec2.state-terminated.json", "done", "the instance runs no more", FOUND),
    ("health.backup-region.json", "ignored", "eu-west-1", &[]),
    ("health.closed.json", "done", NO_CLUSTER, LOOKED),
    ("health.dedicated-host.json", "ignored", "instance", &[]),
    ("health.degraded.json", "done", NO_CLUSTER, LOOKED),
    ("health.no-entities.json", "ignored", "instance", &[]),
    ("health.planned-lifecycle.json", "ignored", "PLANNED_LIFECYCLE", &[]),
    ("health.reboot.json", "later", "2126-12-06T08:30:00Z", LOOKED),
    ("health.retirement.json", "done", NO_CLUSTER, CONFIRMED),
];

/// The sample as it is, but for a reboot's date, and for the time at which a change was called off: EC2 is asked what stands
/// once that is two minutes ago.
fn text_of(name: &str) -> String {
    match name {
        "health.reboot.json" => announced(name),
        "health.closed.json" => replaced(&sample(name), CLOSED_AT, "\"2126-11-23"),
        _ => sample(name),
    }
}

/// The day of the sample's `time`.
const CLOSED_AT: &str = "\"2026-11-23";

#[test]
fn what_was_called_off_some_time_ago_is_confirmed_by_ec2() {
    let text = replaced(&sample("health.closed.json"), CLOSED_AT, "\"2020-11-23");
    let seen = hear(with_hook(&text), &[], &text);
    assert_fate("closed", &seen, "done", NO_CLUSTER);
    assert_eq!(seen.operations(), CONFIRMED);
}

/// Every interruption there is, each in an AWS in which it is true and whose cluster was deleted.
#[test]
fn every_interruption_has_its_fate_and_costs_no_call_too_many() {
    let names = [named("ec2."), named("health.")].concat();
    assert_eq!(names, ROWS.map(|(name, ..)| name), "a row for each sample");
    for (name, fate, reason, calls) in ROWS {
        let text = text_of(name);
        let seen = hear(with_hook(&text), &[], &text);
        assert_fate(name, &seen, fate, reason);
        assert_eq!(seen.operations(), calls, "{name}");
        let records = seen.lines("departure record");
        let is_recorded = ["done", "later"].contains(&fate);
        assert_eq!(records.len(), usize::from(is_recorded), "{name}: {}", seen.ended.stdout);
    }
}

#[track_caller]
fn assert_fate(name: &str, seen: &Seen, fate: &str, reason: &str) {
    assert_eq!(seen.fate()["fate"], fate, "{name}: {:#}", seen.answer);
    let said = seen.fate()["why"].as_str().or(seen.fate()["at"].as_str()).unwrap_or_default();
    assert!(said.contains(reason), "{name}: `{reason}` is not in `{said}`");
}

/// In the state that EC2 shows, whatever the event says.
fn but_in_state(text: &str, state: &str) -> Account {
    let mut account = with_hook(text);
    for instance in &mut account.instances {
        state.clone_into(&mut instance.state);
    }
    account
}

#[test]
fn what_is_no_longer_true_is_over() {
    for (name, reason) in [
        ("ec2.state-stopping.json", "the instance runs, whatever state was announced"),
        ("ec2.state-terminated.json", "the instance runs, whatever state was announced"),
    ] {
        let text = long_ago(name);
        let seen = hear(but_in_state(&text, "running"), &[], &text);
        assert_fate(name, &seen, "over", reason);
        assert_eq!(seen.operations(), FOUND, "{name}");
    }
    let gone = long_ago("ec2.spot-terminate.json");
    let seen = hear(Account::default(), &[], &gone);
    assert_fate("gone", &seen, "over", "EC2 knows no such instance");
    assert_eq!(seen.operations(), ["DescribeInstances"]);
    let before_its_start = gone.replace("\"2020-", "\"2018-");
    let seen = hear(with_hook(&gone), &[], &before_its_start);
    assert_fate("another life", &seen, "over", "before the instance last started");
}

#[test]
fn what_aws_does_not_answer_for_comes_back() {
    let text = sample("ec2.spot-terminate.json");
    for broken in ["DescribeInstances", "DescribeAutoScalingGroups", "DescribeLifecycleHooks"] {
        let account = Account { broken: [broken].into(), ..with_hook(&text) };
        let seen = hear(account, &[], &text);
        assert_eq!(seen.fate()["fate"], "came_back", "{broken}: {:#}", seen.answer);
        assert!(!seen.operations().contains(&"DescribeCluster"), "{broken}");
    }
}

/// Rescheduled or called off, an announced reboot would empty a node for nothing. It comes all the same when EC2 can't be
/// asked for minutes, a right that is missing for example.
#[test]
fn a_reboot_that_is_due_is_believed_when_ec2_confirms_it_or_does_not_answer_for_long() {
    let text = due("health.reboot.json");
    let confirmed = hear(with_hook(&text), &[], &text);
    assert_fate("confirmed", &confirmed, "done", NO_CLUSTER);
    assert_eq!(confirmed.bodies("DescribeInstanceStatus").len(), 1, "{confirmed:?}");
    let account = Account { broken: ["DescribeInstanceStatus"].into(), ..with_hook(&text) };
    let unread = hear(account, &[], &text);
    assert_fate("unread", &unread, "done", NO_CLUSTER);
}

#[test]
fn the_policy_may_ignore_a_kind() {
    let text = sample("ec2.rebalance.json");
    let seen = hear(with_hook(&text), &[("REBALANCE", "ignore")], &text);
    assert_fate("ec2.rebalance.json", &seen, "ignored", "rebalance: the policy ignores it");
}

#[test]
fn observe_reports_and_writes_nothing() {
    let text = sample("ec2.spot-terminate.json");
    let seen = hear(with_hook(&text), &[("MODE", "observe"), ("EVENT_BUS", "ops")], &text);
    assert_fate("ec2.spot-terminate.json", &seen, "observed", "");
    assert_eq!(seen.operations(), LOOKED, "and no event of our own");
    assert_eq!(seen.lines("departure record").len(), 1, "{}", seen.ended.stdout);
}

#[test]
fn an_event_bus_hears_of_a_departures_end() {
    let text = sample("ec2.spot-terminate.json");
    let seen = hear(with_hook(&text), &[("EVENT_BUS", "ops")], &text);
    assert_eq!(seen.operations(), [LOOKED, &["PutEvents"]].concat());
    let sent: Value = serde_json::from_str(seen.bodies("PutEvents")[0]).unwrap();
    let entry = &sent["Entries"][0];
    let said = ["Source", "DetailType", "EventBusName"].map(|key| &entry[key]);
    assert_eq!(said, ["ebbtide", "Departure Ended", "ops"], "{sent}");
    let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
    assert_eq!(detail["instance"], "i-0a1b2c3d4e5f60718", "{detail}");
    assert!(seen.lines("events not sent").is_empty(), "{}", seen.ended.stdout);
}

/// What nobody needs must not harm what somebody does.
#[test]
fn an_event_bus_that_does_not_answer_changes_nothing() {
    let text = sample("ec2.spot-terminate.json");
    let account = Account { broken: ["PutEvents"].into(), ..with_hook(&text) };
    let seen = hear(account, &[("EVENT_BUS", "ops")], &text);
    assert_fate("ec2.spot-terminate.json", &seen, "done", NO_CLUSTER);
    assert_eq!(seen.lines("events not sent").len(), 1, "{}", seen.ended.stdout);
}

#[test]
fn what_cannot_be_read_is_answered_with_the_reason() {
    let text = sample("ec2.state-stopped.json").replace("\"stopped\"", "\"melted\"");
    let seen = hear(account_of(&text), &[], &text);
    assert_fate("an unknown state", &seen, "dead_lettered", "melted");
    assert_eq!(seen.operations(), [""; 0]);
}

#[test]
fn a_deadline_in_1970_counts_as_unknown() {
    let text = sample("ec2.spot-terminate.json");
    let seen = invoke(binary(), account_of(&text), &[], (&text, IN_1970));
    assert_fate("ec2.spot-terminate.json", &seen, "done", NO_CLUSTER);
}
