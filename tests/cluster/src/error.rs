//! Why a control plane is not there.

use std::io;
use std::path::PathBuf;

/// What went wrong while something was started or asked.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The programs were never built on this machine.
    #[error("no control plane; build it with tests/cluster/build")]
    NotBuilt(PathBuf),
    /// A file, a port or a process could not be made.
    #[error("{what}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A certificate could not be made.
    #[error("make certificate")]
    Certificate(#[source] rcgen::Error),
    /// A client's TLS could not be set up.
    #[error("set up TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A program ended by itself.
    #[error("{name} has ended; its log ends with\n{log}")]
    Ended {
        /// The program.
        name: &'static str,
        /// The last lines of its log.
        log: String,
    },
    /// A program runs, but was not ready in time.
    #[error("{name} was not ready in time ({last}); its log ends with\n{log}")]
    Late {
        /// The program.
        name: &'static str,
        /// What it answered last.
        last: String,
        /// The last lines of its log.
        log: String,
    },
    /// A request that the harness itself makes was refused.
    #[error("{what}")]
    Refused {
        /// What was asked for.
        what: String,
        /// What the server said.
        #[source]
        source: Box<kube::Error>,
    },
}

impl StartError {
    /// The error and all its causes.
    pub fn why(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }

    /// For `map_err` on what the system does.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// For `map_err` on a request.
    pub(crate) fn refused(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |source| Self::Refused { what, source: Box::new(source) }
    }
}
