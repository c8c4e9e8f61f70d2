//! Settings: every row's default, good and bad texts, what a hook may override, and what a pause forbids.

use crate::world::{act, id, policy, secs};
use decision::id::ClusterName;
use decision::policy::{
    AtLongestDrain, LaunchDeadline, Mode, Overrides, PausedHooks, Policy, ProtectedPods, Reaction,
    SETTINGS, SettingError, Span,
};
use decision::signal::{Cause, Maintenance, SpotAction, Urgency};
use decision::snapshot::aws::InstanceState;
use proptest::{prop_assert_eq, proptest};
use std::time::Duration;

const SPAN: &str = "a whole number with a unit: 90s, 5m or 2h (at most 48h)";

fn parse(variable: &str, text: &str) -> Result<Policy, Vec<SettingError>> {
    Policy::parse(|name| (name == variable).then(|| text.to_owned()))
}

/// One row of the table: texts that are taken, and texts that are not with the form expected.
struct Row {
    variable: &'static str,
    good: &'static [&'static str],
    bad: &'static [(&'static str, &'static str)],
}

const SPANS: Row = Row {
    variable: "",
    good: &["0s", "90s", "5m", "48h", "172800s", " 5m ", "5 m"],
    bad: &[
        ("5", SPAN),
        ("1.5h", SPAN),
        ("-1s", SPAN),
        ("49h", SPAN),
        ("172801s", SPAN),
        ("m", SPAN),
        ("5d", SPAN),
    ],
};

/// What an interruption may lead to.
const REACTIONS: Row = Row {
    variable: "",
    good: &["ignore", "cordon", "drain", " drain "],
    bad: &[
        ("evict", "ignore or cordon or drain"),
        ("Drain", "ignore or cordon or drain"),
        ("cordon,drain", "ignore or cordon or drain"),
    ],
};

const HOLD: &str = "a whole number with a unit: 90s, 5m or 2h (at most 11h)";

/// Spans for which a message waits in its queue.
const HOLDS: Row = Row {
    variable: "",
    good: &["0s", "90s", "5m", "11h", "39600s"],
    bad: &[("39601s", HOLD), ("12h", HOLD), ("1d", HOLD), ("5", HOLD)],
};

const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-central-1:111122223333:targetgroup/web/0123456789abcdef";

const ROWS: &[Row] = &[
    Row {
        variable: "MODE",
        good: &["observe", "act", "paused", " act "],
        bad: &[("Act", "observe or act or paused"), ("on", "observe or act or paused")],
    },
    Row {
        variable: "PAUSED_HOOKS",
        good: &["leave", "continue"],
        bad: &[("abandon", "leave or continue")],
    },
    Row {
        variable: "ASGS",
        good: &["workers", "workers, spot", "workers,,spot,"],
        bad: &[("a:b", "names of Auto Scaling groups, comma-separated")],
    },
    Row {
        variable: "HOOKS",
        good: &["drain", "drain,launch"],
        bad: &[("drain hook", "names of lifecycle hooks, comma-separated")],
    },
    Row {
        variable: "CLUSTER",
        good: &["prod"],
        bad: &[("prod cluster", "the name of an EKS cluster")],
    },
    Row {
        variable: "TARGET_GROUPS",
        good: &[ARN],
        bad: &[("web", "ARNs of target groups, comma-separated")],
    },
    Row {
        variable: "WITHDRAW_FLOOR",
        good: &["0", "50", "100", "50%"],
        bad: &[
            ("101", "percent, 0 to 100"),
            ("-1", "percent, 0 to 100"),
            ("half", "percent, 0 to 100"),
        ],
    },
    Row { variable: "WITHDRAW_HOLD", ..SPANS },
    Row { variable: "SETTLE_APPLICATION", ..SPANS },
    Row { variable: "SETTLE_NETWORK", ..SPANS },
    Row { variable: "LONGEST_DRAIN", ..SPANS },
    Row {
        variable: "AT_LONGEST_DRAIN",
        good: &["go-on", "force"],
        bad: &[("goon", "go-on or force")],
    },
    Row {
        variable: "PROTECTED_PODS",
        good: &["honour", "evict"],
        bad: &[("honor", "honour or evict")],
    },
    Row { variable: "IMPLICIT_HOLD", ..SPANS },
    Row { variable: "REGISTRATION_WAIT", ..SPANS },
    Row { variable: "LONGEST_LAUNCH", ..SPANS },
    Row {
        variable: "LAUNCH_DEADLINE",
        good: &["abandon", "continue"],
        bad: &[("retain", "abandon or continue")],
    },
    Row { variable: "STARTUP_TAINTS", good: &["example.com/agent", "a,b"], bad: &[] },
    Row { variable: "SPOT_WARNING", ..REACTIONS },
    Row { variable: "REBALANCE", ..REACTIONS },
    Row { variable: "REBALANCE_HOLD", ..HOLDS },
    Row { variable: "CAPACITY_RESERVATION", ..REACTIONS },
    Row { variable: "MAINTENANCE", ..REACTIONS },
    Row { variable: "MAINTENANCE_LEAD", ..HOLDS },
    Row { variable: "STATE_CHANGE", ..REACTIONS },
    Row {
        variable: "OUT_OF_SERVICE",
        good: &["on", "off"],
        bad: &[("true", "off or on"), ("On", "off or on")],
    },
];

#[track_caller]
fn check_row(row: &Row) {
    for text in row.good {
        assert_eq!(parse(row.variable, text).err(), None, "{}={text}", row.variable);
    }
    for (text, expected) in row.bad {
        let wanted = format!("{}: `{text}`, expected {expected}", row.variable);
        let errors: Vec<String> = parse(row.variable, text)
            .err()
            .into_iter()
            .flatten()
            .map(|error| error.to_string())
            .collect();
        assert_eq!(errors, [wanted]);
    }
}

#[test]
fn each_setting_takes_what_it_says_and_names_what_it_does_not() {
    for row in ROWS {
        check_row(row);
    }
}

#[test]
fn each_setting_has_a_row_here_and_a_default_that_parses() {
    let tested: Vec<&str> = ROWS.iter().map(|row| row.variable).collect();
    let known: Vec<&str> = SETTINGS.iter().map(|setting| setting.variable).collect();
    assert_eq!(tested, known);
    for setting in SETTINGS {
        assert_eq!(
            (setting.apply)(&mut Policy::default(), setting.default),
            Ok(()),
            "{}",
            setting.variable
        );
    }
}

#[test]
fn the_defaults_are_what_the_table_says() {
    let policy = Policy::parse(|_| None).expect("the defaults parse");
    assert_eq!(policy, Policy::default());
    assert_eq!(policy.mode, Mode::Observe, "a first deployment changes nothing");
    assert_eq!(policy.paused_hooks, PausedHooks::Leave);
    assert!(
        policy.asgs.is_empty()
            && policy.target_groups.is_empty()
            && policy.startup_taints.is_empty()
    );
    let hooks: Vec<&str> = policy.hooks.iter().map(decision::id::HookName::as_str).collect();
    assert_eq!(hooks, ["ebbtide-launch", "ebbtide-terminate"]);
    assert_eq!(policy.cluster, None);
    assert_eq!((policy.floor_percent, policy.withdraw_hold), (50, secs(300)));
    assert_eq!((policy.settle_application, policy.settle_network), (secs(30), secs(120)));
    assert_eq!(
        (policy.longest_drain, policy.at_longest_drain),
        (secs(3_600), AtLongestDrain::GoOn)
    );
    assert_eq!((policy.protected_pods, policy.implicit_hold), (ProtectedPods::Honour, secs(300)));
    assert_eq!((policy.registration_wait, policy.longest_launch), (secs(120), secs(900)));
    assert_eq!(policy.launch_deadline, LaunchDeadline::Abandon);
    let drained = [policy.spot, policy.capacity, policy.maintenance, policy.state_change];
    assert_eq!(drained, [Reaction::Drain; 4], "AWS takes these whatever we do");
    assert_eq!((policy.rebalance, policy.rebalance_hold), (Reaction::Cordon, secs(3_600)));
    assert_eq!(policy.maintenance_lead, secs(3_600));
    assert!(!policy.out_of_service, "it deletes pods by force");
}

#[test]
fn each_kind_of_interruption_has_its_own_reaction() {
    let maintenance = Maintenance {
        arn: "arn:aws:health:eu-central-1::event/EC2/x/y".to_owned(),
        code: "AWS_EC2_INSTANCE_STOP_SCHEDULED".to_owned(),
        urgency: Urgency::AtStart,
        closed: false,
    };
    let rows = [
        ("SPOT_WARNING", vec![Cause::Spot(SpotAction::Stop), Cause::Spot(SpotAction::Hibernate)]),
        ("REBALANCE", vec![Cause::Rebalance]),
        ("CAPACITY_RESERVATION", vec![Cause::CapacityReservation, Cause::CapacityBlock]),
        ("MAINTENANCE", vec![Cause::Maintenance(maintenance)]),
        ("STATE_CHANGE", vec![Cause::State(InstanceState::Stopping)]),
    ];
    for (variable, causes) in &rows {
        let ignoring = policy(&[(variable, "ignore")]);
        for (other, others) in &rows {
            for cause in others {
                let ignored = ignoring.reaction(cause) == Reaction::Ignore;
                assert_eq!(ignored, variable == other, "{variable}=ignore and {cause}");
            }
        }
        assert!(causes.iter().all(|cause| act().reaction(cause) != Reaction::Ignore), "{variable}");
    }
}

#[test]
fn an_empty_text_is_the_default() {
    assert_eq!(parse("MODE", "  ").expect("parses").mode, Mode::Observe);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let errors = Policy::parse(|name| match name {
        "MODE" => Some("on".to_owned()),
        "WITHDRAW_FLOOR" => Some("101".to_owned()),
        "LONGEST_DRAIN" => Some("1d".to_owned()),
        _ => None,
    });
    let names: Vec<String> = errors.err().into_iter().flatten().map(|error| error.name).collect();
    assert_eq!(names, ["MODE", "WITHDRAW_FLOOR", "LONGEST_DRAIN"]);
}

// ---- Overrides -----------------------------------------------------------------------------------

/// What becomes of one NotificationMetadata.
enum Meant<'a> {
    /// Not ours.
    Foreign,
    /// Ours, and the policy of mode `act` becomes this one.
    Policy(&'a [(&'a str, &'a str)]),
    /// Ours, with mistakes.
    Mistakes(&'a [&'a str]),
}

#[track_caller]
fn check_override(name: &str, metadata: Option<&str>, meant: &Meant<'_>) {
    let parsed = Overrides::parse(metadata);
    match (parsed, meant) {
        (Ok(None), Meant::Foreign) => {}
        (Ok(Some(overrides)), Meant::Policy(settings)) => {
            assert_eq!(act().overridden(&overrides), policy(settings), "{name}");
        }
        (Err(errors), Meant::Mistakes(texts)) => {
            let errors: Vec<String> = errors.iter().map(SettingError::to_string).collect();
            assert_eq!(errors, *texts, "{name}");
        }
        (parsed, _) => panic!("{name}: {parsed:?}"),
    }
}

const KEYS: &str = "one of mode, cluster, target_groups, withdraw_floor, withdraw_hold, settle_application, \
                    settle_network, longest_drain, at_longest_drain, protected_pods, implicit_hold, \
                    registration_wait, longest_launch, launch_deadline, startup_taints, spot_warning, \
                    rebalance, rebalance_hold, capacity_reservation, maintenance, \
                    maintenance_lead, state_change, out_of_service";

#[test]
fn a_hooks_metadata_overrides_what_it_names() {
    use Meant::{Foreign, Policy};
    let several =
        r#"{"team":"shop","ebbtide":{"cluster":"other","longest_drain":"2h","withdraw_floor":75}}"#;
    let rows: &[(&str, &str, Meant<'_>)] = &[
        ("an empty object", r#"{"ebbtide":{}}"#, Policy(&[])),
        ("true", r#"{"ebbtide":true}"#, Policy(&[])),
        ("false is not ours", r#"{"ebbtide":false}"#, Foreign),
        ("not JSON", "drain me", Foreign),
        ("foreign JSON", r#"{"cluster":"prod"}"#, Foreign),
        ("JSON that is no object", r#"["ebbtide"]"#, Foreign),
        ("empty", "", Foreign),
        ("one setting", r#"{"ebbtide":{"mode":"observe"}}"#, Policy(&[("MODE", "observe")])),
        (
            "several, besides somebody else's",
            several,
            Policy(&[("CLUSTER", "other"), ("LONGEST_DRAIN", "2h"), ("WITHDRAW_FLOOR", "75")]),
        ),
        (
            "a list",
            r#"{"ebbtide":{"startup_taints":["a","b"]}}"#,
            Policy(&[("STARTUP_TAINTS", "a,b")]),
        ),
    ];
    for (name, metadata, meant) in rows {
        check_override(name, Some(metadata), meant);
    }
    check_override("absent", None, &Foreign);
}

#[test]
fn mistakes_in_a_hooks_metadata_are_told_all_at_once() {
    let rows: &[(&str, &str, &[&str])] = &[
        (
            "a bad value",
            r#"{"ebbtide":{"withdraw_floor":101}}"#,
            &["withdraw_floor: `101`, expected percent, 0 to 100"],
        ),
        (
            "two mistakes",
            r#"{"ebbtide":{"mode":"on","longest_drain":"1d"}}"#,
            &[
                "longest_drain: `1d`, expected a whole number with a unit: 90s, 5m or 2h (at most 48h)",
                "mode: `on`, expected observe or act or paused",
            ],
        ),
        (
            "null is no cluster of that name",
            r#"{"ebbtide":{"cluster":null}}"#,
            &["cluster: `null`, expected the name of an EKS cluster"],
        ),
        (
            "a list of numbers",
            r#"{"ebbtide":{"target_groups":[1,2]}}"#,
            &["target_groups: `[1,2]`, expected ARNs of target groups, comma-separated"],
        ),
        (
            "neither object nor true",
            r#"{"ebbtide":"act"}"#,
            &["ebbtide: `\"act\"`, expected an object of settings, or true"],
        ),
    ];
    for (name, metadata, texts) in rows {
        check_override(name, Some(metadata), &Meant::Mistakes(texts));
    }
    // A key that nobody knows, and one that no hook may set.
    for key in ["modus", "asgs"] {
        let metadata = format!(r#"{{"ebbtide":{{"{key}":"act"}}}}"#);
        let expected = format!("{key}: `\"act\"`, expected {KEYS}");
        check_override(key, Some(&metadata), &Meant::Mistakes(&[&expected]));
    }
}

#[test]
fn a_pause_is_for_everything_and_no_hook_undoes_it() {
    let paused = policy(&[("MODE", "paused")]);
    let overrides = Overrides::parse(Some(r#"{"ebbtide":{"mode":"act","cluster":"other"}}"#));
    let overrides = overrides.expect("parses").expect("ours");
    assert_eq!(paused.overridden(&overrides), paused);
    let cluster: ClusterName = id("other");
    assert_eq!(act().overridden(&overrides).cluster, Some(cluster), "without a pause it counts");
}

// ---- Spans ---------------------------------------------------------------------------------------

#[test]
fn a_span_is_told_in_its_largest_whole_unit() {
    let rows = [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (90, "90s"),
        (3_599, "3599s"),
        (3_600, "1h"),
        (172_800, "48h"),
    ];
    for (seconds, text) in rows {
        assert_eq!(Span(secs(seconds)).to_string(), text);
    }
}

proptest! {
    #[test]
    fn what_a_span_prints_it_parses(seconds in 0_u64..=172_800) {
        let span = Span(Duration::from_secs(seconds));
        prop_assert_eq!(span.to_string().parse(), Ok(span));
    }
}
