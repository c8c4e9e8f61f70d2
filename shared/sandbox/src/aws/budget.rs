//! What the account may ask for: token buckets, and the rights that were taken away.
//!
//! The buckets belong to the account and Region, so all processes share them, as they would share them
//! with every other tool. ELBv2's numbers are published; those of EC2 and Auto Scaling are plausible.

use super::protocol::{Refusal, Service};
use crate::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// A token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Tokens that it holds when full.
    pub burst: i64,
    /// Tokens that it regains in a second.
    pub per_second: i64,
    /// Thousandths of a token.
    level: i64,
    at: Millis,
}

impl Bucket {
    /// A full bucket.
    pub fn new(burst: i64, per_second: i64) -> Self {
        Self { burst, per_second, level: burst * 1_000, at: 0 }
    }

    fn refill(&mut self, now: Millis) {
        // A token a second is a thousandth of a token a millisecond.
        let regained = (now - self.at).max(0).saturating_mul(self.per_second);
        self.level = self.level.saturating_add(regained).min(self.burst * 1_000);
        self.at = now;
    }
}

/// All budgets and rights of the account.
#[derive(Clone, Debug)]
pub struct Budgets {
    /// All ELBv2 actions together: 40, refilled at 10/s.
    pub elb_all: Bucket,
    /// RegisterTargets and DeregisterTargets: 20, refilled at 4/s.
    pub elb_write: Bucket,
    /// Describe actions of ELBv2: 40, refilled at 10/s.
    pub elb_describe: Bucket,
    /// Describe actions of EC2: 100, refilled at 20/s.
    pub ec2: Bucket,
    /// Auto Scaling publishes no numbers; generous.
    pub autoscaling: Bucket,
    /// EKS DescribeCluster; generous.
    pub eks: Bucket,
    /// EventBridge PutEvents: 600/s in the smaller Regions.
    pub events: Bucket,
    /// Calls that were throttled, by the service's name in IAM.
    pub throttled: BTreeMap<&'static str, u32>,
    /// The same by action: `elasticloadbalancing:DeregisterTargets`.
    pub throttled_actions: BTreeMap<String, u32>,
    /// Actions that are denied, as in IAM: `autoscaling:CompleteLifecycleAction`.
    pub denied: BTreeSet<String>,
    /// The same for one role each: `(lifecycle, autoscaling:CompleteLifecycleAction)`.
    pub denied_to: BTreeSet<(String, String)>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            elb_all: Bucket::new(40, 10),
            elb_write: Bucket::new(20, 4),
            elb_describe: Bucket::new(40, 10),
            ec2: Bucket::new(100, 20),
            autoscaling: Bucket::new(200, 50),
            eks: Bucket::new(50, 10),
            events: Bucket::new(600, 600),
            throttled: BTreeMap::new(),
            throttled_actions: BTreeMap::new(),
            denied: BTreeSet::new(),
            denied_to: BTreeSet::new(),
        }
    }
}

impl Budgets {
    /// Pays for one call, or says in the service's words why not.
    pub(crate) fn admit(
        &mut self,
        (service, action): (Service, &str),
        who: &str,
        now: Millis,
    ) -> Result<(), Refusal> {
        let name = format!("{}:{action}", service.name());
        // Of SQS, a batch of calls needs the right of one.
        let right = name.strip_suffix("Batch").filter(|_| service == Service::Sqs).unwrap_or(&name);
        // Whoever has a key may ask whose it is: no policy can forbid that.
        if service != Service::Sts && self.is_denied(right, who) {
            return Err(denied(service, right, who));
        }
        let buckets: &mut [&mut Bucket] = match service {
            Service::Elb if action.starts_with("Describe") => {
                &mut [&mut self.elb_all, &mut self.elb_describe]
            }
            Service::Elb => &mut [&mut self.elb_all, &mut self.elb_write],
            Service::Ec2 => &mut [&mut self.ec2],
            Service::Autoscaling => &mut [&mut self.autoscaling],
            Service::Eks => &mut [&mut self.eks],
            Service::Events => &mut [&mut self.events],
            // Standard queues take practically any number of calls; STS publishes no numbers.
            Service::Sqs | Service::Sts => &mut [],
        };
        for bucket in buckets.iter_mut() {
            bucket.refill(now);
        }
        if buckets.iter().any(|bucket| bucket.level < 1_000) {
            *self.throttled.entry(service.name()).or_default() += 1;
            *self.throttled_actions.entry(name).or_default() += 1;
            return Err(throttled(service));
        }
        for bucket in buckets.iter_mut() {
            bucket.level -= 1_000;
        }
        Ok(())
    }
}

impl Budgets {
    /// Whether an action is denied to whoever has this ARN: `arn:aws:sts::123456789012:assumed-role/ROLE/SESSION`.
    fn is_denied(&self, action: &str, who: &str) -> bool {
        let role = who.split('/').nth(1).unwrap_or_default();
        let mut to_roles = self.denied_to.iter();
        self.denied.contains(action)
            || to_roles.any(|(whose, what)| whose == role && what == action)
    }
}

/// How each service says that it was asked too often.
pub(crate) fn throttled(service: Service) -> Refusal {
    match service {
        Service::Ec2 => Refusal::new(503, "RequestLimitExceeded", "Request limit exceeded."),
        Service::Autoscaling | Service::Sts => Refusal::new(400, "Throttling", "Rate exceeded"),
        Service::Eks => Refusal::new(429, "ThrottlingException", "Rate exceeded"),
        Service::Sqs => Refusal::new(400, "RequestThrottled", "Request is throttled."),
        Service::Elb | Service::Events => Refusal::new(400, "ThrottlingException", "Rate exceeded"),
    }
}

/// How each service says that a policy is missing.
fn denied(service: Service, name: &str, who: &str) -> Refusal {
    // SQS shows actions in small letters.
    let name = if service == Service::Sqs { name.to_lowercase() } else { name.to_owned() };
    let message = format!(
        "User: {who} is not authorized to perform: {name} because no identity-based policy allows the {name} action"
    );
    match service {
        Service::Ec2 => Refusal::new(
            403,
            "UnauthorizedOperation",
            format!("You are not authorized to perform this operation. {message}"),
        ),
        Service::Eks => Refusal::new(403, "AccessDeniedException", message),
        Service::Events => Refusal::new(400, "AccessDeniedException", message),
        Service::Autoscaling | Service::Elb | Service::Sqs | Service::Sts => {
            Refusal::new(403, "AccessDenied", message)
        }
    }
}
