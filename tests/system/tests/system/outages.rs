//! What breaks in the middle of a departure: the API server, its certificate, tokens, and a process that stands still.

use crate::stage::{Case, Given, Stage, busy};
use sandbox::aws::ec2::Ec2;
use std::sync::Arc;
use std::time::Duration;
use system_tests::{Machine, Options};
use tokio::time::sleep;

pub(crate) const CASES: &[Case] = &[
    ("the_certificate_changes", |given| Box::pin(the_certificate_changes(given))),
    ("the_api_server_restarts_and_tokens_expire", |given| {
        Box::pin(the_api_server_restarts_and_tokens_expire(given))
    }),
    ("a_process_stands_still_and_goes_on", |given| {
        Box::pin(a_process_stands_still_and_goes_on(given))
    }),
];

const ROLE: &str = "interruption";
/// Longer than any case here lasts: what AWS says of the end of an instance would be written on its node too, in the middle
/// of what is compared. The functions believe in two minutes nevertheless.
const LEAD_MS: i64 = 900_000;
/// How long the API server takes a token here.
const TOKEN_MS: i64 = 8_000;
/// Longer than that.
const EXPIRED: Duration = Duration::from_secs(10);
/// As long as a process stands still: past its invocation's timeout of 15 s and its messages' 20 s, so that another one has
/// taken over. Ten minutes would add the ends of its token and its connections: here both end sooner, by the token's
/// short life and by hand.
const STILL: Duration = Duration::from_secs(40);
/// As long as a process that was thawed is watched: more than the slice that it was in.
const WATCHED: Duration = Duration::from_secs(10);

/// A group of five nodes of which the first `count` are warned.
async fn warned(stage: &Stage, name: &str, count: usize) -> Vec<Machine> {
    let mut machines = stage.group(name, 5).await;
    machines.truncate(count);
    for machine in &machines {
        stage.aws(|world| Ec2::interrupt(world, &machine.instance, LEAD_MS));
    }
    machines
}

/// All of them leave, and nothing that was said about them is lost.
async fn all_leave(stage: &Stage, machines: &[Machine]) {
    for machine in machines {
        stage.cordoned(machine, ROLE).await;
        stage.drained(machine, ROLE).await;
        stage.withdrawn(machine, ROLE).await;
        stage.record(machine, ROLE).await;
    }
}

/// In the middle of departures the API server is away for a moment; and what it takes a token for is less time than the
/// functions keep one: they make another one when it is refused.
async fn the_api_server_restarts_and_tokens_expire(given: Given) {
    let mut options = Options::new("restart");
    options.flags = vec!["--authentication-token-webhook-cache-ttl=1s".to_owned()];
    let stage = Stage::new(&given, options).await;
    let machines = warned(&stage, "restart", 3).await;
    stage.cordoned(&machines[0], ROLE).await;
    stage.system.control.start_api().await.unwrap();
    all_leave(&stage, &machines).await;
    stage.aws(|world| world.aws.sts.token_valid_ms = TOKEN_MS);
    sleep(EXPIRED).await;
    let machines = warned(&stage, "expiry", 1).await;
    all_leave(&stage, &machines).await;
}

/// EKS rotates: what was dialed before fails in TLS, and is described anew.
async fn the_certificate_changes(given: Given) {
    let mut stage = Stage::new(&given, Options::new("rotate")).await;
    let first = warned(&stage, "before", 1).await;
    all_leave(&stage, &first).await;
    // Controllers and nodes trust the former authority, so that what is to leave later is made now.
    let mut later = stage.group("after", 5).await;
    later.truncate(1);
    Arc::get_mut(&mut stage.plant).unwrap().system.control.rotate().await.unwrap();
    stage.system.announce();
    stage.api = stage.system.api().unwrap();
    // Longer than an open connection is used again; the processes still know the former authority.
    sleep(Duration::from_secs(6)).await;
    stage.aws(|world| Ec2::interrupt(world, &later[0].instance, LEAD_MS));
    all_leave(&stage, &later).await;
}

/// SIGSTOP in the middle of an invocation, and SIGCONT when another process has long finished its work: what it still had in
/// mind to do is done no more.
async fn a_process_stands_still_and_goes_on(given: Given) {
    let stage = Stage::new(&given, Options::new("still")).await;
    stage.aws(|world| world.aws.sts.token_valid_ms = TOKEN_MS);
    let machines = warned(&stage, "still", 2).await;
    stage.cordoned(&machines[0], ROLE).await;
    let number = stage.until(("one works", ROLE), || busy(&stage.interruption).pop()).await.number;
    stage.interruption.freeze(number).unwrap();
    sleep(STILL).await;
    all_leave(&stage, &machines).await;
    // Its connections are dead.
    stage.system.control.start_api().await.unwrap();
    let before = writes(&stage);
    stage.interruption.thaw(number).unwrap();
    sleep(WATCHED).await;
    assert_eq!(writes(&stage), before, "it is all done");
    for machine in &machines {
        stage.acknowledged(machine, ROLE).await;
    }
    let again = warned(&stage, "again", 1).await;
    all_leave(&stage, &again).await;
}

/// What changed anything in the cluster.
fn writes(stage: &Stage) -> Vec<String> {
    let asked = stage.system.audit.of(ROLE).into_iter();
    let writes = asked.filter(|asked| {
        asked.code < 300 && ["create", "delete", "patch"].contains(&asked.verb.as_str())
    });
    writes.map(|asked| format!("{} {}", asked.right(), asked.name)).collect()
}
