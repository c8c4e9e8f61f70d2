//! The one table of settings: variable, key, default, form, reason.

use super::parse::{SPAN_FORM, choice, list, span};
use super::{AtLongestDrain, LaunchDeadline, Mode, PausedHooks, Policy, ProtectedPods, Reaction};
use crate::limits::HIDE_MAX;
use std::time::Duration;

/// One setting of the policy.
#[derive(Debug)]
pub struct Setting {
    /// Its environment variable.
    pub variable: &'static str,
    /// Its key in the `ebbtide` object of a hook's NotificationMetadata; `None`: not overridable by a hook.
    pub key: Option<&'static str>,
    /// Its default, as text.
    pub default: &'static str,
    /// The form of its value.
    pub form: &'static str,
    /// Why the default is what it is.
    pub why: &'static str,
    /// Parses a text into the policy's field; the error is the form expected.
    pub apply: fn(&mut Policy, &str) -> Result<(), String>,
}

/// All settings, in the order of the README's table.
pub const SETTINGS: &[Setting] = &[
    Setting {
        variable: "MODE",
        key: Some("mode"),
        default: "observe",
        form: "observe, act or paused",
        why: "a first deployment must change nothing until somebody has read its reports",
        apply: |policy, text| {
            let modes = [("observe", Mode::Observe), ("act", Mode::Act), ("paused", Mode::Paused)];
            choice(text, &modes).map(|mode| policy.mode = mode)
        },
    },
    Setting {
        variable: "PAUSED_HOOKS",
        key: None,
        default: "leave",
        form: "leave or continue",
        why: "a pause should lose nothing: hooks wait for its end or their own timeout",
        apply: |policy, text| {
            let choices = [("leave", PausedHooks::Leave), ("continue", PausedHooks::Continue)];
            choice(text, &choices).map(|choice| policy.paused_hooks = choice)
        },
    },
    Setting {
        variable: "ASGS",
        key: None,
        default: "",
        form: "names of Auto Scaling groups, comma-separated",
        why: "none: groups tagged ebbtide.dev/managed are ours, all others are not",
        apply: |policy, text| {
            list(text, "names of Auto Scaling groups").map(|names| policy.asgs = names)
        },
    },
    Setting {
        variable: "HOOKS",
        key: None,
        default: "ebbtide-launch,ebbtide-terminate",
        form: "names of lifecycle hooks, comma-separated",
        why: "answering another tool's hook would end its instance early, so only these, or marked ones",
        apply: |policy, text| {
            list(text, "names of lifecycle hooks").map(|names| policy.hooks = names)
        },
    },
    Setting {
        variable: "CLUSTER",
        key: Some("cluster"),
        default: "",
        form: "the name of an EKS cluster",
        why: "none: the instance's tags name its cluster",
        apply: |policy, text| {
            if text.is_empty() {
                policy.cluster = None;
                return Ok(());
            }
            let parsed = text.parse().map_err(|_| "the name of an EKS cluster".to_owned());
            parsed.map(|name| policy.cluster = Some(name))
        },
    },
    Setting {
        variable: "TARGET_GROUPS",
        key: Some("target_groups"),
        default: "",
        form: "ARNs of target groups, comma-separated",
        why: "none: groups that the ASG is attached to are known; others must be named, never guessed",
        apply: |policy, text| {
            list(text, "ARNs of target groups").map(|arns| policy.target_groups = arns)
        },
    },
    Setting {
        variable: "WITHDRAW_FLOOR",
        key: Some("withdraw_floor"),
        default: "50",
        form: "percent, 0 to 100",
        why: "half of the targets can carry a group for the minute or two that replacements need; \
              at 100 nothing leaves before its deadline, at 0 a storm takes all but one at once",
        apply: |policy, text| {
            let number = text.trim_end_matches('%').parse::<u8>().ok();
            let percent = number.filter(|percent| *percent <= 100);
            percent
                .map(|percent| policy.floor_percent = percent)
                .ok_or_else(|| "percent, 0 to 100".into())
        },
    },
    Setting {
        variable: "WITHDRAW_HOLD",
        key: Some("withdraw_hold"),
        default: "5m",
        form: SPAN_FORM,
        why: "a replacement boots and turns healthy in one to three minutes; a scale-in brings none, \
              and must not wait for one for ever",
        apply: |policy, text| span(text).map(|time| policy.withdraw_hold = time),
    },
    Setting {
        variable: "SETTLE_APPLICATION",
        key: Some("settle_application"),
        default: "30s",
        form: SPAN_FORM,
        why: "an Application Load Balancer sends new requests to a deregistered target for 10 to 25 s",
        apply: |policy, text| span(text).map(|time| policy.settle_application = time),
    },
    Setting {
        variable: "SETTLE_NETWORK",
        key: Some("settle_network"),
        default: "120s",
        form: SPAN_FORM,
        why: "a Network Load Balancer opens new connections to a deregistered target for up to 120 s",
        apply: |policy, text| span(text).map(|time| policy.settle_network = time),
    },
    Setting {
        variable: "LONGEST_DRAIN",
        key: Some("longest_drain"),
        default: "1h",
        form: SPAN_FORM,
        why: "longer than any healthy drain; past it a person should look",
        apply: |policy, text| span(text).map(|time| policy.longest_drain = time),
    },
    Setting {
        variable: "AT_LONGEST_DRAIN",
        key: Some("at_longest_drain"),
        default: "go-on",
        form: "go-on or force",
        why: "a budget is somebody's decision; breaking it for a deadline of our own making is not ours",
        apply: |policy, text| {
            let choices = [("go-on", AtLongestDrain::GoOn), ("force", AtLongestDrain::Force)];
            choice(text, &choices).map(|choice| policy.at_longest_drain = choice)
        },
    },
    Setting {
        variable: "PROTECTED_PODS",
        key: Some("protected_pods"),
        default: "honour",
        form: "honour or evict",
        why: "whoever wrote do-not-disrupt or safe-to-evict: false meant it; a hard deadline still ends it",
        apply: |policy, text| {
            let choices = [("honour", ProtectedPods::Honour), ("evict", ProtectedPods::Evict)];
            choice(text, &choices).map(|choice| policy.protected_pods = choice)
        },
    },
    Setting {
        variable: "IMPLICIT_HOLD",
        key: Some("implicit_hold"),
        default: "5m",
        form: SPAN_FORM,
        why: "time for a Service's other pods to turn Ready; where none ever does, the drain goes on",
        apply: |policy, text| span(text).map(|time| policy.implicit_hold = time),
    },
    Setting {
        variable: "REGISTRATION_WAIT",
        key: Some("registration_wait"),
        default: "2m",
        form: SPAN_FORM,
        why: "an instance that is ended right after its launch may still register its node",
        apply: |policy, text| span(text).map(|time| policy.registration_wait = time),
    },
    Setting {
        variable: "LONGEST_LAUNCH",
        key: Some("longest_launch"),
        default: "15m",
        form: SPAN_FORM,
        why: "a node is ready within one to five minutes; after fifteen it will not be, and is replaced",
        apply: |policy, text| span(text).map(|time| policy.longest_launch = time),
    },
    Setting {
        variable: "LAUNCH_DEADLINE",
        key: Some("launch_deadline"),
        default: "abandon",
        form: "abandon or continue",
        why: "a node that is not ready after the hook's whole time would serve errors; AWS replaces it",
        apply: |policy, text| {
            let choices =
                [("abandon", LaunchDeadline::Abandon), ("continue", LaunchDeadline::Continue)];
            choice(text, &choices).map(|choice| policy.launch_deadline = choice)
        },
    },
    Setting {
        variable: "STARTUP_TAINTS",
        key: Some("startup_taints"),
        default: "",
        form: "taint keys, comma-separated",
        why: "none besides the known ones, which every cluster may use",
        apply: |policy, text| list(text, "taint keys").map(|keys| policy.startup_taints = keys),
    },
    Setting {
        variable: "SPOT_WARNING",
        key: Some("spot_warning"),
        default: "drain",
        form: REACTION_FORM,
        why: "EC2 takes the instance in two minutes, whatever we do",
        apply: |policy, text| reaction(text).map(|reaction| policy.spot = reaction),
    },
    Setting {
        variable: "REBALANCE",
        key: Some("rebalance"),
        default: "cordon",
        form: REACTION_FORM,
        why: "two of three recommendations lead to nothing; a cordon costs no capacity, and pods that end \
              meanwhile move by themselves. A load balancer is never touched for one",
        apply: |policy, text| reaction(text).map(|reaction| policy.rebalance = reaction),
    },
    Setting {
        variable: "REBALANCE_HOLD",
        key: Some("rebalance_hold"),
        default: "1h",
        form: HOLD_FORM,
        why: "an interruption that follows at all mostly follows within the hour; a node that stays \
              cordoned for nothing costs its room",
        apply: |policy, text| hold(text).map(|time| policy.rebalance_hold = time),
    },
    Setting {
        variable: "CAPACITY_RESERVATION",
        key: Some("capacity_reservation"),
        default: "drain",
        form: REACTION_FORM,
        why: "EC2 takes the instance when its reservation or block ends, whatever we do",
        apply: |policy, text| reaction(text).map(|reaction| policy.capacity = reaction),
    },
    Setting {
        variable: "MAINTENANCE",
        key: Some("maintenance"),
        default: "drain",
        form: REACTION_FORM,
        why: "the instance is rebooted, stopped or retired at an announced time, whatever we do",
        apply: |policy, text| reaction(text).map(|reaction| policy.maintenance = reaction),
    },
    Setting {
        variable: "MAINTENANCE_LEAD",
        key: Some("maintenance_lead"),
        default: "1h",
        form: HOLD_FORM,
        why: "as long as the longest healthy drain; days ahead, a drain would cost capacity for nothing",
        apply: |policy, text| hold(text).map(|time| policy.maintenance_lead = time),
    },
    Setting {
        variable: "STATE_CHANGE",
        key: Some("state_change"),
        default: "drain",
        form: REACTION_FORM,
        why: "a target of a dead instance fails requests until its health checks notice, 30 to 60 s later",
        apply: |policy, text| reaction(text).map(|reaction| policy.state_change = reaction),
    },
    Setting {
        variable: "OUT_OF_SERVICE",
        key: Some("out_of_service"),
        default: "off",
        form: "off or on",
        why: "the taint deletes pods and detaches volumes by force; only who has volumes that must move at \
              once should ask for that",
        apply: |policy, text| {
            choice(text, &[("off", false), ("on", true)]).map(|on| policy.out_of_service = on)
        },
    },
];

/// The form of a [`Reaction`], for errors.
const REACTION_FORM: &str = "ignore, cordon or drain";

fn reaction(text: &str) -> Result<Reaction, String> {
    let reactions =
        [("ignore", Reaction::Ignore), ("cordon", Reaction::Cordon), ("drain", Reaction::Drain)];
    choice(text, &reactions)
}

/// The form of a span for which a message waits in its queue, which hides it for at most 12 hours.
const HOLD_FORM: &str = "a whole number with a unit: 90s, 5m or 2h (at most 11h)";

fn hold(text: &str) -> Result<Duration, String> {
    span(text).ok().filter(|time| *time <= HIDE_MAX).ok_or_else(|| HOLD_FORM.to_owned())
}

/// The keys that a hook may override, for the error that names them.
pub(super) fn override_keys() -> String {
    let keys: Vec<&str> = SETTINGS.iter().filter_map(|setting| setting.key).collect();
    format!("one of {}", keys.join(", "))
}
