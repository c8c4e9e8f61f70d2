//! What some worlds have besides: hooks with a mode of their own, a paused function, target groups that were deleted.
//!
//! They are drawn beside the scenario, from a sequence of their own, so that a seed's scenario is the same without them.

use crate::world::Role;
use sandbox::aws::autoscaling::{HookSpec, Transition, Verdict};
use sandbox::scenario::{Incident, Owner, Place, Scenario};
use sandbox::world::Millis;

/// One of the group's hooks that only looks on.
const ONLOOKER: &str = "onlooker";

/// What the onlooker's NotificationMetadata says.
const OBSERVE: &str = r#"{"ebbtide": {"mode": "observe"}}"#;

/// The longest grace of a pod where a departure must end in time.
const GRACE_SECONDS_MAX: i64 = 60;

/// The longest deregistration delay there.
const DELAY_SECONDS_MAX: i64 = 30;

/// Target groups that are deleted while the group's hooks are in use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Deletion {
    /// How long after the start.
    pub(crate) after: Millis,
    /// Which fronts' groups.
    pub(crate) fronts: Vec<usize>,
}

/// Puts the variations of `seed` into its scenario. The deletion is for the caller to make.
pub(crate) fn vary(seed: u64, role: Role, scenario: &mut Scenario) -> Option<Deletion> {
    let rng = &mut Rng::new(seed, 0x0bbe_11ed_0b5e_7a17);
    if seed.is_multiple_of(2) {
        // Two processes at once, a message each.
        (scenario.batch, scenario.concurrency_max) = (1, 2);
    }
    if rng.often(20) {
        add_onlooker(rng, role, scenario);
    }
    let deleted = rng.often(10);
    (deleted && role == Role::Act).then(|| deletion(rng, scenario))
}

/// A hook whose metadata says `observe`, beside one that acts, or as the only one of its transition. A pause is for
/// everything: where hooks are answered so that AWS goes on, so is this one.
fn add_onlooker(rng: &mut Rng, role: Role, scenario: &mut Scenario) {
    let metadata = Some(OBSERVE.to_owned());
    let ours = role == Role::PausedContinue;
    let launch = scenario.hooks.iter_mut().find(|hook| hook.transition == Transition::Launching);
    if let Some(launch) = launch.filter(|_| rng.often(30)) {
        (launch.metadata, launch.ours) = (metadata, ours);
        return;
    }
    let transitions = [Transition::Terminating, Transition::Terminating, Transition::Launching];
    let hook = HookSpec {
        name: ONLOOKER.to_owned(),
        transition: transitions[rng.below(3)],
        heartbeat_seconds: [60, 120, 300][rng.below(3)],
        default_result: Verdict::Continue,
        metadata,
        ours,
        ..HookSpec::default()
    };
    // Whose event comes first must make no difference.
    let place = rng.below(scenario.hooks.len() + 1);
    scenario.hooks.insert(place, hook);
}

/// One of the groups, or both, before anything happens or while it does. Nothing else may hold a departure for long
/// there, so that its end shows that the deleted group did not.
fn deletion(rng: &mut Rng, scenario: &mut Scenario) -> Deletion {
    for workload in &mut scenario.workloads {
        workload.pdb = None;
        workload.annotations.clear();
        workload.grace_seconds = workload.grace_seconds.min(GRACE_SECONDS_MAX);
    }
    for front in &mut scenario.fronts {
        let delay = &mut front.target_group.deregistration_delay_seconds;
        *delay = (*delay).min(DELAY_SECONDS_MAX);
        if front.owner == Owner::Controller {
            // So that it is named in the configuration.
            front.owner = Owner::Script;
        }
    }
    scenario
        .incidents
        .retain(|(_, _, what)| !matches!(what, Incident::Break(_) | Incident::Mend(_)));
    let fronts = [vec![0], vec![1], vec![1], vec![0, 1]][rng.below(4)].clone();
    let after = if rng.often(40) { 0 } else { 5_000 * (1 + rng.below(24) as Millis) };
    Deletion { after, fronts }
}

impl Deletion {
    /// Deletes the groups: whoever asks for them from now on is told that they are not found.
    pub(crate) fn happen(&self, place: &Place) {
        let mut world = place.sandbox.world();
        for arn in self.fronts.iter().filter_map(|front| place.groups.get(*front)) {
            world.aws.elb.groups.remove(arn);
            world.aws.elb.version += 1;
            world.tell(format!("{arn} is deleted"));
        }
    }
}

/// SplitMix64: a few draws, apart from the world's own.
pub(crate) struct Rng(u64);

impl Rng {
    /// The draws of a seed for one purpose.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        Self(seed ^ purpose)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// True `of` times in a hundred.
    pub(crate) fn often(&mut self, of: usize) -> bool {
        self.below(100) < of
    }
}
