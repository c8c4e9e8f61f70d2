//! Each action of AWS that README.md's policy allows is denied in turn: the function names what it misses, and loses nothing.
//! So nothing is asked for there that is not used either.

use crate::apart::{Apart, Wanted};
use crate::rights::{ends_well, held, terminate};
use crate::stage::{Given, Run, Stage};
use sandbox::aws::autoscaling::Autoscaling;
use sandbox::aws::events::EventBridge;
use sandbox::aws::health::{Change, Health, Maintenance};
use serde_json::{Value, json};

/// Where the policy stands.
const README: &str = include_str!("../../../../README.md");
/// What Lambda's poller does with the function's role.
const POLLER: [&str; 3] = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];
/// What only an announced change leads to: it is looked at whether it is still to come, the target is taken out by us, and
/// put back when the change is called off.
const MAINTENANCE: [&str; 3] = [
    "ec2:DescribeInstanceStatus",
    "elasticloadbalancing:DeregisterTargets",
    "elasticloadbalancing:RegisterTargets",
];
/// Until the change that was announced, within the lead of an hour.
const HALF_AN_HOUR_MS: i64 = 1_800_000;

/// A trial for each action of the policy, named after it.
pub(crate) fn trials() -> Vec<(String, Run)> {
    let trial = |action: String| {
        let name = format!("denials::without_{}", action.replace(':', "_"));
        let run: Run = Box::new(move |given| Box::pin(without(given, action)));
        (name, run)
    };
    actions().into_iter().filter(|action| !POLLER.contains(&action.as_str())).map(trial).collect()
}

/// All actions of the policy.
fn actions() -> Vec<String> {
    let mut blocks = README.split("\n```").filter_map(|block| block.strip_prefix("json"));
    let policy = blocks.find(|block| block.contains("\"Statement\"")).unwrap();
    let policy: Value = serde_json::from_str(policy).unwrap();
    let statements = policy["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|statement| statement["Action"].as_array().unwrap());
    actions.map(|action| action.as_str().unwrap().to_owned()).collect()
}

async fn without(given: Given, action: String) {
    let (_, call) = action.split_once(':').unwrap();
    let name = format!("no-{}", call.to_lowercase());
    let maintenance = MAINTENANCE.contains(&action.as_str());
    let wanted = if maintenance { free(&given, &name).await } else { held(&given, &name).await };
    let apart = wanted.denied(&action).deploy(&given);
    let event = maintenance.then(|| announce(&apart));
    match call {
        "RegisterTargets" => {
            apart.drained(&apart.machines[0], &name).await;
            apart.withdrawn(&apart.machines[0], &name).await;
            call_off(&apart, event.as_deref());
        }
        "SendMessage" => {
            apart.aws(|world| EventBridge::notify(world, &name, "not JSON".to_owned()));
        }
        // A way that brings the instance back: which action waits is known by a heartbeat.
        "RecordLifecycleActionHeartbeat" => {
            let id = &apart.machines[0].instance;
            apart.aws(|world| Autoscaling::replace_root_volume(world, id));
        }
        "CompleteLifecycleAction" => {
            apart.force(&apart.machines[0]).await;
            terminate(&apart);
        }
        _ if maintenance => {}
        _ => terminate(&apart),
    }
    // SQS shows actions in small letters.
    let shown = if action.starts_with("sqs:") { action.to_lowercase() } else { action.clone() };
    apart.named(&action, &[format!("is not authorized to perform: {shown}")]).await;
    apart.aws(|world| world.aws.budgets.denied_to.remove(&(name.clone(), action.clone())));
    match call {
        "SendMessage" => {
            let dead = format!("{name}-dead");
            let what = ("it is a dead letter", name.as_str());
            apart.until(what, || apart.dead_letters(&dead).pop()).await;
        }
        "RegisterTargets" => {
            let what = ("it serves again", name.as_str());
            apart.until(what, || apart.serves(&apart.machines[0]).then_some(())).await;
        }
        _ if maintenance => {
            apart.drained(&apart.machines[0], &name).await;
            apart.withdrawn(&apart.machines[0], &name).await;
        }
        _ => ends_well(&apart).await,
    }
}

/// Three nodes whose pods may go one by one.
async fn free(given: &Given, name: &str) -> Wanted {
    let wanted = Wanted::new(Stage::shared(given).await, ("interruption", name), 3).await;
    wanted.stage.work(name, name, (6, json!({"maxUnavailable": 1}))).await;
    wanted
}

/// Announces the retirement of the first instance, and returns the event's ARN.
fn announce(apart: &Apart) -> String {
    apart.aws(|world| {
        let (id, start_at) = (&apart.machines[0].instance, world.now + HALF_AN_HOUR_MS);
        Health::schedule(world, Change::new(Maintenance::Retirement, id, start_at))
    })
}

fn call_off(apart: &Apart, event: Option<&str>) {
    apart.aws(|world| Health::cancel(world, event.unwrap()));
}
