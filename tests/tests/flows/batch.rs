//! A batch's messages do not suffer from each other: neither from a panic nor from a cluster that hangs; and what they
//! wait for wakes them.

use crate::flow::{Flow, MINUTE, SECOND};
use crate::past::{Past, TERMINATE};
use decision::decide::decide;
use decision::decision::Decision;
use decision::looks::wants_instance;
use decision::policy::Policy;
use decision::snapshot::Snapshot;
use sandbox::aws::autoscaling::{Autoscaling, Capacity, Ended, Verdict};
use sandbox::fault::{Fault, Scope};
use sandbox::kubernetes::object::key;
use sandbox::kubernetes::{Budget, Kind, Workload, WorkloadKind};
use sandbox::scenario::START;
use sandbox::world::{Millis, World};
use std::cell::RefCell;

thread_local! {
    /// The instance about which the rules panic, how often they may, and how often they have.
    static CURSED: RefCell<Cursed> = const {
        RefCell::new(Cursed { instance: String::new(), panics: Vec::new(), asked: 0 })
    };
}

/// About which instance the rules panic, in which of their calls.
struct Cursed {
    instance: String,
    panics: Vec<u32>,
    asked: u32,
}

/// Panics if it is this instance's turn to.
fn curse(snapshot: &Snapshot) {
    let hit = CURSED.with_borrow_mut(|cursed| {
        let is_it = cursed.instance == snapshot.instance.as_str();
        cursed.asked += u32::from(is_it);
        is_it && cursed.panics.contains(&cursed.asked)
    });
    assert!(!hit, "no rule for this one");
}

/// The real decision, except that it panics about one instance.
fn decides(snapshot: &Snapshot, policy: &Policy) -> Decision {
    curse(snapshot);
    decide(snapshot, policy)
}

/// The same for the first question of the looks.
fn looks(snapshot: &Snapshot, policy: &Policy) -> bool {
    curse(snapshot);
    wants_instance(snapshot, policy)
}

/// Hosts 0 and 1 leave, and the rules panic about host 0 in these of their calls. One process, and nobody else's
/// message about the same instance.
fn cursed(panics: impl IntoIterator<Item = u32>) -> Flow {
    let panics = panics.into_iter().collect();
    Flow::without_fronts()
        .with(|scenario| {
            scenario.hooks.retain(|hook| hook.ours);
            scenario.concurrency_max = 1;
        })
        .at(0, |_, place| {
            let instance = place.machines[0].instance.clone();
            CURSED.with_borrow_mut(|cursed| *cursed = Cursed { instance, panics, asked: 0 });
        })
        .replaces([0, 1])
}

/// Asserts that host 1 was handled as ever, and that host 0's hook was answered and its message kept with the reason.
#[track_caller]
fn only_one_suffered(past: &Past) {
    past.all_pods_were_removed(1);
    let other = past.ending(1);
    assert_eq!(other.how, Ended::Answered(Verdict::Continue));
    assert!(other.running.is_empty(), "{other:?}");
    let ending = past.ending(0);
    assert_eq!(ending.how, Ended::Answered(Verdict::Continue));
    assert!(ending.waited < MINUTE, "{ending:?}");
    let dead = past.dead_letters();
    assert_eq!(dead.len(), 1, "{dead:#?}");
    assert!(dead[0].body.contains(&past.machine(0).instance) && dead[0].body.contains(TERMINATE));
    let (_, reason) = dead[0].attributes.values().next().expect("it says why");
    assert!(reason.contains("panicked twice: no rule for this one"), "{reason}");
    assert!(past.removals(0).is_empty() && !past.was_cordoned(0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_about_one_instance_comes_back_once_then_its_hook_is_answered() {
    let past = cursed(1..=999).deciding(decides).run().await;
    assert_eq!(CURSED.with_borrow(|cursed| cursed.asked), 2);
    only_one_suffered(&past);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_look_at_one_instance_is_treated_like_one_in_its_decision() {
    let past = cursed(1..=999).looking(looks).run().await;
    only_one_suffered(&past);
}

#[tokio::test(start_paused = true)]
async fn a_good_decision_between_two_panics_makes_up_for_the_first() {
    let past = cursed([1, 3, 5]).deciding(decides).run().await;
    assert!(CURSED.with_borrow(|cursed| cursed.asked) > 5);
    past.all_pods_were_removed(0);
    past.drained(0);
}

/// The host of the only pod that there is and an empty one leave, in one batch.
fn a_full_and_an_empty_one() -> Flow {
    Flow::without_fronts()
        .with(|scenario| {
            scenario.hooks.retain(|hook| hook.name == TERMINATE);
            scenario.delivery.delay_ms = 500..=500;
            scenario.workloads =
                vec![Workload::new(WorkloadKind::Deployment, "default", "lone", 1)];
        })
        .at(0, |world, place| {
            let (full, empty): (Vec<_>, Vec<_>) = place.machines.iter().partition(|machine| {
                world.kubernetes.pods_on(&machine.node).any(|pod| pod.label("app") == Some("lone"))
            });
            for machine in [full[0], empty[0]] {
                Autoscaling::terminate(world, &machine.instance, Capacity::Keep);
            }
        })
}

#[tokio::test(start_paused = true)]
async fn an_answer_does_not_wait_for_the_steps_of_another_instance() {
    let past = a_full_and_an_empty_one()
        .outage(Scope::operation("eviction"), (0, 3 * SECOND), Fault::TimedOutBefore)
        .run()
        .await;
    let first = |operation: &str| past.calls(operation)[0].clone();
    let (eviction, answer) = (first("eviction"), first("CompleteLifecycleAction"));
    assert_eq!((eviction.status, answer.status), (0, 200), "{}", past.transcript());
    let after = answer.at - eviction.at;
    assert!((-100..100).contains(&after), "{after} ms later\n{}", past.transcript());
    past.no_message_is_left();
}

/// A pod is held by its budget until that opens, so long after the start. How much later it was evicted.
async fn evicted_after(opens: Millis, rights: impl FnOnce(&mut World) + 'static) -> Millis {
    let past = Flow::of_one_pod(|pod| pod.pdb = Some(Budget::max_unavailable(0)))
        .at(0, |world, _| rights(world))
        .at(opens, |world, _| {
            let budget = key("default", "lone");
            world.kubernetes.store.update(Kind::PodDisruptionBudget, &budget, |budget| {
                budget.spec.edit()["maxUnavailable"] = 1.into();
                budget.status.edit()["disruptionsAllowed"] = 1.into();
            });
        })
        .run()
        .await;
    past.drained(past.departed());
    let removals = past.removals(past.departed());
    assert_eq!(removals.len(), 1, "{removals:?}");
    removals[0].at - START - opens
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_opens_during_a_wait_is_used_at_once() {
    // The looks are two seconds apart: without the watch one of the two is at least a second late.
    for opens in [4 * SECOND, 5 * SECOND] {
        let after = evicted_after(opens, |_| {}).await;
        assert!(after < SECOND / 2, "opened at {opens}, used {after} ms later");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_watch_budgets_the_next_look_finds_it() {
    let denied = |world: &mut World| {
        let right = ("watch".to_owned(), "poddisruptionbudgets".to_owned());
        world.kubernetes.denied.insert(right);
    };
    let early = evicted_after(4 * SECOND, denied).await;
    let late = evicted_after(5 * SECOND, denied).await;
    assert!(early.max(late) > SECOND, "{early} ms, {late} ms");
}
