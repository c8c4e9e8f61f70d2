//! Each case is held to one expectation on both sides: on real API servers, the oldest and the newest version, and on
//! the sandbox. What the sandbox claims of Kubernetes is claimed here.
//!
//! Without the built programs the real sides are listed as ignored, with the reason; the sandbox's always run.

#![expect(clippy::print_stdout, reason = "a test, though without the standard harness")]

mod controllers;
mod deletions;
mod events;
mod evictions;
mod fairness;
mod make;
mod ours;
mod patches;
mod reads;
mod rights;
mod side;
mod watches;

use cluster_tests::{ControlPlane, Setup, StartError, TokenUser, Tools, Version};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use side::{Case, On, Side};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

/// All cases, by module.
const CASES: &[(&str, &[Case])] = &[
    ("controllers", controllers::CASES),
    ("deletions", deletions::CASES),
    ("events", events::CASES),
    ("evictions", evictions::CASES),
    ("ours", ours::CASES),
    ("patches", patches::CASES),
    ("reads", reads::CASES),
    ("rights", rights::CASES),
    ("fairness", fairness::CASES),
    ("watches", watches::CASES),
];

/// What the product's own client shows: somebody who may do everything.
const BEARER: &str = "Bearer conformance";

/// A control plane for all cases of a version: started by the first one, shared by all.
type Shared = Arc<OnceLock<Result<ControlPlane, String>>>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tools = Tools::find();
    if let Err(why) = &tools {
        println!("real API servers not run: {}", why.why());
    }
    let shared: Vec<(Version, Shared)> =
        Version::ALL.into_iter().map(|version| (version, Shared::default())).collect();
    let mut trials = Vec::new();
    for (module, cases) in CASES {
        for case in *cases {
            let name = format!("{module}::{}", case.name);
            if case.on != On::Real {
                let called = name.clone();
                let run = move || in_sandbox(case, &called);
                trials.push(Trial::test(format!("sandbox::{name}"), run));
            }
            for (version, shared) in &shared {
                let (version, shared) = (*version, shared.clone());
                let tools = tools.as_ref().map(Tools::clone).map_err(StartError::why);
                let called = name.clone();
                let run = move || against((case, &called), tools, version, &shared);
                trials.push(Trial::ignorable_test(format!("{}::{name}", version.minor()), run));
            }
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Ends the control planes, which leaving the process would not.
    drop(shared);
    conclusion.exit_code()
}

/// Runs a case against the sandbox, on tokio's paused clock: whoever waits there does not wait here.
fn in_sandbox(case: &Case, name: &str) -> Result<(), Failed> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build()?;
    runtime.block_on(async { (case.run)(&Side::sandbox(name)).await });
    Ok(())
}

fn against(
    (case, name): (&Case, &str),
    tools: Result<Tools, String>,
    version: Version,
    shared: &Shared,
) -> Result<Completion, Failed> {
    let tools = match tools {
        Ok(tools) => tools,
        Err(why) => return Ok(Completion::ignored_with(format!("not run: {why}"))),
    };
    let user = TokenUser {
        token: BEARER.trim_start_matches("Bearer ").to_owned(),
        name: "ebbtide-operator".to_owned(),
        groups: vec!["system:masters".to_owned()],
    };
    let setup = Setup { tokens: vec![user], ..Setup::new(version) };
    let start =
        || on_the_running_clock(ControlPlane::start(&tools, setup)).map_err(|why| why.why());
    let alone;
    let control = match case.on {
        // Controllers would write to what other cases have made.
        On::Alone => {
            alone = start();
            &alone
        }
        On::Both | On::Real => shared.get_or_init(start),
    };
    let control = control.as_ref().map_err(|why| Failed::from(why.clone()))?;
    on_the_running_clock(async {
        let side = Side::real(control, version, name).await;
        (case.run)(&side).await;
    });
    Ok(Completion::Completed)
}

fn on_the_running_clock<R>(future: impl Future<Output = R>) -> R {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime can be made").block_on(future)
}
