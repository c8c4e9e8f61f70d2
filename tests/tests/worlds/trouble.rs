//! What befalls the hosts of the interrupted worlds, where the interruption function runs beside the lifecycle function:
//! every kind of interruption, several on the same host and beside what the scenario does to it, with policies of all
//! kinds.
//!
//! Drawn beside the scenario, as the variations are.

use crate::variation::Rng;
use sandbox::aws::events::BlockTitle;
use sandbox::aws::health::Maintenance;
use sandbox::fault::{Fault, Scope, Window};
use sandbox::scenario::{GROUP, Incident, Place, START, Scenario};
use sandbox::world::Millis;

const SECOND: Millis = 1_000;

/// From a warning to the end.
const NOTICE_MS: Millis = 120 * SECOND;

/// From a capacity block's warning to the last of its terminations.
const BLOCK_MS: Millis = 660 * SECOND;

/// The trouble of one world.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// Settings of both functions besides the mode.
    settings: Vec<(&'static str, String)>,
    /// How long after the start the last of what was announced is due.
    pub(crate) due_after: Millis,
    /// Whether the group replaces instances that Spot is about to take.
    rebalances: bool,
    /// Whether the group leaves instances alone that stopped, so that they can start again.
    suspended: bool,
}

/// Apart from the other draws of a seed.
const PURPOSE: u64 = 0x1a7e_22b7_ed0b_5e17;

/// Whether a seed's world is an interrupted one: about half of them.
pub(crate) fn is_interrupted(seed: u64) -> bool {
    !Rng::new(seed, PURPOSE).often(50)
}

/// What befalls the hosts of a seed's world, if it is an interrupted one.
pub(crate) fn draw(seed: u64, scenario: &mut Scenario) -> Option<Trouble> {
    let rng = &mut Rng::new(seed, PURPOSE);
    if rng.often(50) {
        return None;
    }
    let (settings, hold_ms) = settings(rng);
    if rng.often(60) {
        // So that the trouble comes alone.
        scenario.incidents.clear();
    }
    let troubled = if rng.often(10) { scenario.hosts.len() } else { 1 + rng.below(3) };
    let first = rng.below(scenario.hosts.len());
    for number in 0..troubled {
        let host = (first + number) % scenario.hosts.len();
        for _ in 0..=rng.below(3) {
            let at = SECOND * (1 + rng.below(120) as Millis);
            befall(rng, (at, host), &mut scenario.incidents);
        }
        if rng.often(10) {
            // Before anything else: a cordon over ours is nobody's to tell from ours.
            scenario.incidents.push((SECOND / 2, host, Incident::Cordon));
        }
    }
    scenario.incidents.sort_by_key(|(at, host, _)| (*at, *host));
    if rng.often(15) {
        scenario.faults.windows.push(outage(rng));
    }
    let due = scenario.incidents.iter().map(|(at, _, what)| at + due_ms(what, hold_ms));
    Some(Trouble {
        settings,
        due_after: due.max().unwrap_or(0),
        rebalances: rng.often(50),
        suspended: rng.often(60),
    })
}

impl Trouble {
    /// The value of a setting, if it is set.
    pub(crate) fn setting(&self, variable: &str) -> Option<String> {
        self.settings.iter().find(|(name, _)| *name == variable).map(|(_, value)| value.clone())
    }

    /// Makes the group as this world has it.
    pub(crate) fn prepare(&self, place: &Place) {
        let mut world = place.sandbox.world();
        let group = world.aws.autoscaling.groups.get_mut(GROUP).unwrap();
        group.spec.capacity_rebalance = self.rebalances;
        group.spec.suspended = self.suspended;
    }

    /// Makes the group somebody else's.
    pub(crate) fn disown(place: &Place) {
        let mut world = place.sandbox.world();
        let group = world.aws.autoscaling.groups.get_mut(GROUP).unwrap();
        group.spec.tags.remove("ebbtide.dev/managed");
    }
}

/// The operator's choices, and how long a recommendation holds.
fn settings(rng: &mut Rng) -> (Vec<(&'static str, String)>, Millis) {
    let mut settings = Vec::new();
    for variable in ["SPOT_WARNING", "CAPACITY_RESERVATION", "MAINTENANCE", "STATE_CHANGE"] {
        let reaction = match rng.below(10) {
            0 => "ignore",
            1 => "cordon",
            _ => "drain",
        };
        settings.push((variable, reaction.to_owned()));
    }
    let recommended = ["ignore", "cordon", "cordon", "cordon", "drain", "drain"][rng.below(6)];
    settings.push(("REBALANCE", recommended.to_owned()));
    let hold_seconds = [60, 120, 240][rng.below(3)];
    settings.push(("REBALANCE_HOLD", format!("{hold_seconds}s")));
    let lead = ["30s", "2m", "1h"][rng.below(3)];
    settings.push(("MAINTENANCE_LEAD", lead.to_owned()));
    settings.push(("LONGEST_LAUNCH", "5m".to_owned()));
    let taint = ["off", "on"][rng.below(2)];
    settings.push(("OUT_OF_SERVICE", taint.to_owned()));
    (settings, hold_seconds * SECOND)
}

/// One thing that befalls a host, with what follows from it.
fn befall(
    rng: &mut Rng,
    (at, host): (Millis, usize),
    incidents: &mut Vec<(Millis, usize, Incident)>,
) {
    let soon =
        |rng: &mut Rng, from: Millis, span: usize| (from + rng.below(span) as Millis) * SECOND;
    let mut push = |at: Millis, what: Incident| incidents.push((at, host, what));
    match rng.below(100) {
        0..16 => push(at, Incident::Spot),
        16..28 => {
            push(at, Incident::SpotStop);
            push(at + NOTICE_MS + soon(rng, 70, 120), Incident::Start);
        }
        28..34 => {
            push(at, Incident::SpotHibernate);
            push(at + soon(rng, 70, 120), Incident::Start);
        }
        34..48 => push(at, Incident::Rebalance),
        48..56 => {
            let after_ms = soon(rng, 1, 90);
            push(at, Incident::RebalanceThenSpot { after_ms });
        }
        56..60 => push(at, Incident::Reservation),
        60..63 => push(at, Incident::Block),
        63..64 => {
            let title = [BlockTitle::Block, BlockTitle::Reservation][rng.below(2)];
            push(at, Incident::BlockExpires(title));
        }
        64..78 => {
            let kind = Maintenance::ALL[rng.below(Maintenance::ALL.len())];
            let in_ms = soon(rng, 20, 340);
            push(at, Incident::Maintenance { kind, in_ms });
            if rng.often(40) {
                push(at + soon(rng, 5, 120).min(in_ms - SECOND), Incident::MaintenanceCancelled);
            }
        }
        78..86 => {
            push(at, Incident::Stop);
            push(at + soon(rng, 80, 120), Incident::Start);
        }
        86..90 => push(at, Incident::Terminate),
        90..93 => push(at, Incident::ScaleIn),
        93..96 => push(at, Incident::Replace),
        96..98 => push(at, Incident::ReplaceRootVolume),
        98..99 => push(at, Incident::Crash),
        _ => push(at, Incident::LoseKubelet),
    }
}

/// How long after it befell the last of it is due.
fn due_ms(what: &Incident, hold_ms: Millis) -> Millis {
    match what {
        Incident::RebalanceThenSpot { after_ms } => (after_ms + NOTICE_MS).max(hold_ms),
        Incident::Rebalance => hold_ms,
        Incident::BlockExpires(_) => BLOCK_MS,
        Incident::Maintenance { in_ms, .. } => *in_ms,
        Incident::Spot | Incident::SpotStop | Incident::Reservation | Incident::Block => NOTICE_MS,
        _ => 0,
    }
}

/// The API server is away for a while, perhaps for the whole notice.
fn outage(rng: &mut Rng) -> Window {
    let from = START + SECOND * rng.below(150) as Millis;
    let to = from + SECOND * (10 + rng.below(170) as Millis);
    let fault = [Fault::TimedOutBefore, Fault::ResetBefore, Fault::ServerError][rng.below(3)];
    Window { scope: Scope::Kubernetes, from, to, fault }
}
