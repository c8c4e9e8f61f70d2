//! What a process is told at its start: the policy, where AWS is, and its queue.
//!
//! [`Config::parse`] takes a lookup and names all mistakes at once; [`Config::from_env`] is the one place that
//! reads the environment. The policy's variables are rows of `decision::policy::SETTINGS`, the rest are
//! rows of [`SETTINGS`] here, with form, default and reason, so that documentation can be tested
//! against them.

mod settings;
mod url;

pub use settings::{SETTINGS, Setting};
pub use url::Url;

use cloud::{Credentials, Endpoints, Region};
use decision::policy::{Policy, SettingError};
use settings::Draft;
use std::fmt;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the operator wants.
    pub policy: Policy,
    /// The region that everything is in.
    pub region: Region,
    /// Who we are; Debug shows the key's id alone.
    pub credentials: Credentials,
    /// Where AWS's services are, if not at AWS.
    pub endpoints: Endpoints,
    /// The host that bearer tokens are presigned for, if not the region's own. Only
    /// `AWS_ENDPOINT_URL_STS` sets it: API servers refuse hosts that are not STS's, so the general
    /// `AWS_ENDPOINT_URL` does not apply.
    pub sts_host: Option<String>,
    /// The queues; `None` only where the function is invoked with bare events.
    pub queues: Option<Queues>,
    /// How many environments may run at once, 2 to 1,000: each takes its part of AWS's rate limits.
    pub concurrency: u16,
    /// The event bus that our own events go to, by name or ARN; `None`: none are sent.
    pub event_bus: Option<String>,
    /// What is logged.
    pub log_level: LogLevel,
    /// How.
    pub log_format: LogFormat,
}

/// The queue that feeds the function, and the one for what can never work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queues {
    /// Messages are given back to it by their visibility.
    pub source: Url,
    /// Messages are sent to it with the reason.
    pub dead_letter: Url,
}

/// `AWS_LAMBDA_LOG_FORMAT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `Text`: for people.
    Text,
    /// `JSON`: what alarms, the dashboard and saved queries read.
    Json,
}

/// `AWS_LAMBDA_LOG_LEVEL`, but for `FATAL`, which would hide every error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// `ERROR`
    Error,
    /// `WARN`
    Warn,
    /// `INFO`
    Info,
    /// `DEBUG`
    Debug,
    /// `TRACE`
    Trace,
}

/// All mistakes of a configuration, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<SettingError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(out, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl Config {
    /// The configuration that `lookup` finds by variable, with defaults for what is unset or blank.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let (policy, mut mistakes) = match Policy::parse(&lookup) {
            Ok(policy) => (policy, Vec::new()),
            Err(mistakes) => (Policy::default(), mistakes),
        };
        let mut draft = Draft::default();
        for setting in SETTINGS {
            let given = lookup(setting.variable).unwrap_or_default();
            let text = if given.trim().is_empty() { setting.default } else { given.trim() };
            if let Err(expected) = (setting.apply)(&mut draft, text) {
                mistakes.push(SettingError::new(setting.variable, text, expected));
            }
        }
        let named: Vec<&str> = mistakes.iter().map(|mistake| mistake.name.as_str()).collect();
        let apart = draft.apart(&named);
        mistakes.extend(apart);
        match draft.finish(policy) {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => Err(ConfigErrors(mistakes)),
        }
    }

    /// The configuration of this process.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn from_env() -> Result<Self, ConfigErrors> {
        use std::env::{VarError, var};
        Self::parse(|name| match var(name) {
            Ok(text) => Some(text),
            Err(VarError::NotPresent) => None,
            // Shown as a mistake rather than taken for unset.
            Err(VarError::NotUnicode(bytes)) => Some(bytes.to_string_lossy().into_owned()),
        })
    }
}

#[cfg(test)]
mod tests;
