//! The mapping's rules, kills on either side of an effect, and runs that repeat.

use super::{Environment, Function, Lambda, Mapping, Trigger, drive};
use crate::aws::sqs::{QueueSpec, Sqs};
use crate::fault::{Chance, Fault, Scope};
use crate::wire::client::sqs;
use crate::world::{Millis, Sandbox, World};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;

const IN: &str = "in";
const OUT: &str = "out";
const START: Millis = 1_700_000_000_000;
const MINUTE: Millis = 60_000;

fn sandbox(seed: u64) -> Sandbox {
    let sandbox = Sandbox::new(seed, START);
    let mut world = sandbox.world();
    for name in [IN, OUT] {
        let spec =
            QueueSpec { name: name.to_owned(), visibility_seconds: 90, ..QueueSpec::default() };
        Sqs::add_queue(&mut world, spec);
    }
    drop(world);
    sandbox
}

fn function(environment: impl Fn(u32) -> Environment + 'static) -> Function {
    Function {
        name: "f".to_owned(),
        trigger: Trigger::Queue(Mapping::new(IN)),
        timeout_ms: 15_000,
        environment: Box::new(environment),
    }
}

/// A function that answers every event with what `answer` makes of it.
fn answering(answer: impl Fn(&Value) -> Result<Value, String> + Clone + 'static) -> Function {
    function(move |_| {
        let answer = answer.clone();
        Environment::new(move |event, _| {
            let answer = answer(&event);
            async move { answer }
        })
    })
}

fn never(_: &World) -> bool {
    false
}

#[tokio::test(start_paused = true)]
async fn what_a_batch_becomes_follows_aws() {
    let id = |event: &Value, index: usize| event["Records"][index]["messageId"].clone();
    type Answer = fn(&Value, &dyn Fn(&Value, usize) -> Value) -> Result<Value, String>;
    let rows: [(&str, Answer, usize); 12] = [
        ("null", |_, _| Ok(Value::Null), 0),
        ("empty object", |_, _| Ok(json!({})), 0),
        ("null list", |_, _| Ok(json!({"batchItemFailures": null})), 0),
        ("empty list", |_, _| Ok(json!({"batchItemFailures": []})), 0),
        ("one", |e, id| Ok(json!({"batchItemFailures": [{"itemIdentifier": id(e, 0)}]})), 1),
        ("error", |_, _| Err("no".to_owned()), 2),
        ("text", |_, _| Ok(json!("no")), 2),
        ("list is text", |_, _| Ok(json!({"batchItemFailures": "x"})), 2),
        ("unknown id", |_, _| Ok(json!({"batchItemFailures": [{"itemIdentifier": "x"}]})), 2),
        ("empty id", |_, _| Ok(json!({"batchItemFailures": [{"itemIdentifier": ""}]})), 2),
        ("null id", |_, _| Ok(json!({"batchItemFailures": [{"itemIdentifier": null}]})), 2),
        ("wrong key", |e, id| Ok(json!({"batchItemFailures": [{"id": id(e, 0)}]})), 2),
    ];
    for (name, answer, left) in rows {
        let sandbox = sandbox(3);
        let functions = [answering(move |event| answer(event, &id))];
        for body in ["a", "b"] {
            Sqs::send(&mut sandbox.world(), IN, body);
        }
        drive(&sandbox, &functions, START + MINUTE, never).await;
        assert_eq!(sandbox.world().aws.sqs.depth(IN), left, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_event_has_lambdas_shape_and_failed_messages_come_back_after_their_visibility() {
    let sandbox = sandbox(3);
    let seen: Rc<RefCell<Vec<(Value, Millis)>>> = Rc::default();
    let log = seen.clone();
    let functions = [function(move |_| {
        let log = log.clone();
        Environment::new(move |event, deadline| {
            let failed = event["Records"][0]["messageId"].clone();
            log.borrow_mut().push((event, deadline));
            async move { Ok(json!({"batchItemFailures": [{"itemIdentifier": failed}]})) }
        })
    })];
    Sqs::send(&mut sandbox.world(), IN, "hello");
    drive(&sandbox, &functions, START + 2 * MINUTE, never).await;
    let seen = seen.borrow();
    assert_eq!(seen.len(), 2);
    let record = &seen[1].0["Records"][0];
    assert_eq!(record["body"], "hello");
    assert_eq!(record["md5OfBody"], "5d41402abc4b2a76b9719d911017c592");
    assert_eq!(record["eventSource"], "aws:sqs");
    assert_eq!(record["eventSourceARN"], "arn:aws:sqs:eu-central-1:123456789012:in");
    assert_eq!(record["attributes"]["ApproximateReceiveCount"], "2");
    assert_eq!(record["attributes"]["SentTimestamp"], START.to_string());
    let between = seen[1].1 - seen[0].1;
    assert!((89_800..=90_100).contains(&between), "{between}");
}

#[tokio::test(start_paused = true)]
async fn an_environment_is_reused_until_its_timeout_kills_it() {
    let sandbox = sandbox(3);
    let functions = [function(|process| {
        let invocations = Rc::new(RefCell::new(0));
        Environment::new(move |_, _| {
            *invocations.borrow_mut() += 1;
            let hangs = process == 1 && *invocations.borrow() == 3;
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Ok(Value::Null)
            }
        })
    })];
    let mut lambda = Lambda::new(&sandbox, &functions);
    for minute in 1..=5 {
        Sqs::send(&mut sandbox.world(), IN, "x");
        lambda.drive(START + minute * MINUTE, never).await;
    }
    let world = sandbox.world();
    let records: Vec<_> = world.processes.values().collect();
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!((records[0].invocations, records[0].timed_out), (3, true));
    assert_eq!(records[0].busy_ms, 15_000);
    assert!(!records[1].timed_out);
    assert_eq!(world.aws.sqs.depth(IN), 0, "what timed out came back and was done");
}

#[tokio::test(start_paused = true)]
async fn concurrency_starts_at_five_and_grows_by_five_a_second_to_its_maximum() {
    let sandbox = sandbox(3);
    let functions = [function(|_| {
        Environment::new(|_, _| async {
            tokio::time::sleep(std::time::Duration::from_secs(14)).await;
            Ok(Value::Null)
        })
    })];
    for _ in 0..600 {
        Sqs::send(&mut sandbox.world(), IN, "x");
    }
    let mut lambda = Lambda::new(&sandbox, &functions);
    let mut running = Vec::new();
    for at in [50, 1_000, 2_000, 10_000] {
        lambda.drive(START + at, never).await;
        running.push(lambda.running());
    }
    assert_eq!(running, [5, 9, 14, 20]);
}

/// Sends one message on for each that it receives.
fn forwarding(sandbox: &Sandbox) -> Function {
    let sandbox = sandbox.clone();
    function(move |process| {
        let (client, url) = (sqs(&sandbox, process), Sqs::url(&sandbox.world(), OUT));
        Environment::new(move |event, _| {
            let (client, url) = (client.clone(), url.clone());
            async move {
                for record in event["Records"].as_array().into_iter().flatten() {
                    let body = record["body"].as_str().unwrap_or_default();
                    let sent =
                        client.send_message().queue_url(&url).message_body(body).send().await;
                    sent.map_err(|error| error.to_string())?;
                }
                Ok(Value::Null)
            }
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_kill_falls_on_either_side_of_an_effect() {
    let mut sides = Vec::new();
    for wait in 1..=3 {
        let sandbox = sandbox(3);
        sandbox.world().faults.kills = vec![(1, wait)];
        let functions = [forwarding(&sandbox)];
        Sqs::send(&mut sandbox.world(), IN, "x");
        drive(&sandbox, &functions, START + 5_000, never).await;
        let done = sandbox.world().aws.sqs.depth(OUT) == 1;
        let heard = sandbox.calls_of(1).iter().any(|call| call.status == 200);
        let left = sandbox.world().aws.sqs.depth(IN) == 1;
        sides.push((done, heard, left, sandbox.world().processes[&1].killed));
        drive(&sandbox, &functions, START + 2 * MINUTE, never).await;
        assert_eq!(sandbox.world().aws.sqs.depth(IN), 0, "another environment does it again");
    }
    assert!(sides.contains(&(false, false, true, true)), "before its effect: {sides:?}");
    assert!(sides.contains(&(true, false, true, true)), "after its effect: {sides:?}");
    assert!(sides.contains(&(true, true, false, false)), "too late to be killed: {sides:?}");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_ticks() {
    let sandbox = sandbox(3);
    let ticks: Rc<RefCell<Vec<Value>>> = Rc::default();
    let log = ticks.clone();
    let mut sweep = function(move |_| {
        let log = log.clone();
        Environment::new(move |event, _| {
            log.borrow_mut().push(event["time"].clone());
            async { Ok(Value::Null) }
        })
    });
    sweep.trigger = Trigger::Every(MINUTE);
    drive(&sandbox, &[sweep], START + 3 * MINUTE + 1_000, never).await;
    assert_eq!(
        *ticks.borrow(),
        ["2023-11-14T22:14:20Z", "2023-11-14T22:15:20Z", "2023-11-14T22:16:20Z"]
    );
}

/// A run with everything that draws chances, as one text.
fn run(seed: u64) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let sandbox = sandbox(seed);
        let chance = |fault, per_mille| Chance { scope: Scope::All, fault, per_mille };
        {
            let mut world = sandbox.world();
            world.faults.kills_per_mille = 200;
            world.faults.chances = vec![
                chance(Fault::Throttled, 50),
                chance(Fault::TimedOutAfter, 50),
                chance(Fault::ResetBefore, 50),
                chance(Fault::Slow, 50),
            ];
            for number in 0..60 {
                Sqs::send(&mut world, IN, &number.to_string());
            }
        }
        let functions = [forwarding(&sandbox)];
        let done = |world: &World| world.aws.sqs.depth(IN) == 0;
        drive(&sandbox, &functions, START + 60 * MINUTE, done).await;
        let world = sandbox.world();
        assert_eq!(world.aws.sqs.depth(IN), 0);
        format!(
            "{:#?} {:#?} {:#?} {}",
            world.calls, world.processes, world.faults.struck, world.now
        )
    })
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..=5 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1), run(2));
}
