//! The whole system: events of AWS, processes of the functions, a real API server with nodes that kwok speaks for.
//!
//! Most cases share one control plane and one account, in which each has a group of its own, and run beside each other: they
//! mostly wait. Without the built control plane all of this is listed as ignored, with the reason.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, though without the standard harness"
)]

mod apart;
mod denials;
mod kills;
mod outages;
mod rights;
mod signals;
mod stage;

use cluster_tests::{StartError, Tools};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use stage::{Case, Given, Run, Shared};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use system_tests::{Binaries, Profile};

/// All cases that are named in the code, by module. The longest come first.
const CASES: &[(&str, &[Case])] =
    &[("kills", kills::CASES), ("outages", outages::CASES), ("signals", signals::CASES)];

/// Cases at once, unless `--test-threads` says otherwise. Half of them wait for a controller, a grace or a settle time at any
/// moment; with twice as many, debug binaries on two cores run into their timeouts.
const AT_ONCE: usize = 8;

/// The functions' programs, built by the first case that needs them, or why there are none.
type Built = Arc<OnceLock<Result<Binaries, String>>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let tools = Tools::find();
    if let Err(why) = &tools {
        println!("not run: {}", why.why());
    }
    let (built, shared): (Built, Shared) = Default::default();
    let mut all: Vec<(String, Run)> = Vec::new();
    for (module, cases) in CASES {
        for (name, run) in *cases {
            all.push((format!("{module}::{name}"), Box::new(*run)));
        }
    }
    all.extend(rights::trials());
    all.extend(denials::trials());
    let trials = all.into_iter().map(|(name, run)| {
        let tools = tools.as_ref().map(Tools::clone).map_err(StartError::why);
        let (built, shared) = (built.clone(), shared.clone());
        Trial::ignorable_test(name, move || match tools {
            Ok(tools) => in_runtime(tools, (&built, shared), run),
            Err(why) => Ok(Completion::ignored_with(format!("not run: {why}"))),
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    // Ends the plant, which leaving the process would not.
    drop(shared);
    conclusion.exit_code()
}

fn in_runtime(
    tools: Tools,
    (built, shared): (&Built, Shared),
    run: Run,
) -> Result<Completion, Failed> {
    let built = built.get_or_init(|| Binaries::find(Profile::Debug).map_err(|why| why.to_string()));
    let binaries = built.clone().map_err(Failed::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(Given { tools, binaries, shared }));
    Ok(Completion::Completed)
}
