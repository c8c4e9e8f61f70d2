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
            // Not checked while it drains or can't have traffic; a new registration begins anew.
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

    /// A target of a stopped or terminated instance is `unused`, and one that is started again begins anew.
    pub(crate) fn instance_changed(world: &mut World, id: &str, state: State) {
        let elb = &world.aws.elb;
        let subjects: Vec<Subject> = elb
            .groups
            .values()
            .filter(|group| group.spec.target_type == TargetType::Instance)
            .flat_map(|group| {
                let keys = (id.to_owned(), 0)..=(id.to_owned(), u16::MAX);
                group.targets.range(keys).map(|(key, target)| Subject {
                    group: group.arn.clone(),
                    key: key.clone(),
                    epoch: target.epoch,
                })
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
        let draining = Self::target_mut(world, subject)
            .is_none_or(|target| matches!(target.health, Health::Draining { .. }));
        if gone && !draining {
            Self::turn(world, subject, Health::Unused(reason));
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
