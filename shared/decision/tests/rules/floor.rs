//! Many processes that do not see each other take nodes out of one group: the floor holds, the group is never emptied,
//! and nobody waits for nobody.
//!
//! A step is half a second. In a turn a process lists the records, reads the health (perhaps that of the step before),
//! decides, and acts some steps later: a slow turn. A record is seen by whoever lists after it was written. A call is
//! not begun when the health is older than `HEALTH_FRESH`, and may take three seconds to land.

use crate::world::{SENT, after, instance, millis, policy, record, target, web, withdrawn};
use decision::annotation::{Contributor, Departure};
use decision::id::InstanceId;
use decision::limits::HEALTH_FRESH;
use decision::policy::Policy;
use decision::snapshot::aws::TargetState;
use decision::snapshot::departing::Departures;
use decision::time::Timestamp;
use decision::withdraw::{Known, May, Order, Records, Standing, standing};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::test_runner::Config;
use proptest::{option, prop_assert, proptest};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const STEP: Duration = millis(500);
const STEPS: usize = 240;
/// Steps from a decision to its write: up to 3 s.
const SLOW_TURN_MAX: u8 = 7;
/// Steps from a call to its effect: up to 3 s.
const SLOW_CALL_MAX: u8 = 7;

/// What is drawn: who leaves and when, who comes, and how slow everybody is.
#[derive(Clone, Debug)]
struct Script {
    /// By departing node: the step of its signal, and its hard deadline in seconds.
    leaves: Vec<(u8, Option<u16>)>,
    /// Targets that stay.
    stay: usize,
    /// The steps at which replacements turn healthy.
    come: Vec<u8>,
    floor_percent: u8,
    /// Delays, taken one after the other.
    noise: Vec<u8>,
}

fn script() -> impl Strategy<Value = Script> {
    let leaves = vec((0_u8..40, option::of(600_u16..7_200)), 1..9);
    let noise = vec(any::<u8>(), 0..96);
    (leaves, 0_usize..4, vec(0_u8..80, 0..6), 0_u8..=100, noise).prop_map(
        |(leaves, stay, come, floor_percent, noise)| Script {
            leaves,
            stay,
            come,
            floor_percent,
            noise,
        },
    )
}

/// What a process is about to do.
#[derive(Clone, Debug)]
enum Deed {
    Write {
        at: usize,
        record: Departure,
    },
    /// The call, and the record that is refreshed with it.
    Call {
        at: usize,
        read_at: usize,
        lands: usize,
        record: Departure,
    },
    Land {
        at: usize,
    },
}

#[derive(Debug, Default)]
struct World {
    /// Healthy targets by instance, one set a step; the last is now.
    living: Vec<BTreeSet<usize>>,
    records: BTreeMap<InstanceId, Arc<Departure>>,
    deeds: BTreeMap<usize, Deed>,
    out: BTreeSet<usize>,
    taken: usize,
}

impl World {
    fn draw(&mut self, script: &Script, bound: u8) -> usize {
        // Once the noise is used up, everybody is fast: then all who may leave must have left by the end.
        let drawn = script.noise.get(self.taken).copied().unwrap_or_default();
        self.taken += 1;
        usize::from(drawn % bound)
    }

    fn now(&self) -> &BTreeSet<usize> {
        self.living.last().expect("there is a first step")
    }
}

fn time(step: usize) -> Timestamp {
    SENT + STEP * u32::try_from(step).expect("few steps")
}

/// Runs the script and returns the world after each step's effects.
fn run(
    script: &Script,
    policy: &Policy,
    mut check: impl FnMut(usize, &World) -> Result<(), String>,
) -> Result<World, String> {
    let leaving = script.leaves.len();
    let mut world =
        World { living: vec![(1..=leaving + script.stay).collect()], ..World::default() };
    for step in 0..STEPS {
        let mut living = world.now().clone();
        let came = script.come.iter().enumerate().filter(|(_, at)| usize::from(**at) == step);
        living.extend(came.map(|(index, _)| 100 + index));
        world.living.push(living);
        for number in 1..=leaving {
            effects(&mut world, number, step);
        }
        for (index, (signal_at, hard)) in script.leaves.iter().enumerate() {
            let number = index + 1;
            let idle = !world.deeds.contains_key(&number) && !world.out.contains(&number);
            if idle && usize::from(*signal_at) <= step {
                let deed = turn(&mut world, script, policy, (number, step, *hard));
                world.deeds.extend(deed.map(|deed| (number, deed)));
            }
        }
        check(step, &world)?;
    }
    Ok(world)
}

fn effects(world: &mut World, number: usize, step: usize) {
    match world.deeds.get(&number).cloned() {
        Some(Deed::Write { at, record }) if at <= step => {
            world.records.insert(instance(number), Arc::new(record));
            world.deeds.remove(&number);
        }
        Some(Deed::Call { at, read_at, lands, record }) if at <= step => {
            world.records.insert(instance(number), Arc::new(record));
            if STEP * u32::try_from(at - read_at).expect("few steps") > HEALTH_FRESH {
                world.deeds.remove(&number);
            } else {
                world.deeds.insert(number, Deed::Land { at: step + lands });
            }
        }
        Some(Deed::Land { at }) if at <= step => {
            world.deeds.remove(&number);
            world.out.insert(number);
            world.living.last_mut().expect("there is a first step").remove(&number);
        }
        _ => {}
    }
}

/// One turn of one process.
fn turn(
    world: &mut World,
    script: &Script,
    policy: &Policy,
    (number, step, hard): (usize, usize, Option<u16>),
) -> Option<Deed> {
    let at = step + world.draw(script, SLOW_TURN_MAX);
    let me = instance(number);
    let Some(own) = world.records.get(&me).cloned() else {
        let because = hard.map(|hard| Contributor {
            hard: Some(after(u64::from(hard))),
            ..record(number).because.remove(0)
        });
        let begun = Departure {
            since: time(step),
            ranked_at: time(step),
            because: because.into_iter().collect(),
            ..record(number)
        };
        return Some(Deed::Write { at, record: begun });
    };
    let stale = world.draw(script, 2);
    let read_at = step.saturating_sub(stale);
    let health = &world.living[world.living.len() - 1 - (step - read_at)];
    let group = web(health.iter().map(|number| target(*number, TargetState::Healthy)).collect());
    let listed: Departures = world.records.values().cloned().collect();
    let order = Order {
        now: time(step),
        me: &me,
        since: SENT,
        begun: own.since,
        hard: own.hard(),
        records: Records::Known(Known::new(&listed, &own)),
        after_hook: true,
        reserves: BTreeMap::new(),
    };
    let Standing::Registered { may: May::Now, .. } = standing(&group, &order, policy) else {
        return None;
    };
    let claim = withdrawn(Departure { withdrawn: Vec::new(), ..(*own).clone() }, "web", time(step));
    if own.withdrawn.is_empty() {
        return Some(Deed::Write { at, record: claim });
    }
    let lands = world.draw(script, SLOW_CALL_MAX);
    Some(Deed::Call { at, read_at, lands, record: claim })
}

fn share(percent: u8, targets: usize) -> usize {
    (targets * usize::from(percent)).div_ceil(100).max(1)
}

proptest! {
    #![proptest_config(Config { cases: 400, ..Config::default() })]

    #[test]
    fn the_floor_is_never_undercut_before_the_last_moment_and_all_whom_it_allows_leave(script in script()) {
        let floor = script.floor_percent.to_string();
        let policy = policy(&[("WITHDRAW_FLOOR", &floor), ("WITHDRAW_HOLD", "48h")]);
        let initial = script.leaves.len() + script.stay;
        let keep = share(script.floor_percent, initial);
        let world = run(&script, &policy, |step, world| {
            let living = world.now().len();
            if living >= keep { Ok(()) } else { Err(format!("step {step}: {living} of {initial} live, {keep} must")) }
        });
        prop_assert!(world.is_ok(), "{world:?}");
        let world = world.map_err(proptest::test_runner::TestCaseError::fail)?;
        // With all records on the nodes, the floor is a share of all that ever were in.
        let all = initial + script.come.len();
        let allowed = all - share(script.floor_percent, all);
        let gone = allowed.min(script.leaves.len());
        prop_assert!(world.out.len() == gone, "{} of {gone} left: {:?}", world.out.len(), world.deeds);
    }

    #[test]
    fn a_group_with_a_living_target_is_never_emptied_even_at_the_last_moment(script in script()) {
        let policy = policy(&[("WITHDRAW_FLOOR", "100"), ("WITHDRAW_HOLD", "10s")]);
        let world = run(&script, &policy, |step, world| {
            if world.now().is_empty() { Err(format!("step {step}: emptied")) } else { Ok(()) }
        });
        prop_assert!(world.is_ok(), "{world:?}");
        let world = world.map_err(proptest::test_runner::TestCaseError::fail)?;
        let others = script.stay + script.come.len();
        let gone = if others == 0 { script.leaves.len() - 1 } else { script.leaves.len() };
        prop_assert!(world.out.len() == gone, "{} of {gone} left: {:?}", world.out.len(), world.deeds);
    }
}
