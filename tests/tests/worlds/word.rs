//! What AWS said of an instance besides lifecycle actions, read off the log of events: by whom it may be touched, how far,
//! and by when it ends.

use decision::policy::{Policy, Reaction};
use decision::time::Timestamp;
use sandbox::scenario::INTERRUPTION_QUEUE;
use sandbox::world::{Millis, World};
use serde_json::Value;

/// How long after a start what was said before it may still be acted upon: reads are stale for a second, and a turn that
/// saw the instance before goes on for a few.
const STARTED_MS: Millis = 25_000;

/// How long after it lapsed a recommendation may still be acted upon: two crashes hide its message.
const LAPSED_MS: Millis = 260_000;

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Spot takes the instance.
    Spot,
    /// It may take it.
    Rebalance,
    /// A capacity reservation or block ends.
    Capacity,
    /// A scheduled change.
    Maintenance {
        /// Which one.
        arn: String,
        /// Whether it asks for a departure at once.
        at_once: bool,
        /// Whether it is over.
        closed: bool,
    },
    /// EC2's state.
    State(String),
}

/// One event about some instances.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    /// When it was sent.
    pub(crate) at: Millis,
    /// Whether any copy was on its way to the queue.
    pub(crate) heard: bool,
    /// What it says.
    pub(crate) kind: Kind,
    /// Of whom.
    pub(crate) instances: Vec<String>,
    /// When AWS acts.
    pub(crate) hard: Option<Millis>,
}

/// What a word allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// To write the node.
    Patch,
    /// To remove pods.
    Remove,
    /// To take targets out.
    Withdraw,
    /// To put targets back.
    Register,
}

/// All words of a world in which somebody listens, in order.
pub(crate) fn all(world: &World) -> Vec<Word> {
    let listens = |detail_type: &str| {
        world.aws.events.rules.iter().any(|rule| {
            rule.queue == INTERRUPTION_QUEUE && rule.detail_types.iter().any(|it| it == detail_type)
        })
    };
    let sent = world.aws.events.events_log.iter().filter(|sent| listens(&sent.detail_type));
    sent.filter_map(|sent| {
        let body: Value = serde_json::from_str(&sent.body).ok()?;
        let (kind, hard) = kind(&body, sent.at)?;
        let instances = instances(&body, &sent.body, world);
        Some(Word { at: sent.at, heard: sent.copies > 0, kind, instances, hard })
    })
    .collect()
}

fn kind(body: &Value, at: Millis) -> Option<(Kind, Option<Millis>)> {
    let detail = &body["detail"];
    let text = |field: &str| detail[field].as_str().unwrap_or_default();
    let time = |text: &str| Timestamp::parse_any(text).ok().map(Timestamp::millis);
    Some(match body["detail-type"].as_str()? {
        "EC2 Spot Instance Interruption Warning" => {
            let notice = if text("instance-action") == "hibernate" { 0 } else { 120_000 };
            (Kind::Spot, Some(at + notice))
        }
        "EC2 Instance Rebalance Recommendation" => (Kind::Rebalance, None),
        "EC2 Capacity Reservation Instance Interruption Warning" => {
            (Kind::Capacity, time(text("instance-termination-time")))
        }
        // Its instances begin to be terminated half an hour before its end.
        "Capacity Block Expiration Warning" | "Capacity Block Reservation Expiration Warning" => {
            (Kind::Capacity, time(text("end-date")).map(|end| end - 1_800_000))
        }
        "EC2 Instance State-change Notification" => {
            let state = text("state").to_owned();
            let ends = ["stopping", "shutting-down", "stopped", "terminated"];
            let hard = ends.contains(&state.as_str()).then_some(at);
            (Kind::State(state), hard)
        }
        // A copy from the backup Region is not for us.
        "AWS Health Event" if body["region"] != text("eventRegion") => return None,
        "AWS Health Event" => {
            let at_once = text("eventTypeCode").contains("RETIREMENT");
            let closed = text("statusCode") == "closed";
            let arn = text("eventArn").to_owned();
            (Kind::Maintenance { arn, at_once, closed }, time(text("startTime")))
        }
        _ => return None,
    })
}

/// The instances that a body names, or whose capacity reservation it names.
fn instances(body: &Value, text: &str, world: &World) -> Vec<String> {
    let reservation = body["detail"]["capacity-reservation-id"].as_str();
    let named = world.aws.ec2.instances.values().filter(|known| match reservation {
        Some(reservation) => known.capacity_reservation.as_deref() == Some(reservation),
        None => text.contains(&known.id),
    });
    named.map(|known| known.id.clone()).collect()
}

/// When this instance was last told to start before `at`; the beginning of time when never.
pub(crate) fn started_at(words: &[Word], instance: &str, at: Millis) -> Millis {
    let starts = words.iter().filter(|word| {
        word.at <= at && word.is_of(instance) && word.kind == Kind::State("pending".to_owned())
    });
    starts.map(|word| word.at).max().unwrap_or(Millis::MIN)
}

impl Word {
    pub(crate) fn is_of(&self, instance: &str) -> bool {
        self.instances.iter().any(|id| id == instance)
    }

    /// Whether it says that the instance is back, or that nothing will come.
    pub(crate) fn returns(&self) -> bool {
        match &self.kind {
            Kind::Maintenance { closed, .. } => *closed,
            Kind::State(state) => state == "running",
            Kind::Spot | Kind::Rebalance | Kind::Capacity => false,
        }
    }

    /// The function's word for its kind.
    pub(crate) fn label(&self) -> &'static str {
        match self.kind {
            Kind::Spot => "spot",
            Kind::Rebalance => "rebalance",
            Kind::Capacity => "capacity-reservation",
            Kind::Maintenance { .. } => "maintenance",
            Kind::State(_) => "state-change",
        }
    }

    /// What the policy makes of it.
    pub(crate) fn reaction(&self, policy: &Policy) -> Reaction {
        match &self.kind {
            Kind::Spot => policy.spot,
            Kind::Rebalance => policy.rebalance,
            Kind::Capacity => policy.capacity,
            Kind::Maintenance { .. } => policy.maintenance,
            Kind::State(state) if state == "pending" => Reaction::Ignore,
            Kind::State(_) => policy.state_change,
        }
    }

    /// From when on it asks for a departure.
    pub(crate) fn asks_from(&self, policy: &Policy) -> Millis {
        let lead = i64::try_from(policy.maintenance_lead.as_millis()).unwrap();
        match (&self.kind, self.hard) {
            (Kind::Maintenance { at_once: false, closed: false, .. }, Some(start)) => {
                self.at.max(start - lead)
            }
            _ => self.at,
        }
    }

    /// Until when a recommendation holds.
    pub(crate) fn lapses_at(&self, policy: &Policy) -> Option<Millis> {
        let hold = i64::try_from(policy.rebalance_hold.as_millis()).unwrap();
        (self.kind == Kind::Rebalance).then_some(self.at + hold)
    }

    /// Whether it allows `act` on an instance of its at `at`.
    pub(crate) fn allows(&self, act: Act, at: Millis, policy: &Policy) -> bool {
        let reaction = self.reaction(policy);
        let kind = match act {
            Act::Patch => reaction != Reaction::Ignore,
            Act::Remove => reaction == Reaction::Drain && !self.returns(),
            Act::Withdraw => {
                reaction == Reaction::Drain && !self.returns() && self.kind != Kind::Rebalance
            }
            Act::Register => reaction != Reaction::Ignore && self.returns(),
        };
        // The event's time is in whole seconds.
        let begun = self.asks_from(policy) - 1_000 <= at;
        let lasts = self.lapses_at(policy).is_none_or(|lapses_at| at <= lapses_at + LAPSED_MS);
        self.heard && kind && begun && lasts
    }
}

/// Whether some word allows `act` on this instance at `at`, in the life that it was said of.
pub(crate) fn allow(
    words: &[Word],
    (act, instance): (Act, &str),
    at: Millis,
    policy: &Policy,
) -> bool {
    let life = started_at(words, instance, at - STARTED_MS);
    let mut of_it = words.iter().filter(|word| word.is_of(instance));
    of_it.any(|word| (word.at >= life || word.returns()) && word.allows(act, at, policy))
}
