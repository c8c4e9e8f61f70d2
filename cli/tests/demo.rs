//! The program as a user starts it: every sample event, both policies, storms, bad input, and the words that it prints.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const EVENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../events");

fn ebbtide(directory: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_ebbtide");
    let output = Command::new(program).args(arguments).current_dir(directory).output();
    output.expect("the program starts")
}

#[track_caller]
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("it prints UTF-8")
}

#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let output = ebbtide(Path::new(EVENTS), arguments);
    let told = text(output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    text(output.stdout)
}

#[track_caller]
fn object(event: &str, policy: &str) -> Value {
    let text = printed(&["demo", "--event", event, "--policy", policy, "--json"]);
    serde_json::from_str(&text).expect("it prints JSON")
}

/// What becomes of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Requests {
    /// None is dropped.
    Served,
    /// Some are.
    Dropped,
    /// Some are, and more without Ebbtide.
    Fewer,
}
use Requests::{Dropped, Fewer, Served};

/// One sample event: how a hook ends with Ebbtide, if one waits, whether the function calls anybody, and what becomes of
/// requests with Ebbtide and without.
struct Row {
    event: &'static str,
    hook: Option<&'static str>,
    calls: bool,
    with: Requests,
    without: Requests,
}

/// A hook that is answered in time.
const fn row(event: &'static str, without: Requests) -> Row {
    Row { event, hook: Some("CONTINUE"), calls: true, with: Served, without }
}

/// An instance that is taken, with time enough; its group's hook comes late.
const fn taken(event: &'static str) -> Row {
    row(event, Dropped)
}

/// An instance that was going when the signal came.
const fn late(event: &'static str, with: Requests) -> Row {
    Row { with, ..row(event, Dropped) }
}

/// An instance that stays, or is back before its group notices.
const fn stays(event: &'static str, without: Requests) -> Row {
    Row { hook: None, ..row(event, without) }
}

/// Nobody's instance.
const fn nothing(event: &'static str) -> Row {
    Row { event, hook: None, calls: false, with: Served, without: Served }
}

const HOOKS: [Row; 13] = [
    // Not in service yet: no load balancer sends it anything before it is healthy, with a hook or without.
    row("autoscaling.launch.json", Served),
    row("autoscaling.launch-from-warm-pool.json", Served),
    row("autoscaling.launch-into-warm-pool.json", Served),
    row("autoscaling.launch-replace-root-volume.json", Dropped),
    row("autoscaling.terminate.json", Dropped),
    row("autoscaling.terminate-in-warm-pool.json", Served),
    row("autoscaling.terminate-replace-root-volume.json", Dropped),
    row("autoscaling.terminate-warm-pool.json", Dropped),
    row("sqs.autoscaling-direct.json", Dropped),
    row("sqs.autoscaling-terminate.json", Dropped),
    row("sqs.batch.json", Dropped),
    row("sqs.sns-wrapped.json", Dropped),
    nothing("sqs.test-notification.json"),
];

const INTERRUPTIONS: [Row; 23] = [
    taken("ec2.spot-terminate.json"),
    taken("ec2.spot-stop.json"),
    late("ec2.spot-hibernate.json", Fewer),
    stays("ec2.rebalance.json", Served),
    taken("ec2.capacity-reservation.json"),
    taken("ec2.capacity-block.json"),
    taken("ec2.capacity-block-expiration.json"),
    taken("ec2.capacity-block-reservation-expiration.json"),
    nothing("ec2.state-pending.json"),
    stays("ec2.state-running.json", Dropped),
    late("ec2.state-stopping.json", Fewer),
    late("ec2.state-shutting-down.json", Fewer),
    // The host has been down for a while: its group and its load balancers have noticed, or are about to.
    late("ec2.state-stopped.json", Dropped),
    late("ec2.state-terminated.json", Dropped),
    taken("health.retirement.json"),
    stays("health.degraded.json", Served),
    stays("health.reboot.json", Served),
    stays("health.closed.json", Served),
    nothing("health.backup-region.json"),
    nothing("health.dedicated-host.json"),
    nothing("health.planned-lifecycle.json"),
    nothing("health.no-entities.json"),
    late("sqs.interruptions.json", Fewer),
];

#[test]
fn the_table_has_every_sample_event() {
    let files = std::fs::read_dir(EVENTS).unwrap().map(|entry| entry.unwrap().path());
    let events: BTreeSet<String> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
        .map(|file| file.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let rows = HOOKS.iter().chain(&INTERRUPTIONS);
    let rows: BTreeSet<String> = rows.map(|row| row.event.to_owned()).collect();
    assert_eq!(rows, events);
}

#[track_caller]
fn check(&Row { event, hook, calls, with: expected, without: alone }: &Row, policy: &str) {
    let name = format!("{event}, {policy}");
    let told = object(event, policy);
    assert_eq!(told["event"], event, "{name}");
    assert_eq!(told["policy"], policy, "{name}");
    assert_eq!(told["seed"], 7, "{name}");
    let (with, without) = (&told["with"], &told["without"]);
    let number = |value: &Value| value.as_u64().expect("it is a number");
    let (dropped, lost) = (number(&with["dropped"]), number(&without["dropped"]));
    assert_eq!(lost > 0, alone != Served, "{name}: {without}");
    match expected {
        Served => assert_eq!(dropped, 0, "{name}: {with}"),
        Dropped => assert!(dropped > 0, "{name}: {with}"),
        Fewer => assert!(0 < dropped && dropped < lost, "{name}: {with}, {without}"),
    }
    assert_eq!(with["hook"].as_str(), hook, "{name}");
    assert_eq!(number(&with["api_calls"]) > 0, calls, "{name}: {with}");
    assert_eq!(without["hook"], Value::Null, "{name}");
    assert_eq!(without["api_calls"], 0, "{name}");
    for (column, dropped) in [(with, dropped), (without, lost)] {
        let causes = column["causes"].as_object().expect("it is an object").values();
        assert_eq!(causes.map(number).sum::<u64>(), dropped, "{name}");
    }
    let all = |column: &Value| number(&column["served"]) + number(&column["dropped"]);
    assert_eq!(all(with), all(without), "{name}: the same requests in both columns");
}

#[test]
fn no_request_is_dropped_with_ebbtide_and_the_hook_is_answered() {
    for row in &HOOKS {
        for policy in ["cluster", "local"] {
            check(row, policy);
        }
    }
}

#[test]
fn interruptions_cost_no_request_where_there_is_time_behind_cluster() {
    for row in &INTERRUPTIONS {
        check(row, "cluster");
    }
}

#[test]
fn interruptions_cost_no_request_where_there_is_time_behind_local() {
    for row in &INTERRUPTIONS {
        check(row, "local");
    }
}

#[test]
fn other_seeds_lose_nothing_either() {
    for seed in ["1", "2", "18446744073709551615"] {
        for policy in ["cluster", "local"] {
            let text = printed(&["demo", "--seed", seed, "--policy", policy, "--json"]);
            let told: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(told["with"]["dropped"], 0, "seed {seed}, {policy}: {told}");
            assert_eq!(told["with"]["hook"], "CONTINUE", "seed {seed}, {policy}: {told}");
            assert_ne!(told["without"]["dropped"], 0, "seed {seed}, {policy}: {told}");
        }
    }
}

#[test]
fn json_is_one_object_and_progress_is_on_standard_error() {
    let output = ebbtide(Path::new(EVENTS), &["demo", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1);
    let told: Value = serde_json::from_str(&text).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&told), ["event", "policy", "seed", "with", "without"]);
    let column = ["api_calls", "causes", "dropped", "hook", "seconds", "served"];
    assert_eq!(keys(&told["with"]), column);
    assert_eq!(keys(&told["without"]), column);
    let progress = String::from_utf8(output.stderr).unwrap();
    assert_eq!(progress, "simulating with Ebbtide\nsimulating without Ebbtide\n");
}

#[test]
fn a_group_that_lost_nothing_says_why() {
    let rows = [
        (
            "autoscaling.terminate.json",
            "local",
            "web: 0, the ASG drained its own group before it ended the instance",
        ),
        (
            "autoscaling.terminate-replace-root-volume.json",
            "local",
            "web: 0, the ASG drained its own group before it rebooted the instance",
        ),
        (
            "autoscaling.terminate-in-warm-pool.json",
            "cluster",
            "the instance is in the warm pool, where no load balancer knows it",
        ),
        ("autoscaling.launch.json", "cluster", "the new node got no request before it was healthy"),
        ("sqs.test-notification.json", "cluster", "nothing happens to any instance"),
        ("ec2.rebalance.json", "cluster", "nothing followed the recommendation"),
        ("health.reboot.json", "local", "what is announced is further ahead than this"),
        ("health.closed.json", "cluster", "the change was called off"),
        ("health.degraded.json", "cluster", "its host still runs; nobody says until when"),
        ("ec2.spot-hibernate.json", "cluster", "the signal leaves no time; "),
    ];
    for (event, policy, why) in rows {
        let text = printed(&["demo", "--event", event, "--policy", policy]);
        assert!(text.contains(why), "{event}, {policy}: no `{why}` in\n{text}");
    }
}

#[test]
fn the_default_run_reads_like_this() {
    let text = printed(&["demo"]);
    assert!(!text.contains('\x1b'), "colours where there is no terminal");
    insta::assert_snapshot!("default", text);
}

#[test]
fn a_batch_says_what_became_of_each_message_that_nothing_came_of() {
    let text = printed(&["demo", "--event", "sqs.batch.json"]);
    let told: Vec<&str> = text.lines().filter(|line| line.starts_with("message ")).collect();
    let expected = [
        "message 3 of 6: acknowledged, too late: i-0a1b2c3d4e5f60718 leaves for good and is replaced by now",
        "message 4 of 6: dead-letter queue: body: not JSON at byte 200: EOF while parsing a string",
        "message 5 of 6: acknowledged, not ours: no group knows i-0c3d4e5f607182930",
        "message 6 of 6: acknowledged, nothing to do: test notification of a lifecycle hook",
    ];
    assert_eq!(told, expected, "in\n{text}");
    let hook = |instance: &str| format!("  hook ebbtide-terminate for {instance}: CONTINUE at ");
    for instance in ["i-0a1b2c3d4e5f60718", "i-0b2c3d4e5f6071829"] {
        assert!(text.contains(&hook(instance)), "{instance}: {text}");
    }
    assert!(!text.contains("still in the queue"), "{text}");
}

#[test]
fn a_spot_warning_reads_like_this() {
    let text = printed(&["demo", "--event", "ec2.spot-terminate.json"]);
    insta::assert_snapshot!("spot", text);
}

#[test]
fn what_is_far_ahead_is_announced_or_brought_forward() {
    let rows = [
        (
            "health.reboot.json",
            "AWS acts in 14 d; this ends long before",
            "announced by an Event on its node",
        ),
        (
            "health.retirement.json",
            "AWS acts in 14 d; here after 600 s, since nothing else would happen until then",
            "EC2 took the instance",
        ),
    ];
    for (event, head, row) in rows {
        let text = printed(&["demo", "--event", event]);
        assert!(text.contains(head) && text.contains(row), "{event}: {text}");
    }
}

#[test]
fn what_is_over_is_taken_back() {
    let rows = [
        ("ec2.rebalance.json", "rebalance recommendation"),
        ("health.closed.json", "SCHEDULED closed"),
        ("ec2.state-running.json", "EC2 says that the instance is running"),
    ];
    for (event, cause) in rows {
        let text = printed(&["demo", "--event", event]);
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{event}, {what}: {text}"));
        let undone = at("uncordoned: its taint and record are taken off");
        assert!(at("   cordoned\n") < undone && at(cause) < undone, "{event}: {text}");
    }
}

#[test]
fn what_is_announced_stays_as_far_ahead_as_in_somebody_elses_event() {
    let directory = scratch("sooner");
    let text = std::fs::read_to_string(Path::new(EVENTS).join("health.reboot.json")).unwrap();
    let text = text
        .replace("Sun, 06 Dec 2026 09:30:00 GMT", "Sun, 22 Nov 2026 09:50:00 GMT")
        .replace("i-0a1b2c3d4e5f60718", "i-1234abcd");
    std::fs::write(directory.join("own.json"), text).unwrap();
    let output = ebbtide(&directory, &["demo", "--event", "own.json", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["with"]["dropped"], 0, "{told}");
    assert_ne!(told["without"]["dropped"], 0, "{told}");
    let seconds = told["with"]["seconds"].as_u64().unwrap();
    assert!((1_200..1_300).contains(&seconds), "20 minutes and a reboot: {told}");
}

#[test]
fn a_storm_of_thirty_nodes_drops_nothing() {
    let output = ebbtide(Path::new(EVENTS), &["demo", "--storm", "30", "--json"]);
    assert_eq!(text(output.stderr), "simulating a storm\n");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let all = [
        "cordoned_s",
        "drained_s",
        "dropped",
        "min_targets",
        "nodes",
        "served",
        "throttled",
        "withdrawn_s",
    ];
    assert_eq!(keys(&told), all);
    assert_eq!(told["nodes"], 30);
    assert_eq!(told["dropped"], 0, "{told}");
    assert!(told["served"].as_u64().unwrap() > 50_000, "{told}");
    assert_eq!(keys(&told["min_targets"]), ["api", "shop", "web"]);
    for (group, targets) in told["min_targets"].as_object().unwrap() {
        // Half of the 38 that there were.
        assert!((18..38).contains(&targets.as_u64().unwrap()), "{group}: {told}");
    }
    for (moment, most) in [("cordoned_s", 6.0), ("withdrawn_s", 120.0), ("drained_s", 120.0)] {
        let spread = &told[moment];
        assert_eq!(keys(spread), ["last", "p50", "p99"]);
        let of = |key: &str| spread[key].as_f64().unwrap();
        assert!(of("p50") <= of("p99") && of("p99") <= of("last"), "{moment}: {told}");
        assert!(of("last") <= most, "{moment}: {told}");
    }
}

#[test]
fn a_storm_is_told_in_words() {
    let text = printed(&["demo", "--storm", "3", "--seed", "1"]);
    for what in [
        "A storm over 3 Spot nodes: all warned within a second",
        "30 pods, budgets of 10 %",
        "since its warning          p50      p99     last",
        "fewest living targets: api ",
        "again: --storm 3 --seed 1\n",
    ] {
        assert!(text.contains(what), "no `{what}` in\n{text}");
    }
}

#[test]
fn the_same_seed_gives_the_same_output() {
    for arguments in [&["demo"][..], &["demo", "--event", "sqs.batch.json", "--policy", "local"]] {
        assert_eq!(printed(arguments), printed(arguments), "{arguments:?}");
    }
    assert_ne!(printed(&["demo", "--json"]), printed(&["demo", "--seed", "8", "--json"]));
}

#[test]
fn the_default_event_needs_no_file() {
    let anywhere = scratch("anywhere");
    let output = ebbtide(&anywhere, &["demo", "--json"]);
    let default: Value = serde_json::from_slice(&output.stdout).unwrap();
    let named = object("autoscaling.terminate.json", "cluster");
    assert_eq!(default["with"], named["with"]);
    assert_eq!(default["without"], named["without"]);
}

#[test]
fn the_world_takes_the_names_of_somebody_elses_event() {
    let directory = scratch("elsewhere");
    let text =
        std::fs::read_to_string(Path::new(EVENTS).join("autoscaling.terminate.json")).unwrap();
    let groups = r#"\"prod\",\"target_groups\":[\"arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/x/1\"]"#;
    let text = text
        .replace("workers", "prod nodes")
        .replace("ebbtide-terminate", "drain-hook")
        .replace("i-0a1b2c3d4e5f60718", "i-1234abcd")
        .replace(r#"\"shop\""#, groups)
        .replace("2026-11-22T09:30:00Z", "yyyy-mm-ddThh:mm:ssZ");
    std::fs::write(directory.join("own.json"), text).unwrap();
    let output = ebbtide(&directory, &["demo", "--event", "own.json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("i-1234abcd of ASG prod nodes leaves for good"), "{text}");
    assert!(text.contains("with    Ebbtide    60,000         0\n"), "{text}");
    assert!(text.contains("hook drain-hook: CONTINUE at "), "{text}");
    assert!(text.ends_with("again: --seed 7 --policy cluster --event own.json\n"), "{text}");
}

/// A directory of its own for each test.
fn scratch(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).expect("the directory can be made");
    directory
}

#[track_caller]
fn refused(name: &str, file: &[u8], expected: &str) {
    let directory = scratch("refused");
    let event = format!("{}.json", name.replace(' ', "-"));
    std::fs::write(directory.join(&event), file).expect("the file can be written");
    let output = ebbtide(&directory, &["demo", "--json", "--event", &event]);
    assert_eq!(output.status.code(), Some(2), "{name}");
    assert_eq!(text(output.stdout), "", "{name}");
    let told = text(output.stderr);
    assert_eq!(told, format!("ebbtide demo: {event}: {expected}\n"), "{name}");
}

#[test]
fn a_bad_event_file_is_refused_with_field_value_and_what_was_expected() {
    let good =
        std::fs::read_to_string(Path::new(EVENTS).join("autoscaling.terminate.json")).unwrap();
    let with = |from: &str, to: &str| good.replace(from, to).into_bytes();
    let rows = [
        (
            "bad instance",
            with("i-0a1b2c3d4e5f60718", "node-1"),
            "detail.EC2InstanceId: `node-1`, expected an instance id, i- and 8 or 17 hexadecimal digits",
        ),
        (
            "no hook",
            with("LifecycleHookName", "HookName"),
            "detail.LifecycleHookName: missing, expected a hook name, 1 to 255 letters, digits, hyphens, underscores and slashes",
        ),
        (
            "wrong transition",
            with("EC2_INSTANCE_TERMINATING", "EC2_INSTANCE_LAUNCHING"),
            "detail.LifecycleTransition: `autoscaling:EC2_INSTANCE_LAUNCHING`, expected \
             autoscaling:EC2_INSTANCE_TERMINATING",
        ),
        ("empty", Vec::new(), "empty body, expected an event as JSON"),
        ("not JSON", b"hello".to_vec(), "body: not JSON at byte 0: expected value"),
        (
            "something else",
            b"{\"hello\": 1}".to_vec(),
            "body: an object with `hello`, expected an EventBridge event (`detail-type`) or a \
             lifecycle message (`LifecycleTransition`)",
        ),
        (
            "no records",
            b"{\"Records\": []}".to_vec(),
            "Records: an empty list, expected at least one message",
        ),
        (
            "records of SNS",
            br#"{"Records": [{"eventSource": "aws:sns"}]}"#.to_vec(),
            "Records[0].eventSource: `aws:sns`, expected aws:sqs",
        ),
        (
            "record without body",
            br#"{"Records": [{"eventSource": "aws:sqs"}]}"#.to_vec(),
            "Records[0].body: missing, expected the message as text",
        ),
    ];
    for (name, file, expected) in rows {
        refused(name, &file, expected);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    let directory = scratch("unreadable");
    std::fs::write(directory.join("binary.json"), [0xff, 0xfe, 0x00]).unwrap();
    let rows = [
        ("absent.json", "No such file or directory (os error 2)"),
        ("binary.json", "stream did not contain valid UTF-8"),
    ];
    for (event, why) in rows {
        let output = ebbtide(&directory, &["demo", "--event", event]);
        assert_eq!(output.status.code(), Some(2), "{event}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(told, format!("ebbtide demo: read {event}: {why}\n"));
    }
}

#[test]
fn a_wrong_command_line_is_refused() {
    let rows = [
        (
            &["demo", "--policy", "both"][..],
            "error: invalid value 'both' for '--policy <POLICY>'\n  [possible values: cluster, local]\n",
        ),
        (
            &["demo", "--seed", "x"],
            "error: invalid value 'x' for '--seed <N>': invalid digit found in string\n",
        ),
        (
            &["demo", "--event"],
            "error: a value is required for '--event <FILE>' but none was supplied\n",
        ),
        (&["dance"], "error: unrecognized subcommand 'dance'\n"),
        (
            &["demo", "--storm", "2001"],
            "error: invalid value '2001' for '--storm <N>': expected a number of nodes from 1 to 2000\n",
        ),
        (
            &["demo", "--storm", "-1"],
            "error: invalid value '-1' for '--storm <N>': expected a number of nodes from 1 to 2000\n",
        ),
        (
            &["demo", "--storm", "3", "--event", "x.json"],
            "error: the argument '--storm <N>' cannot be used with '--event <FILE>'\n",
        ),
    ];
    for (arguments, expected) in rows {
        let output = ebbtide(Path::new(EVENTS), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.starts_with(expected), "{arguments:?}: {told}");
    }
}
