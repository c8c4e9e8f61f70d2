//! Why the system is not there, or did not answer.

use cluster_tests::StartError;
use std::io;

/// What went wrong with the stage, not with what is tested on it.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// No control plane.
    #[error("{}", .0.why())]
    Start(#[from] StartError),
    /// A file, a socket or a process.
    #[error("{what}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The API server refused what only a test asks for.
    #[error("{what}: {source}")]
    Refused {
        /// What was asked.
        what: String,
        /// What it said.
        #[source]
        source: Box<kube::Error>,
    },
    /// A request could not be written.
    #[error("write request")]
    Request(#[from] http::Error),
    /// It was waited for in vain.
    #[error("{0}")]
    Late(String),
    /// The functions could not be built.
    #[error("build the functions: {0}")]
    Build(String),
}

impl SystemError {
    /// For `map_err` on what the system does.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}
