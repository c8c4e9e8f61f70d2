//! Fed by an event source mapping, in an AWS that has state: from the event in the queue to the hook that is answered.

use crate::binary;
use lambda::{Function, Mapping, State};
use sandbox::Sandbox;
use sandbox::aws::autoscaling::LifecycleState;
use sandbox::lambda::Mapping as Source;
use sandbox::serve::stage::{self, Stage};
use sandbox::serve::{Server, real_time};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Waiting for a process is waiting for an event, with a deadline: this many looks.
const LOOKS_MAX: u32 = 2_000;
const LOOK: Duration = Duration::from_millis(20);

/// A world in which an instance leaves a group whose cluster was deleted, so that there is nothing to drain.
fn world() -> (Sandbox, Stage, Server) {
    let sandbox = real_time(11);
    let stage = {
        let mut world = sandbox.world();
        let stage = Stage::set(&mut world);
        world.aws.eks.clusters.clear();
        stage
    };
    let server = Server::start(&sandbox).unwrap();
    (sandbox, stage, server)
}

fn function(stage: &Stage, server: &Server, logs: &Path) -> Function {
    let settings = [
        ("MODE", "act"),
        ("MAXIMUM_CONCURRENCY", "2"),
        ("QUEUE_URL", &stage.queue_url),
        ("DEAD_LETTER_QUEUE_URL", &stage.dead_letter_url),
    ];
    Function {
        name: "lifecycle".to_owned(),
        binary: binary().to_path_buf(),
        environment: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        timeout_ms: 15_000,
        aws_url: server.url(),
        logs: Some(logs.to_path_buf()),
        freezes: true,
    }
}

/// Waits until the instance may go and the queue is empty; what was logged is the message of a failure.
#[track_caller]
fn gone(sandbox: &Sandbox, mapping: &Mapping, logs: &Path) {
    for _ in 0..LOOKS_MAX {
        {
            let world = sandbox.world();
            let state = world.aws.autoscaling.state(stage::LEAVING);
            let goes = matches!(state, None | Some(LifecycleState::TerminatingProceed));
            if goes && world.aws.sqs.depth(stage::QUEUE) == 0 {
                return;
            }
        }
        thread::sleep(LOOK);
    }
    let world = sandbox.world();
    let (state, failures) = (world.aws.autoscaling.state(stage::LEAVING), mapping.failures());
    panic!("{state:?}, {failures:?}, {:#?}\n{}", mapping.processes(), logged(logs));
}

#[track_caller]
fn wait(what: &str, logs: &Path, done: impl Fn() -> bool) {
    for _ in 0..LOOKS_MAX {
        if done() {
            return;
        }
        thread::sleep(LOOK);
    }
    panic!("{what}: not within {:?}\n{}", LOOK * LOOKS_MAX, logged(logs));
}

fn logged(logs: &Path) -> String {
    let files = std::fs::read_dir(logs).into_iter().flatten().flatten();
    files.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default()).collect()
}

fn logs(name: &str) -> std::path::PathBuf {
    let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Of an earlier run.
    std::fs::remove_dir_all(&logs).ok();
    logs
}

#[test]
fn an_event_in_the_queue_ends_as_an_answered_hook() {
    let (sandbox, stage, server) = world();
    let logs = logs("answered");
    let function = function(&stage, &server, &logs);
    let mapping = Mapping::start(&sandbox, function, Source::new(stage::QUEUE)).unwrap();
    gone(&sandbox, &mapping, &logs);
    let world = sandbox.world();
    let answers = &world.aws.autoscaling.answers;
    let results: Vec<(&str, bool)> =
        answers.iter().map(|answer| (answer.result.as_str(), answer.accepted)).collect();
    assert_eq!(results, [("CONTINUE", true)]);
    assert_eq!(world.aws.sqs.depth(stage::DEAD_LETTER_QUEUE), 0);
    assert_eq!(world.violations, [""; 0]);
    drop(world);
    let processes = mapping.processes();
    assert_eq!(processes.len(), 1, "{processes:?}");
    assert_eq!(mapping.failures(), [""; 0]);
    let writes: Vec<String> = sandbox
        .writes()
        .into_iter()
        .filter(|call| call.process == processes[0].number)
        .map(|call| call.operation)
        .collect();
    assert!(writes.contains(&"autoscaling:CompleteLifecycleAction".to_owned()), "{writes:?}");
    assert!(logged(&logs).contains("departure record"), "{}", logged(&logs));
}

#[test]
fn a_right_that_is_missing_is_named_and_nothing_is_lost() {
    let (sandbox, stage, server) = world();
    let complete = "autoscaling:CompleteLifecycleAction";
    sandbox.world().aws.budgets.denied.insert(complete.to_owned());
    let logs = logs("denied");
    let function = function(&stage, &server, &logs);
    let mapping = Mapping::start(&sandbox, function, Source::new(stage::QUEUE)).unwrap();
    wait("the answer is refused", &logs, || {
        let mut calls = sandbox.calls_of(1).into_iter();
        calls.any(|call| call.operation == complete && call.status == 403)
    });
    assert_eq!(sandbox.world().aws.sqs.depth(stage::QUEUE), 1, "the message is kept");
    sandbox.world().aws.budgets.denied.clear();
    gone(&sandbox, &mapping, &logs);
    let words = "assumed-role/lifecycle/lifecycle is not authorized to perform: autoscaling:CompleteLifecycleAction";
    assert!(logged(&logs).contains(words), "{}", logged(&logs));
}

/// SIGKILL between an answer's effect and the process's hearing of it. The message was hidden for 20 s, so that is when
/// another process takes it up. What it is shown could be older than the event, so it looks again for a minute, which is
/// not waited for here; but it answers nothing twice.
#[test]
fn a_process_killed_while_its_answer_is_on_the_way_is_followed_by_another() {
    let (sandbox, stage, server) = world();
    sandbox.world().latency.aws = 300..=300;
    let logs = logs("killed");
    let function = function(&stage, &server, &logs);
    let mapping = Mapping::start(&sandbox, function, Source::new(stage::QUEUE)).unwrap();
    let answers = || sandbox.world().aws.autoscaling.answers.clone();
    wait("the hook is answered", &logs, || !answers().is_empty());
    let first = mapping.processes().remove(0);
    assert_eq!(first.state, State::Busy, "{first:?}");
    mapping.kill(first.number).unwrap();
    let is_done = || {
        let processes = mapping.processes();
        processes.get(1).is_some_and(|it| it.invocations > 0 && it.state == State::Idle)
    };
    wait("another process has looked at it", &logs, is_done);
    let accepted: Vec<bool> = answers().iter().map(|answer| answer.accepted).collect();
    assert_eq!(accepted, [true]);
    let calls = sandbox.calls_of(first.number).into_iter();
    let unheard: Vec<String> =
        calls.filter(|call| call.status == 0).map(|call| call.operation).collect();
    assert_eq!(unheard, ["autoscaling:CompleteLifecycleAction"]);
    let world = sandbox.world();
    assert!(world.processes[&first.number].killed);
    let received = world.aws.sqs.queues[stage::QUEUE].messages.values();
    assert_eq!(received.map(|message| message.receive_count).collect::<Vec<_>>(), [2]);
    assert_eq!(world.aws.sqs.depth(stage::DEAD_LETTER_QUEUE), 0);
}
