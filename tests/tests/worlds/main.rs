//! Thousands of random worlds, each from a seed, with faults, kills and duplicates; the invariants hold in all of them.
//!
//! `EBBTIDE_WORLDS=10000 cargo test --profile sim -p tests --test worlds` runs many; a failing one prints the command
//! that replays it. The sabotage tests put a broken decision into the function and expect the worlds to notice.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should say where")]

mod check;
mod course;
mod rights;
mod sabotage;
mod sight;
mod trouble;
mod variation;
mod witness;
mod word;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many worlds of each kind the plain test command runs.
const WORLDS_BY_DEFAULT: usize = 150;

/// The first seed; a change of it gives other worlds.
const FIRST_SEED: u64 = 1;

/// Which worlds are meant; about half of all seeds are of either kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// Lifecycle actions alone.
    Lifecycle,
    /// Both functions, with interruptions of the same hosts.
    Interrupted,
}

impl Kind {
    fn has(self, seed: u64) -> bool {
        trouble::is_interrupted(seed) == (self == Self::Interrupted)
    }
}

#[test]
fn the_invariants_hold_in_every_world() {
    let Some(totals) = play(Kind::Lifecycle) else { return };
    let Totals { onlookers, left, continued, ungrouped, .. } = &totals;
    for (what, judged) in [
        ("hooks that only look on", onlookers),
        ("hooks that a pause leaves", left),
        ("hooks that a pause continues", continued),
        ("departures from a deleted target group", ungrouped),
    ] {
        let judged = judged.load(Ordering::Relaxed);
        println!("{judged} {what}");
        assert!(totals.count < 100 || judged > 0, "no {what}");
    }
}

#[test]
fn the_invariants_hold_in_every_interrupted_world() {
    play(Kind::Interrupted);
}

/// Plays the worlds of a kind that are asked for; `None` when it was a replay of one.
#[expect(clippy::print_stdout, reason = "the totals, and the command that replays a world")]
fn play(kind: Kind) -> Option<Totals> {
    if let Some(seed) = number("EBBTIDE_SEED") {
        if kind.has(seed) {
            let told = world::run(seed, world::Play::Whole);
            println!("{}", told.transcript());
            assert!(told.broken.is_empty(), "seed {seed}: {:#?}", told.broken);
        }
        return None;
    }
    let count =
        number("EBBTIDE_WORLDS").map_or(WORLDS_BY_DEFAULT, |count| usize::try_from(count).unwrap());
    let began = real_now();
    let first = number("EBBTIDE_FIRST").unwrap_or(FIRST_SEED);
    let seeds: Vec<u64> = (first..).filter(|seed| kind.has(*seed)).take(count).collect();
    let totals = run_all(&seeds);
    println!(
        "{count} worlds ({kind:?}) in {:?}: {} departures and arrivals, {} answered, {} ended by timeout, {} calls, {} faults, {} kills",
        began.elapsed(),
        totals.actions.load(Ordering::Relaxed),
        totals.answered.load(Ordering::Relaxed),
        totals.timed_out.load(Ordering::Relaxed),
        totals.calls.load(Ordering::Relaxed),
        totals.faults.load(Ordering::Relaxed),
        totals.kills.load(Ordering::Relaxed)
    );
    let failed = totals.failed.lock().unwrap();
    for (seed, _) in failed.iter().take(10) {
        println!(
            "replay: EBBTIDE_SEED={seed} cargo test -p tests --test worlds invariants -- --nocapture"
        );
    }
    assert!(failed.is_empty(), "{} of {count} worlds broke an invariant", failed.len());
    drop(failed);
    let at_least = |counter: &AtomicU64, least: usize| {
        count < 100 || usize::try_from(counter.load(Ordering::Relaxed)).unwrap() > least
    };
    assert!(
        at_least(&totals.answered, count / 3),
        "too few hooks were answered for this to mean anything"
    );
    assert!(at_least(&totals.faults, count), "too few faults struck");
    assert!(at_least(&totals.kills, 0), "no process was killed");
    Some(totals)
}

#[test]
fn the_same_seed_gives_the_same_calls() {
    for seed in [3, 8, 21, 55] {
        let (first, second) =
            (world::run(seed, world::Play::Whole), world::run(seed, world::Play::Whole));
        assert_eq!(first.transcript(), second.transcript(), "seed {seed}");
    }
}

#[derive(Debug, Default)]
struct Totals {
    count: usize,
    actions: AtomicU64,
    answered: AtomicU64,
    timed_out: AtomicU64,
    onlookers: AtomicU64,
    left: AtomicU64,
    continued: AtomicU64,
    ungrouped: AtomicU64,
    calls: AtomicU64,
    faults: AtomicU64,
    kills: AtomicU64,
    failed: Mutex<Vec<(u64, Vec<String>)>>,
}

/// Runs the seeds on as many threads as there are cores; the result does not depend on how many.
fn run_all(seeds: &[u64]) -> Totals {
    let totals = Totals { count: seeds.len(), ..Totals::default() };
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    totals.add(*seed, world::run(*seed, world::Play::Whole));
                }
            });
        }
    });
    totals.failed.lock().unwrap().sort();
    totals
}

impl Totals {
    fn add(&self, seed: u64, told: world::Told) {
        self.actions.fetch_add(told.actions, Ordering::Relaxed);
        self.answered.fetch_add(told.answered, Ordering::Relaxed);
        self.timed_out.fetch_add(told.timed_out, Ordering::Relaxed);
        self.onlookers.fetch_add(told.onlookers, Ordering::Relaxed);
        self.left.fetch_add(told.left, Ordering::Relaxed);
        self.continued.fetch_add(told.continued, Ordering::Relaxed);
        self.ungrouped.fetch_add(told.ungrouped, Ordering::Relaxed);
        self.calls.fetch_add(told.calls.len() as u64, Ordering::Relaxed);
        self.faults.fetch_add(told.faults, Ordering::Relaxed);
        self.kills.fetch_add(told.kills, Ordering::Relaxed);
        if !told.broken.is_empty() {
            self.failed.lock().unwrap().push((seed, told.broken));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long it took on the wall is only printed")]
fn real_now() -> std::time::Instant {
    std::time::Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the number of worlds is the caller's to say")]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
