//! Health checks, and what they make of a target.
//!
//! Each target is checked at its own interval. A new target of an ALB is healthy after one passed check,
//! one of an NLB after the threshold; an unhealthy one always needs the threshold.

use super::{Elb, Kind, Step, Subject, TargetType};
use crate::aws::AwsEvent;
use crate::aws::ec2::State;
use crate::world::{Event, Millis, World};

/// The state of a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Health {
    /// Registered, not yet checked often enough.
    Initial(Reason),
    /// It answers.
    Healthy,
    /// It does not.
    Unhealthy(Reason),
    /// Deregistered; shown until the whole deregistration delay has passed.
    Draining {
        /// When it is gone from the group.
        until: Millis,
    },
    /// It can't have traffic.
    Unused(Reason),
}

/// Why a target is not healthy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reason {
    /// `Elb.RegistrationInProgress`
    RegistrationInProgress,
    /// `Elb.InitialHealthChecking`
    InitialHealthChecking,
    /// `Target.ResponseCodeMismatch`
    ResponseCodeMismatch,
    /// `Target.Timeout`
    Timeout,
    /// `Target.FailedHealthChecks`
    FailedHealthChecks,
    /// `Target.NotRegistered`
    NotRegistered,
    /// `Target.NotInUse`
    NotInUse,
    /// `Target.InvalidState`, of a stopped instance
    Stopped,
    /// `Target.InvalidState`, of a terminated instance
    Terminated,
}

impl Health {
    /// ELBv2's word, reason and sentence.
    pub fn describe(self) -> (&'static str, Option<(&'static str, &'static str)>) {
        match self {
            Self::Initial(reason) => ("initial", Some(reason.describe())),
            Self::Healthy => ("healthy", None),
            Self::Unhealthy(reason) => ("unhealthy", Some(reason.describe())),
            Self::Draining { .. } => (
                "draining",
                Some(("Target.DeregistrationInProgress", "Target deregistration is in progress")),
            ),
            Self::Unused(reason) => ("unused", Some(reason.describe())),
        }
    }
}

impl Reason {
    fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::RegistrationInProgress => {
                ("Elb.RegistrationInProgress", "Target registration is in progress")
            }
            Self::InitialHealthChecking => {
                ("Elb.InitialHealthChecking", "Initial health checks in progress")
            }
            Self::ResponseCodeMismatch => {
                ("Target.ResponseCodeMismatch", "Health checks failed with these codes: [503]")
            }
            Self::Timeout => ("Target.Timeout", "Request timed out"),
            Self::FailedHealthChecks => ("Target.FailedHealthChecks", "Health checks failed"),
            Self::NotRegistered => {
                ("Target.NotRegistered", "Target is not registered to the target group")
            }
            Self::NotInUse => (
                "Target.NotInUse",
                "Target group is not configured to receive traffic from the load balancer",
            ),
            Self::Stopped => ("Target.InvalidState", "Target is in the stopped state"),
            Self::Terminated => ("Target.InvalidState", "Target is in the terminated state"),
        }
    }
}

impl Elb {
    /// One health check of one target, and the next one planned.
    pub(super) fn check(world: &mut World, subject: Subject) {
        if Self::is_leaving(world, &subject) {
            return Self::check_leaving(world, subject);
        }
        let (id, port) = (subject.key.0.as_str(), subject.key.1);
        let answers = (world.aws.elb.probe)(world, id, port);
        let up = !id.starts_with("i-") || world.aws.ec2.is_up(id);
        let Some(group) = world.aws.elb.groups.get_mut(&subject.group) else { return };
        let (kind, interval) = (group.spec.kind, group.spec.health_check_interval_seconds);
        let (healthy_after, unhealthy_after) =
            (group.spec.healthy_threshold, group.spec.unhealthy_threshold);
        let Some(target) = group.targets.get_mut(&subject.key) else { return };
        if target.epoch != subject.epoch {
            return;
        }
        let before = target.health;
        let why = match kind {
            Kind::Alb if up => Reason::ResponseCodeMismatch,
            Kind::Alb => Reason::Timeout,
            Kind::Nlb => Reason::FailedHealthChecks,
        };
        let first_after = if kind == Kind::Alb { 1 } else { healthy_after };
        if answers {
            (target.passed, target.failed) = (target.passed + 1, 0);
        } else {
            (target.passed, target.failed) = (0, target.failed + 1);
        }
        let after = match before {
            // Not checked while it can't have traffic, nor once nobody sends to it; a new registration begins anew.
            Health::Draining { .. } | Health::Unused(_) => return,
            Health::Initial(_) if target.passed >= first_after => Health::Healthy,
            Health::Unhealthy(_) if target.passed >= healthy_after => Health::Healthy,
            Health::Healthy | Health::Initial(_) if target.failed >= unhealthy_after => {
                Health::Unhealthy(why)
            }
            Health::Initial(_) => Health::Initial(Reason::InitialHealthChecking),
            Health::Healthy | Health::Unhealthy(_) => before,
        };
        Self::turn(world, &subject, after);
        world.after(interval * 1_000, Event::Aws(AwsEvent::Elb(Step::Check(subject))));
    }

    /// Whether the target is deregistered, and the load balancer has not heard of it yet.
    fn is_leaving(world: &World, subject: &Subject) -> bool {
        let Some(group) = world.aws.elb.groups.get(&subject.group) else { return false };
        match group.targets.get(&subject.key) {
            Some(target) => {
                let drains = matches!(target.health, Health::Draining { .. });
                target.epoch == subject.epoch && drains && target.is_routable(world.now)
            }
            None => group
                .lingering
                .get(&subject.key)
                .is_some_and(|it| it.epoch == subject.epoch && world.now < it.until),
        }
    }

    /// One health check of such a target, and the next one planned. DescribeTargetHealth says `draining` all the same.
    fn check_leaving(world: &mut World, subject: Subject) {
        let answers = (world.aws.elb.probe)(world, &subject.key.0, subject.key.1);
        let Some(group) = world.aws.elb.groups.get_mut(&subject.group) else { return };
        let interval_ms = group.spec.health_check_interval_seconds * 1_000;
        let unhealthy_after = group.spec.unhealthy_threshold;
        let target = group.targets.get_mut(&subject.key).map(|target| &mut target.failed);
        let lingering = group.lingering.get_mut(&subject.key).map(|it| &mut it.failed);
        let Some(failed) = target.or(lingering) else { return };
        *failed = if answers { 0 } else { *failed + 1 };
        if *failed >= unhealthy_after {
            Self::leave_early(world, &subject);
        }
        world.after(interval_ms, Event::Aws(AwsEvent::Elb(Step::Check(subject))));
    }

    /// The load balancer finds that a deregistered target is of no use before it hears of the deregistration.
    fn leave_early(world: &mut World, subject: &Subject) {
        let leaves = world.now + world.rng.i64(world.aws.elb.lag.unhealthy_ms.clone());
        let Some(group) = world.aws.elb.groups.get_mut(&subject.group) else { return };
        let until = match group.targets.get_mut(&subject.key) {
            Some(target) if target.epoch == subject.epoch => target.routable_until.as_mut(),
            Some(_) => None,
            None => {
                let lingering = group.lingering.get_mut(&subject.key);
                lingering.filter(|it| it.epoch == subject.epoch).map(|it| &mut it.until)
            }
        };
        let Some(until) = until.filter(|until| leaves < **until) else { return };
        *until = leaves;
        Self::changed(world, &subject.group, &subject.key);
        world.plan(leaves, Event::Aws(AwsEvent::Elb(Step::Rerouted(subject.clone()))));
    }

    /// A target of a stopped or terminated instance is `unused`, and one that is started again begins anew.
    pub(crate) fn instance_changed(world: &mut World, id: &str, state: State) {
        let elb = &world.aws.elb;
        let subjects: Vec<Subject> = elb
            .groups
            .values()
            .filter(|group| group.spec.target_type == TargetType::Instance)
            .flat_map(|group| {
                let keys = || (id.to_owned(), 0)..=(id.to_owned(), u16::MAX);
                let targets = group.targets.range(keys()).map(|(key, it)| (key, it.epoch));
                let lingering = group.lingering.range(keys()).map(|(key, it)| (key, it.epoch));
                let subject = |(key, epoch): (&(String, u16), u32)| Subject {
                    group: group.arn.clone(),
                    key: key.clone(),
                    epoch,
                };
                targets.chain(lingering).map(subject)
            })
            .collect();
        for subject in subjects {
            match state {
                State::Running => Self::back(world, subject),
                State::Stopped | State::Terminated => {
                    let lag = world.rng.i64(world.aws.elb.lag.gone_ms.clone());
                    world.after(lag, Event::Aws(AwsEvent::Elb(Step::Gone(subject, state))));
                }
                State::Pending | State::ShuttingDown | State::Stopping => {}
            }
        }
    }

    /// Checks the target of an instance that was started again as if it were new.
    fn back(world: &mut World, mut subject: Subject) {
        let first = world.rng.i64(world.aws.elb.lag.first_check_ms.clone());
        let epoch = world.aws.elb.epoch + 1;
        let Some(target) = Self::target_mut(world, &subject) else { return };
        if !matches!(target.health, Health::Unused(Reason::Stopped)) {
            return;
        }
        target.epoch = epoch;
        (target.passed, target.failed) = (0, 0);
        world.aws.elb.epoch = epoch;
        subject.epoch = epoch;
        Self::turn(world, &subject, Health::Initial(Reason::InitialHealthChecking));
        world.after(first, Event::Aws(AwsEvent::Elb(Step::Check(subject))));
    }

    pub(super) fn gone(world: &mut World, subject: &Subject, state: State) {
        let reason = if state == State::Stopped { Reason::Stopped } else { Reason::Terminated };
        let gone = world.aws.ec2.state(&subject.key.0).is_none_or(|now| now == state);
        if !gone {
            return;
        }
        match Self::target_mut(world, subject).map(|target| target.health) {
            // Shown as draining still, but nobody sends there any more.
            Some(Health::Draining { .. }) | None => Self::leave_early(world, subject),
            Some(_) => Self::turn(world, subject, Health::Unused(reason)),
        }
    }

    /// Gives a target its next state, and the load balancer's view what follows from it.
    fn turn(world: &mut World, subject: &Subject, health: Health) {
        let lag = &world.aws.elb.lag;
        let (within, without) = (lag.in_ms.clone(), lag.unhealthy_ms.clone());
        let now = world.now;
        let arrives = now + world.rng.i64(within);
        let leaves = now + world.rng.i64(without);
        let Some(target) = Self::target_mut(world, subject) else { return };
        if target.health == health {
            return;
        }
        target.health = health;
        target.since = now;
        let changes_at = match health {
            Health::Healthy => {
                if target.is_routable(now) {
                    target.routable_until = None;
                    now
                } else {
                    target.routable_since = Some(arrives);
                    target.routable_until = None;
                    arrives
                }
            }
            Health::Initial(_) | Health::Draining { .. } => now,
            Health::Unhealthy(_) | Health::Unused(_) => {
                let until = target.routable_until.map_or(leaves, |until| until.min(leaves));
                target.routable_until = Some(until);
                until
            }
        };
        Self::changed(world, &subject.group, &subject.key);
        if changes_at > now {
            world.plan(changes_at, Event::Aws(AwsEvent::Elb(Step::Rerouted(subject.clone()))));
        }
    }
}
