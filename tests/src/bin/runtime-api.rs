//! `cargo run -p tests --bin runtime-api -- events/FILE [VARIABLE=value …]`: one invocation of the real binary by hand.
//!
//! Builds the function that hears such events as it is deployed, starts it with a Runtime API and an AWS on loopback in
//! which the event is true (its EKS cluster does not exist), and prints what it logged, which calls it made, and what it
//! answered.

use serde_json::Value;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use tests::aws::Account;
use tests::environment::{Environment, QUEUES};

const USAGE: &str = "\
usage: runtime-api events/FILE [VARIABLE=value ...]

One invocation of the function that hears such an event, as a process of its own with a Runtime API and an AWS on loopback in
which the event is true. The variables are the function's settings, as README.md lists them.";

/// What `cargo lambda` sends: a deadline in 1970, which the function takes for unknown.
const DEADLINE_MS: i64 = 600_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "{error}").ok();
            ExitCode::from(2)
        }
    }
}

fn run() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((file, settings)) = arguments.split_first() else {
        return Err(io::Error::other(USAGE));
    };
    if ["-h", "--help"].contains(&file.as_str()) {
        return writeln!(io::stdout(), "{USAGE}");
    }
    let settings = settings
        .iter()
        .map(|pair| {
            let wrong = || format!("{pair}: expected a setting as VARIABLE=value\n{USAGE}");
            pair.split_once('=').ok_or_else(|| io::Error::other(wrong()))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let text = std::fs::read_to_string(file).map_err(|error| named(file, &error))?;
    if text.trim().is_empty() {
        return Err(io::Error::other(format!("{file}: is empty: expected an event as JSON")));
    }
    let payload: Value = serde_json::from_str(&text).map_err(|error| named(file, &error))?;
    let account = Account::of(&payload);
    // A batch with both goes to the function that answers hooks.
    let is_interruption = account.actions.is_empty() && !account.instances.is_empty();
    let function = if is_interruption { "interruption" } else { "lifecycle" };
    let settings: Vec<(&str, &str)> = QUEUES.into_iter().chain(settings).collect();

    let mut function = Environment::start(&built(function)?, account, &settings)?;
    let answer = function.invoke(&text, DEADLINE_MS);
    let calls = function.aws.calls();
    let ended = function.end()?;
    let mut out = io::stdout();
    for line in ended.stdout.lines().chain(ended.stderr.lines()) {
        writeln!(out, "log     {line}")?;
    }
    for call in calls {
        writeln!(out, "call    {}", call.operation)?;
    }
    let answer = answer.map_err(|failure| io::Error::other(format!("no answer: {failure}")))?;
    writeln!(out, "answer  {answer:#}")
}

/// The binary, built by itself, as it is for Lambda: built with the rest it would have the tests' features.
fn built(function: &str) -> io::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = root.join("target");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--locked", "-p", function, "--target-dir"])
        .arg(&target)
        .current_dir(&root)
        .status()?;
    if !built.success() {
        return Err(io::Error::other("the function does not build"));
    }
    Ok(target.join("debug").join(format!("{function}{}", std::env::consts::EXE_SUFFIX)))
}

fn named(file: &str, error: &impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{file}: {error}"))
}
