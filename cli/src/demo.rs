//! The demo: one event, or a storm of them, through the real functions, against a world that is simulated in this process.
//!
//! ```text
//!   event file ─> scene ─┬─ world without Ebbtide ─┐
//!                        ├─ world with Ebbtide ────┼─> timeline, comparison
//!                        └─ both, with bad manners ┘
//! ```
//! A storm has a scene of its own, and only one column.
//!
//! Each world runs on a clock of its own that waits for nobody: minutes take less than a second.

mod act;
mod blow;
mod cast;
mod cue;
mod group;
mod json;
mod post;
mod print;
mod progress;
mod run;
mod sample;
mod storm;
mod timeline;
mod truth;
mod why;
mod world;

use crate::args::DemoArgs;
use print::Comparison;
use progress::Progress;
use run::{Run, play};
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use world::{Behaviour, Column, Scene};

/// What the command line was told is wrong, as clap has it too.
const BAD_INPUT: u8 = 2;

/// Runs the demo, and says how it went.
pub fn main(args: &DemoArgs) -> ExitCode {
    if let Some(nodes) = args.storm {
        return finish(storm(nodes, args));
    }
    let script = match cue::read(args) {
        Ok(script) => script,
        Err(error) => {
            complain(&error);
            return ExitCode::from(BAD_INPUT);
        }
    };
    let scene = Scene::new(script, args.seed, args.policy);
    finish(runs(&scene, args))
}

/// Writes what there is to say.
fn finish(text: std::io::Result<String>) -> ExitCode {
    match text.and_then(|text| write(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads may stop reading.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn runs(scene: &Scene, args: &DemoArgs) -> std::io::Result<String> {
    let mut progress = Progress::new();
    let mut one = |title, column, behaviour, length| {
        progress.begin(title);
        run_one(scene, (column, behaviour), length, &mut progress)
    };
    let with = one("with Ebbtide", Column::With, Behaviour::ServesOn, None)?;
    let length = Some(with.length_ms);
    let without = one("without Ebbtide", Column::Without, Behaviour::ServesOn, length)?;
    if args.json {
        progress.end();
        return Ok(format!("{}\n", json::object(scene, &with, &without)));
    }
    let bad = "with pods that stop listening at once";
    let at_once = (
        one(bad, Column::With, Behaviour::StopsAtOnce, length)?,
        one(bad, Column::Without, Behaviour::StopsAtOnce, length)?,
    );
    progress.end();
    Ok(print::text(scene, &Comparison { with, without, at_once }))
}

fn storm(nodes: u16, args: &DemoArgs) -> std::io::Result<String> {
    let mut progress = Progress::new();
    progress.begin("a storm");
    let past = clock()?.block_on(storm::play(usize::from(nodes), args.seed, &mut progress));
    progress.end();
    Ok(if args.json { format!("{}\n", past.object()) } else { past.text() })
}

/// A world and a clock for it.
fn run_one(
    scene: &Scene,
    what: (Column, Behaviour),
    length: Option<sandbox::Millis>,
    progress: &mut Progress,
) -> std::io::Result<Run> {
    Ok(clock()?.block_on(play(scene, what, length, progress)))
}

/// A clock that waits for nobody.
fn clock() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
}

/// Writes to standard output, with colours where it is a terminal.
fn write(text: &str) -> std::io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// An error with its causes, on one line of standard error.
fn complain(error: &dyn Error) {
    let mut text = format!("ebbtide demo: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    // Where standard error is closed there is nobody to tell; the exit code still says it.
    drop(writeln!(std::io::stderr(), "{text}"));
}
