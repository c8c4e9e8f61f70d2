//! `cargo run -p sandbox --features serve --bin sandbox-aws`: the account of `sandbox::serve::stage`, over HTTP.
//!
//! Prints one line of JSON (its URL, and what there is), then obeys the lines of its standard input, each answered
//! with `ok` or what is wrong, and stops at their end:
//!
//! ```text
//!   deny ec2:DescribeInstances        until `allow ec2:DescribeInstances`
//!   throttle ec2:DescribeInstances    the next one
//!   break ec2:DescribeInstances       the next one: an error on AWS's side
//! ```

use sandbox::Sandbox;
use sandbox::aws::sts::{Key, Sts};
use sandbox::fault::{Fault, Scope, Script};
use sandbox::serve::{Server, real_time, stage};
use serde_json::{Value, json};
use std::io::{self, BufRead, Write};
use std::thread;
use std::time::Duration;

/// The longest wait for the hook to hold its instance: its load balancer lets go of it after a second.
const LOOKS_MAX: u32 = 200;

const LOOK: Duration = Duration::from_millis(50);

/// Key and secret of the caller, and of one whose session has ended.
const KEY: (&str, &str) = ("ASIAEBBTIDE000000001", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
const EXPIRED: (&str, &str) = ("ASIAEBBTIDE000000002", "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY");

/// What both send as their session's token.
const SESSION_TOKEN: &str = "a-session";

fn main() -> io::Result<()> {
    let sandbox = real_time(1);
    let stage = stage::Stage::set(&mut sandbox.world());
    keys(&sandbox);
    let server = Server::start(&sandbox)?;
    let token = token(&sandbox)?;
    let mut out = io::stdout();
    writeln!(out, "{}", facts(&sandbox, &server.url(), (&stage, &token)))?;
    out.flush()?;
    for line in io::stdin().lock().lines() {
        writeln!(out, "{}", obey(&sandbox, &line?))?;
        out.flush()?;
    }
    Ok(())
}

fn keys(sandbox: &Sandbox) {
    let mut world = sandbox.world();
    Sts::add_session(&mut world, (KEY.0, KEY.1, SESSION_TOKEN), "ebbtide", 1);
    let expires_at = Some(world.now);
    let arn = format!("arn:aws:sts::{}:assumed-role/ebbtide/late", world.aws.account);
    let session_token = Some(SESSION_TOKEN.to_owned());
    let key = Key { secret: EXPIRED.1.to_owned(), session_token, arn, process: 2, expires_at };
    world.aws.sts.keys.insert(EXPIRED.0.to_owned(), key);
}

/// The token of the action that waits, as soon as there is one.
fn token(sandbox: &Sandbox) -> io::Result<String> {
    for _ in 0..LOOKS_MAX {
        if let Some(token) = stage::token(&sandbox.world(), stage::LEAVING) {
            return Ok(token);
        }
        thread::sleep(LOOK);
    }
    Err(io::Error::other("the hook holds nothing"))
}

fn facts(sandbox: &Sandbox, url: &str, (stage, token): (&stage::Stage, &str)) -> Value {
    let world = sandbox.world();
    json!({
        "url": url,
        "region": world.aws.region,
        "account": world.aws.account,
        "key": { "id": KEY.0, "secret": KEY.1 },
        "expired": { "id": EXPIRED.0, "secret": EXPIRED.1 },
        "cluster": stage::CLUSTER,
        "group": stage::GROUP,
        "hooks": { "terminate": stage::TERMINATE_HOOK, "launch": stage::LAUNCH_HOOK },
        "token": token,
        "instances": {
            "leaving": stage::LEAVING,
            "spot": stage::SPOT,
            "retiring": stage::RETIRING,
        },
        "reservation": stage::RESERVATION,
        "target_groups": { "web": stage.web, "tcp": stage.tcp },
        "queue_url": stage.queue_url,
        "dead_letter_url": stage.dead_letter_url,
    })
}

/// Does what a line says.
fn obey(sandbox: &Sandbox, line: &str) -> String {
    let mut world = sandbox.world();
    let Some((verb, action)) = line.trim().split_once(' ') else {
        return format!("{line:?}: a verb and an action");
    };
    let (denied, scripts) = (&mut world.aws.budgets.denied, Scope::operation(action));
    match verb {
        "deny" => drop(denied.insert(action.to_owned())),
        "allow" => drop(denied.remove(action)),
        "throttle" => world.faults.scripts.push(Script::new(scripts, 1, Fault::Throttled)),
        "break" => world.faults.scripts.push(Script::new(scripts, 1, Fault::ServerError)),
        _ => return format!("{verb}: deny, allow, throttle or break"),
    }
    "ok".to_owned()
}
