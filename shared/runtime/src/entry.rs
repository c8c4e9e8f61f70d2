//! The Lambda entry: builds things in the order in which they are needed and hands over.

use crate::app::App;
use crate::clock::Clock;
use crate::config::{Config, ConfigErrors};
use crate::connect::dial_eks;
use crate::limiter::Limits;
use crate::metric::Function;
use crate::slice::handle;
use crate::telemetry::{self, Start, Trigger};
use cloud::{Clients, Settings, SharedCredentialsProvider, SharedTimeSource};
use decision::time::Timestamp;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use std::cell::Cell;
use std::fmt;
use tracing::Instrument as _;

/// Why a function did not start, or stopped. Its Debug is for people: it is what `main` prints at the end.
#[derive(thiserror::Error)]
pub enum EntryError {
    /// The configuration has mistakes, all of them named.
    #[error("read the configuration:\n{0}")]
    Config(ConfigErrors),
    /// The Runtime API failed.
    #[error("talk to the Lambda Runtime API")]
    Runtime(#[source] lambda_runtime::Error),
}

impl fmt::Debug for EntryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")?;
        match self {
            Self::Config(_) => Ok(()),
            Self::Runtime(error) => write!(out, ": {error}"),
        }
    }
}

/// Runs the function until its environment ends.
pub async fn run(function: Function) -> Result<(), EntryError> {
    let config = Config::from_env().map_err(EntryError::Config)?;
    telemetry::init(config.log_level, config.log_format);
    let event_bus = config.event_bus.clone();
    let app = &App { metrics: Some(function), event_bus, ..build(&config) };
    let is_first = &Cell::new(true);
    let handler = service_fn(move |event: LambdaEvent<Value>| async move {
        let start = if is_first.replace(false) { Start::Cold } else { Start::Warm };
        let trigger =
            if event.payload.get("Records").is_some() { Trigger::Queue } else { Trigger::Bare };
        let span = telemetry::invocation(&event.context.request_id, start, trigger);
        let deadline = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        // Boxed: the compiler gives up on a future that nests this deep.
        let slice = Box::pin(handle(app, event.payload, Timestamp::from_millis(deadline)));
        let answer = slice.instrument(span).await;
        Ok::<Value, std::convert::Infallible>(answer)
    });
    lambda_runtime::run(handler).await.map_err(EntryError::Runtime)
}

/// One process of a function, as configured. Makes no call.
fn build(config: &Config) -> App {
    let clock = Clock::System;
    let settings = Settings {
        region: config.region.clone(),
        credentials: SharedCredentialsProvider::new(config.credentials.clone()),
        http: cloud::clients::http_client(),
        endpoints: config.endpoints.clone(),
        time: SharedTimeSource::new(clock.clone()),
    };
    let dial = dial_eks(
        clock.clone(),
        config.region.clone(),
        config.credentials.clone(),
        config.sts_host.clone(),
    );
    App::new(
        clock,
        config.policy.clone(),
        config.queues.clone(),
        (Clients::new(&settings), Limits::for_share(config.concurrency)),
        dial,
    )
}
