//! What goes wrong on the way between a client and the world.
//!
//! Each call asks once: a window (an outage) is looked at first, then the scripts, then the seeded
//! chances. A fault says on which side of the call's effect it falls, since a client cannot tell:
//!
//! ```text
//!   client ──latency──┬── effect ──┬──latency── client
//!             throttled, 5xx     timed out after,
//!             timed out before,  reset after
//!             reset before
//! ```

use crate::world::{Millis, World};
use std::sync::Arc;

/// One thing that goes wrong with one call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Refused by a rate limit, without effect.
    Throttled,
    /// Answered with a 5xx, without effect.
    ServerError,
    /// Never answered, without effect: the client's own timeout must end it.
    TimedOutBefore,
    /// Never answered, but done.
    TimedOutAfter,
    /// The connection breaks before the request arrives.
    ResetBefore,
    /// The connection breaks before the answer arrives; the request is done.
    ResetAfter,
    /// A read that AWS answers from a copy up to a second old. Of no effect on any other call.
    Stale,
    /// Answered late, by up to [`SLOW_MS_MAX`].
    Slow,
}

/// The longest extra wait of a slow answer: longer than a careful client's attempt timeout of 1-2 s.
pub const SLOW_MS_MAX: Millis = 3_000;

/// Which calls are meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Every call on both wires.
    All,
    /// Every call to an API server.
    Kubernetes,
    /// Every call to the API server of one cluster, by the name that its wire was made with.
    Cluster(String),
    /// Every call to AWS.
    Aws,
    /// Calls to one AWS service: `ec2`, `autoscaling`, `elasticloadbalancing`, `sqs`, `eks`.
    Service(String),
    /// Calls whose operation contains this text: `DescribeTargetHealth`, `PATCH nodes`, `eviction`.
    Operation(String),
}

impl Scope {
    /// Calls whose operation contains `part`.
    pub fn operation(part: &str) -> Self {
        Self::Operation(part.to_owned())
    }

    fn covers(&self, wire: &Wire, operation: &str) -> bool {
        match self {
            Self::All => true,
            Self::Kubernetes => matches!(wire, Wire::Kubernetes(_)),
            Self::Cluster(name) => {
                matches!(wire, Wire::Kubernetes(cluster) if **cluster == **name)
            }
            Self::Aws => *wire == Wire::Aws,
            Self::Service(service) => {
                *wire == Wire::Aws && operation.split(':').next() == Some(service.as_str())
            }
            Self::Operation(part) => operation.contains(part.as_str()),
        }
    }
}

/// The two wires.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wire {
    /// To an API server; the cluster's name, or nothing for the first one.
    Kubernetes(Arc<str>),
    /// To the AWS services.
    Aws,
}

/// A fault that strikes by chance.
#[derive(Clone, Debug)]
pub struct Chance {
    /// Which calls.
    pub scope: Scope,
    /// What happens to them.
    pub fault: Fault,
    /// How often.
    pub per_mille: u32,
}

/// A fault that strikes one call, by number.
#[derive(Clone, Debug)]
pub struct Script {
    scope: Scope,
    nth: u32,
    fault: Fault,
    seen: u32,
}

impl Script {
    /// `fault` for the `nth` call (from 1) in `scope`, counted from now on.
    pub fn new(scope: Scope, nth: u32, fault: Fault) -> Self {
        Self { scope, nth, fault, seen: 0 }
    }
}

/// A time in which all calls in a scope fail the same way: an outage.
#[derive(Clone, Debug)]
pub struct Window {
    /// Which calls.
    pub scope: Scope,
    /// From when on.
    pub from: Millis,
    /// Until when, exclusive.
    pub to: Millis,
    /// How: usually reset before (refused) or timed out before (packets are lost).
    pub fault: Fault,
}

/// Everything that may go wrong in one world. The default: nothing.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// By chance.
    pub chances: Vec<Chance>,
    /// By number.
    pub scripts: Vec<Script>,
    /// By time.
    pub windows: Vec<Window>,
    /// How many of a thousand Lambda invocations are killed half-way.
    pub kills_per_mille: u32,
    /// Invocations to kill (their number from 1) and at which of their waits (from 1).
    pub kills: Vec<(u64, u32)>,
    /// All faults so far: when, which operation, what.
    pub struck: Vec<(Millis, String, Fault)>,
}

impl Faults {
    /// Whether AWS reads may be stale in this world, so that copies must be kept.
    pub(crate) fn stale_possible(&self) -> bool {
        self.chances.iter().any(|chance| chance.fault == Fault::Stale)
            || self.scripts.iter().any(|script| script.fault == Fault::Stale)
            || self.windows.iter().any(|window| window.fault == Fault::Stale)
    }

    /// The outage that covers `operation` now.
    pub(crate) fn outage(&self, now: Millis, wire: &Wire, operation: &str) -> Option<&Window> {
        self.windows.iter().find(|window| {
            (window.from..window.to).contains(&now) && window.scope.covers(wire, operation)
        })
    }

    /// From now on the API server of this cluster never answers.
    pub fn silence(&mut self, cluster: &str) {
        let scope = Scope::Cluster(cluster.to_owned());
        let fault = Fault::TimedOutBefore;
        self.windows.push(Window { scope, from: Millis::MIN, to: Millis::MAX, fault });
    }

    /// Decides what goes wrong with this call, and remembers it.
    pub(crate) fn decide(world: &mut World, wire: &Wire, operation: &str) -> Option<Fault> {
        let now = world.now;
        let planned = world.faults.outage(now, wire, operation).map(|window| window.fault);
        let scripted = world.faults.scripted(wire, operation);
        let fault = planned.or(scripted).or_else(|| Self::chance(world, wire, operation))?;
        world.faults.struck.push((now, operation.to_owned(), fault));
        Some(fault)
    }

    fn scripted(&mut self, wire: &Wire, operation: &str) -> Option<Fault> {
        let mut struck = None;
        for script in &mut self.scripts {
            if script.scope.covers(wire, operation) {
                script.seen += 1;
                if script.seen == script.nth {
                    struck = struck.or(Some(script.fault));
                }
            }
        }
        struck
    }

    fn chance(world: &mut World, wire: &Wire, operation: &str) -> Option<Fault> {
        let covered = |chance: &&Chance| chance.scope.covers(wire, operation);
        if world.faults.chances.iter().filter(covered).count() == 0 {
            return None;
        }
        let mut dice = world.rng.u32(0..1000);
        for chance in world.faults.chances.iter().filter(covered) {
            if dice < chance.per_mille {
                return Some(chance.fault);
            }
            dice -= chance.per_mille;
        }
        None
    }

    /// At which of its waits invocation number `invocation` is to be killed, if it is.
    pub(crate) fn kill(world: &mut World, invocation: u64) -> Option<u32> {
        let scripted = world.faults.kills.iter().find(|(number, _)| *number == invocation);
        if let Some((_, wait)) = scripted {
            return Some(*wait);
        }
        if world.faults.kills_per_mille == 0
            || world.rng.u32(0..1000) >= world.faults.kills_per_mille
        {
            return None;
        }
        // Early waits matter most (cordon, withdraw), late ones must occur too: log-uniform, 1-128.
        let power = world.rng.u32(0..=7);
        Some(world.rng.u32(1..=(1 << power)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Chance, Fault, Faults, Scope, Script, Window, Wire};
    use crate::world::Sandbox;

    fn decide(sandbox: &Sandbox, wire: &Wire, operation: &str) -> Option<Fault> {
        Faults::decide(&mut sandbox.world(), wire, operation)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_goes_wrong_by_default_and_no_chance_is_drawn() {
        let sandbox = Sandbox::new(1, 0);
        let before = sandbox.world().rng.clone();
        assert_eq!(decide(&sandbox, &Wire::Aws, "ec2:DescribeInstances"), None);
        assert_eq!(sandbox.world().rng, before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_script_strikes_the_nth_matching_call_only() {
        let sandbox = Sandbox::new(1, 0);
        let script = Script::new(Scope::operation("eviction"), 2, Fault::ResetAfter);
        sandbox.world().faults.scripts.push(script);
        let calls =
            ["POST pods/eviction", "PATCH nodes", "POST pods/eviction", "POST pods/eviction"];
        let struck: Vec<_> =
            calls.iter().map(|call| decide(&sandbox, &Wire::Kubernetes("".into()), call)).collect();
        assert_eq!(struck, [None, None, Some(Fault::ResetAfter), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_covers_its_scope_and_ends() {
        let sandbox = Sandbox::new(1, 0);
        let scope = Scope::Service("ec2".to_owned());
        let window = Window { scope, from: 10, to: 20, fault: Fault::ServerError };
        sandbox.world().faults.windows.push(window);
        let rows = [
            (9, Wire::Aws, "ec2:DescribeInstances", None),
            (10, Wire::Aws, "ec2:DescribeInstances", Some(Fault::ServerError)),
            (10, Wire::Aws, "sqs:DeleteMessage", None),
            (10, Wire::Kubernetes("".into()), "GET nodes", None),
            (19, Wire::Aws, "ec2:DescribeInstances", Some(Fault::ServerError)),
            (20, Wire::Aws, "ec2:DescribeInstances", None),
        ];
        for (at, wire, operation, expected) in rows {
            sandbox.sleep_until(at).await;
            assert_eq!(decide(&sandbox, &wire, operation), expected, "{operation} at {at}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn chances_strike_about_as_often_as_they_say() {
        let sandbox = Sandbox::new(7, 0);
        let chance = |fault, per_mille| Chance { scope: Scope::Kubernetes, fault, per_mille };
        sandbox.world().faults.chances =
            vec![chance(Fault::Throttled, 100), chance(Fault::Slow, 200)];
        let (mut throttled, mut slow) = (0, 0);
        for _ in 0..10_000 {
            match decide(&sandbox, &Wire::Kubernetes("".into()), "GET pods") {
                Some(Fault::Throttled) => throttled += 1,
                Some(Fault::Slow) => slow += 1,
                other => assert_eq!(other, None),
            }
        }
        assert!((900..1100).contains(&throttled), "{throttled}");
        assert!((1850..2150).contains(&slow), "{slow}");
        assert_eq!(sandbox.world().faults.struck.len(), throttled + slow);
        assert_eq!(decide(&sandbox, &Wire::Aws, "ec2:DescribeInstances"), None);
    }
}
