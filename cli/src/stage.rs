//! The stage: the real functions, with the real clients, on a sandbox's wires.
//!
//! Each environment of a function is one [`App`] with its own clients and caches, as a process of Lambda's would be.

use cloud::clients::credentials;
use cloud::{Clients, Endpoints, Region, Settings, SharedCredentialsProvider, SharedTimeSource};
use decision::policy::Policy;
use decision::time::Timestamp;
use runtime::app::{App, Decide};
use runtime::clock::Clock;
use runtime::config::Queues;
use runtime::limiter::Limits;
use runtime::slice::handle;
use sandbox::Sandbox;
use sandbox::lambda::{Environment, Function, Mapping, Trigger};
use std::rc::Rc;
use std::sync::Arc;

/// The timeout of the functions, in milliseconds (infra sets the same).
pub const FUNCTION_TIMEOUT_MS: i64 = 15_000;

/// The region that every world is in.
pub const REGION: &str = "eu-west-1";

/// What a stage needs to know of a deployment.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The operator's choices.
    pub policy: Policy,
    /// The queue that feeds the function, by name.
    pub queue: String,
    /// Where its dead letters go, by name.
    pub dead_letter: String,
    /// Messages in one batch.
    pub batch: usize,
    /// The maximum concurrency of the event source mapping.
    pub concurrency: u16,
}

impl Deployment {
    /// The queues' addresses as the function is configured with them.
    fn queues(&self, sandbox: &Sandbox) -> Option<Queues> {
        let world = sandbox.world();
        let (region, account) = (&world.aws.region, &world.aws.account);
        let url = |name: &str| {
            format!("https://sqs.{region}.amazonaws.com/{account}/{name}").parse().ok()
        };
        Some(Queues { source: url(&self.queue)?, dead_letter: url(&self.dead_letter)? })
    }
}

/// One process of a function on the sandbox's wires.
pub fn app(sandbox: &Sandbox, process: u32, deployment: &Deployment) -> App {
    let clock = Clock::starting(Timestamp::from_millis(sandbox.now()));
    let settings = Settings {
        region: Region::from_static(REGION),
        credentials: SharedCredentialsProvider::new(credentials("AKIDEXAMPLE", "secret", None)),
        http: sandbox.aws(process),
        endpoints: Endpoints::default(),
        time: SharedTimeSource::new(clock.clone()),
    };
    let wires = sandbox.clone();
    App::new(
        clock,
        deployment.policy.clone(),
        deployment.queues(sandbox),
        (Clients::new(&settings), Limits::for_share(deployment.concurrency)),
        Arc::new(move |_| Ok(cluster::wrap(wires.kubernetes(process)))),
    )
}

/// A function that is fed by its queue; each environment is a fresh [`App`].
pub fn function(sandbox: &Sandbox, name: &str, deployment: &Deployment) -> Function {
    function_with(sandbox, name, deployment, decision::decide::decide)
}

/// The same with a decision of the caller's.
pub fn function_with(
    sandbox: &Sandbox,
    name: &str,
    deployment: &Deployment,
    decide: Decide,
) -> Function {
    function_of(sandbox, name, deployment, move |app| app.decide = decide)
}

/// The same with processes that the caller has changed.
pub fn function_of(
    sandbox: &Sandbox,
    name: &str,
    deployment: &Deployment,
    change: impl Fn(&mut App) + 'static,
) -> Function {
    let (stage, parts) = (sandbox.clone(), deployment.clone());
    let mapping = Mapping {
        batch: deployment.batch,
        concurrency_max: usize::from(deployment.concurrency),
        ..Mapping::new(&deployment.queue)
    };
    Function {
        name: name.to_owned(),
        trigger: Trigger::Queue(mapping),
        timeout_ms: FUNCTION_TIMEOUT_MS,
        environment: Box::new(move |process| {
            let mut app = app(&stage, process, &parts);
            change(&mut app);
            let app = Rc::new(app);
            Environment::new(move |event, deadline| {
                let app = Rc::clone(&app);
                async move { Ok(handle(&app, event, Timestamp::from_millis(deadline)).await) }
            })
        }),
    }
}
