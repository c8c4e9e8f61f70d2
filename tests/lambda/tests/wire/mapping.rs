//! The mapping and its processes: what becomes of messages when processes answer, fail, hang, die and freeze.

use crate::until;
use lambda::{Function, Mapping, Process, State};
use sandbox::Sandbox;
use sandbox::aws::sqs::{QueueSpec, Sqs};
use sandbox::lambda::Mapping as Source;
use sandbox::serve::{Server, real_time};
use std::path::PathBuf;
use std::time::Duration;

const QUEUE: &str = "in";
const DEAD: &str = "dead";

struct Place {
    mapping: Mapping,
    sandbox: Sandbox,
    _server: Server,
}

/// A function `actor` behind a queue with this visibility timeout; a message is received three times at most.
fn place(
    visibility_seconds: i64,
    timeout_ms: i64,
    change: impl FnOnce(&mut Function, &mut Source),
) -> Place {
    place_with_init(visibility_seconds, timeout_ms, Duration::from_secs(10), change)
}

/// The same, where a process has so long to ask for its first invocation.
fn place_with_init(
    visibility_seconds: i64,
    timeout_ms: i64,
    init_max: Duration,
    change: impl FnOnce(&mut Function, &mut Source),
) -> Place {
    let sandbox = real_time(1);
    {
        let world = &mut *sandbox.world();
        Sqs::add_queue(world, QueueSpec { name: DEAD.to_owned(), ..QueueSpec::default() });
        let dead_letter = Some(DEAD.to_owned());
        let name = QUEUE.to_owned();
        let spec = QueueSpec {
            name,
            visibility_seconds,
            max_receives: 3,
            dead_letter,
            ..QueueSpec::default()
        };
        Sqs::add_queue(world, spec);
    }
    let server = Server::start(&sandbox).unwrap();
    let mut function = Function {
        name: "actor".to_owned(),
        binary: PathBuf::from(env!("CARGO_BIN_EXE_actor")),
        environment: Vec::new(),
        timeout_ms,
        aws_url: server.url(),
        logs: None,
        freezes: false,
    };
    let mut source = Source::new(QUEUE);
    change(&mut function, &mut source);
    let mapping = Mapping::start_with_init(&sandbox, function, source, init_max).unwrap();
    Place { mapping, sandbox, _server: server }
}

impl Place {
    fn send(&self, bodies: &[&str]) {
        let world = &mut *self.sandbox.world();
        for body in bodies {
            Sqs::send(world, QUEUE, body);
        }
    }

    fn depth(&self, queue: &str) -> usize {
        self.sandbox.world().aws.sqs.depth(queue)
    }

    /// Waits until the world's clock shows so much more.
    #[track_caller]
    fn wait(&self, ms: i64) {
        let at = self.sandbox.now() + ms;
        until("time goes by", || (self.sandbox.now() >= at).then_some(()));
    }

    /// Waits until the queue is empty, and the dead letters are so many.
    #[track_caller]
    fn emptied(&self, dead: usize) {
        until("the queue is empty", || (self.depth(QUEUE) == 0).then_some(()));
        assert_eq!(self.depth(DEAD), dead, "{:?}", self.mapping.failures());
    }

    fn in_state(&self, state: State) -> Vec<Process> {
        self.mapping.processes().into_iter().filter(|process| process.state == state).collect()
    }
}

#[test]
fn what_is_answered_is_deleted_and_a_process_serves_one_batch_after_another() {
    let place = place(30, 5_000, |_, _| {});
    for round in 1..=3 {
        place.send(&["ok"]);
        place.emptied(0);
        assert_eq!(place.mapping.invocations(), round);
        until("it asks again", || (!place.in_state(State::Idle).is_empty()).then_some(()));
    }
    let processes = place.mapping.processes();
    assert_eq!(processes.len(), 1, "{processes:?}");
    let process = &processes[0];
    assert_eq!((process.invocations, process.exit), (3, None));
    assert!(process.peak_memory_bytes.is_some_and(|bytes| bytes > 100_000), "{process:?}");
    assert!(process.cpu_to_next.is_some_and(|time| time > Duration::ZERO), "{process:?}");
    assert!(process.start_to_next >= process.cpu_to_next, "{process:?}");
    assert_eq!(place.mapping.failures(), [""; 0]);
}

#[test]
fn what_fails_comes_back_until_it_is_a_dead_letter() {
    let place = place(1, 5_000, |_, _| {});
    place.send(&["ok", "fail", "ok"]);
    place.emptied(1);
    let world = place.sandbox.world();
    let dead = world.aws.sqs.queues[DEAD].messages.values().next().unwrap();
    assert_eq!((dead.body.as_str(), dead.receive_count), ("fail", 3));
}

#[test]
fn an_error_gives_the_whole_batch_back_and_the_process_lives() {
    let place = place(1, 5_000, |_, _| {});
    place.send(&["throw"]);
    place.emptied(1);
    let processes = place.mapping.processes();
    assert_eq!(processes.len(), 1, "{processes:?}");
    assert_eq!(processes[0].invocations, 3);
    assert_eq!(place.mapping.failures().len(), 3);
}

#[test]
fn whoever_exits_is_replaced() {
    let place = place(1, 5_000, |_, _| {});
    place.send(&["exit"]);
    place.emptied(1);
    let codes: Vec<_> = place
        .in_state(State::Ended)
        .iter()
        .map(|it| it.exit.and_then(|exit| exit.code()))
        .collect();
    assert_eq!(codes, [Some(7); 3]);
}

#[test]
fn an_invocation_ends_at_its_deadline_and_its_process_with_it() {
    let place = place(2, 500, |_, _| {});
    place.send(&["hang"]);
    place.emptied(1);
    let ended = place.in_state(State::Ended);
    assert_eq!(ended.len(), 3, "{ended:?}");
    let world = place.sandbox.world();
    assert!(world.processes.values().all(|process| process.timed_out), "{:?}", world.processes);
}

/// Processes that hang before they ask for anything: `always`, or the one that makes this file.
fn hanging_at_start(who: &str, timeout_ms: i64) -> Place {
    place_with_init(2, timeout_ms, Duration::from_millis(400), |function, _| {
        function.environment.push(("START_HANGS".to_owned(), who.to_owned()));
    })
}

#[test]
fn who_does_not_ask_in_time_is_started_anew_and_no_invocation_timed_out() {
    let marker = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("first-start");
    std::fs::remove_file(&marker).ok();
    let place = hanging_at_start(&marker.display().to_string(), 5_000);
    place.send(&["ok"]);
    place.emptied(0);
    let processes = place.mapping.processes();
    let seen: Vec<_> = processes.iter().map(|it| (it.init_timed_out, it.invocations)).collect();
    assert_eq!(seen, [(true, 0), (false, 1)]);
    let failures = place.mapping.failures();
    assert!(failures.len() == 1 && failures[0].contains("started anew"), "{failures:?}");
    let world = place.sandbox.world();
    let records = &world.processes;
    assert!(records.values().all(|record| !record.timed_out), "{records:?}");
    let invocations: Vec<_> = records.values().map(|record| record.invocations).collect();
    assert_eq!(invocations, [0, 1]);
}

#[test]
fn a_second_start_that_takes_too_long_is_the_invocations_timeout() {
    let place = hanging_at_start("always", 300);
    place.send(&["ok"]);
    place.emptied(1);
    let ended = place.in_state(State::Ended);
    let init_timed_out: Vec<bool> = ended.iter().map(|it| it.init_timed_out).collect();
    assert_eq!(init_timed_out, [true, false].repeat(3), "three receives, two starts each");
    let world = place.sandbox.world();
    let timed_out: Vec<bool> = world.processes.values().map(|it| it.timed_out).collect();
    assert_eq!(timed_out, [false, true].repeat(3));
}

#[test]
fn a_killed_process_gives_its_messages_back_to_another() {
    let place = place(1, 10_000, |_, _| {});
    place.send(&["hold 300"]);
    let busy = until("it is busy", || place.in_state(State::Busy).pop());
    place.mapping.kill(busy.number).unwrap();
    place.emptied(0);
    assert!(place.mapping.kill(busy.number).is_err(), "it is gone");
    let processes = place.mapping.processes();
    assert_eq!(processes.len(), 2, "{processes:?}");
    assert_eq!(processes[0].state, State::Ended);
    assert_ne!(processes[1].pid, processes[0].pid);
    assert!(place.sandbox.world().processes[&busy.number].killed);
}

#[test]
fn a_frozen_process_goes_on_where_it_was_when_it_is_thawed() {
    let place = place(30, 10_000, |_, _| {});
    place.send(&["hold 200"]);
    let busy = until("it is busy", || place.in_state(State::Busy).pop());
    place.mapping.freeze(busy.number).unwrap();
    place.wait(600);
    assert_eq!(place.depth(QUEUE), 1, "a stopped process answers nothing");
    place.mapping.thaw(busy.number).unwrap();
    place.emptied(0);
    assert_eq!(place.mapping.processes().len(), 1);
}

#[test]
fn a_process_that_waits_is_frozen_and_thawed_for_its_next_batch() {
    let place = place(30, 5_000, |function, _| function.freezes = true);
    for _ in 0..2 {
        place.send(&["ok"]);
        place.emptied(0);
        until("it is frozen", || place.in_state(State::Idle).pop().filter(|it| it.frozen));
    }
    assert_eq!(place.mapping.processes().len(), 1);
}

#[test]
fn five_at_first_then_more_up_to_the_maximum() {
    let place = place(30, 10_000, |_, source| {
        source.batch = 1;
        source.concurrency_max = 7;
    });
    place.send(&["hold 2000"; 9]);
    let first = until("five are busy", || {
        let busy = place.in_state(State::Busy).len() + place.in_state(State::Init).len();
        (busy >= 5).then_some(busy)
    });
    assert_eq!(first, 5);
    place.emptied(0);
    assert_eq!(place.mapping.processes().len(), 7);
    assert_eq!(place.mapping.invocations(), 9);
}

#[test]
fn a_window_gathers_a_batch() {
    let place = place(30, 5_000, |_, source| source.window_ms = 1_000);
    for _ in 0..4 {
        place.send(&["ok"]);
        place.wait(50);
    }
    place.emptied(0);
    assert_eq!(place.mapping.invocations(), 1);
}

#[test]
fn a_binary_that_is_not_there_is_told_and_burns_receives() {
    let place = place(1, 5_000, |function, _| function.binary = PathBuf::from("/nonexistent"));
    place.send(&["ok"]);
    place.emptied(1);
    assert!(place.mapping.failures()[0].contains("/nonexistent"), "{:?}", place.mapping.failures());
}
