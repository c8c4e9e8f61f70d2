//! How a call to AWS fails: one enum, which names the operation and its subject, with a class.
//!
//! The cause is the `source`; its text is not repeated by whoever wraps it, and [`CloudError::why`]
//! joins the whole chain for people. An SDK error is not kept as it is when the service answered:
//! it holds the raw response, headers included.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use decision::id::IdError;
use decision::step::Class;
use std::error::Error;
use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

mod class;

/// What lies beneath a failure; shared, so that one failure can be told of several subjects.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// A call to AWS that failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CloudError {
    /// The service answered, with an error.
    #[error("{operation} {subject}")]
    Refused {
        /// What was tried, as a verb phrase: `describe lifecycle hooks of`.
        operation: &'static str,
        /// What it was about: ids and names, never a token.
        subject: String,
        /// The service's own words.
        source: Refusal,
    },
    /// No answer came: timeout, no connection, a broken one. What a write did is unknown.
    #[error("{operation} {subject}")]
    Unanswered {
        /// What was tried.
        operation: &'static str,
        /// What it was about.
        subject: String,
        /// What went wrong on the way.
        source: Cause,
    },
    /// The service agreed, but its answer is not what it is documented to be.
    #[error("{operation} {subject}")]
    Unreadable {
        /// What was tried.
        operation: &'static str,
        /// What it was about.
        subject: String,
        /// What is wrong with the answer.
        source: AnswerError,
    },
    /// The request could not be made: no credentials, or something that cannot be signed or sent.
    #[error("{operation} {subject}")]
    Unsent {
        /// What was tried.
        operation: &'static str,
        /// What it was about.
        subject: String,
        /// Why it could not be made.
        source: Cause,
    },
}

/// A service's refusal in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The service's error code: `Throttling`; empty where the answer had none.
    pub code: String,
    /// The service's message; may be empty.
    pub message: String,
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header, where it was a number of seconds.
    pub retry_after: Option<Duration>,
}

impl Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => write!(out, "HTTP {}", self.status),
            ("", message) => write!(out, "{message} (HTTP {})", self.status),
            (code, "") => write!(out, "{code} (HTTP {})", self.status),
            (code, message) => write!(out, "{code}: {message} (HTTP {})", self.status),
        }
    }
}

impl Error for Refusal {}

/// What is wrong with an answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AnswerError {
    /// A field that is always there is not.
    #[error("the answer has no {0}")]
    Missing(&'static str),
    /// A value that is none of the documented ones.
    #[error("the answer has an unknown {what} `{value}`")]
    Unknown {
        /// Which field.
        what: &'static str,
        /// The value seen.
        value: String,
    },
    /// An id of another form.
    #[error("the answer has an id of another form")]
    Id(#[from] IdError),
    /// A body that does not parse.
    #[error("the answer does not parse")]
    Body(#[source] Cause),
    /// The list goes on beyond the pages that we read.
    #[error("the list has more than {0} pages")]
    Pages(usize),
}

impl CloudError {
    /// How it failed, as far as it matters for what comes next.
    pub fn class(&self) -> Class {
        match self {
            Self::Refused { source, .. } => source.class(),
            Self::Unanswered { .. } => Class::Again,
            Self::Unreadable { .. } | Self::Unsent { .. } => Class::Final,
        }
    }

    /// What was tried, as a verb phrase without its subject: `describe lifecycle hooks of`.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Refused { operation, .. }
            | Self::Unanswered { operation, .. }
            | Self::Unreadable { operation, .. }
            | Self::Unsent { operation, .. } => operation,
        }
    }

    /// The service's refusal, if it answered with one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { source, .. } => Some(source),
            Self::Unanswered { .. } | Self::Unreadable { .. } | Self::Unsent { .. } => None,
        }
    }

    /// The whole chain for people: `describe instances i-1: UnauthorizedOperation: … (HTTP 403)`.
    pub fn why(&self) -> String {
        let mut words = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            words.push_str(": ");
            words.push_str(&error.to_string());
            cause = error.source();
        }
        words
    }
}

/// What is being tried, for the errors that may come of it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    operation: &'static str,
    subject: String,
}

impl Call {
    pub(crate) fn new(operation: &'static str, subject: impl Display) -> Self {
        Self { operation, subject: subject.to_string() }
    }

    /// A call about several things: the first ones by name, the rest as a number.
    pub(crate) fn about<T: Display>(operation: &'static str, subjects: &[T]) -> Self {
        const NAMED_MAX: usize = 3;
        let named: Vec<String> = subjects.iter().take(NAMED_MAX).map(T::to_string).collect();
        let mut subject = named.join(", ");
        if subjects.len() > NAMED_MAX {
            subject = format!("{subject} and {} more", subjects.len() - NAMED_MAX);
        }
        Self { operation, subject }
    }

    /// What the SDK (or its orchestrator, where we sign ourselves) says of a call that failed.
    pub(crate) fn failed<E>(&self, error: SdkError<E, HttpResponse>) -> CloudError
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let (operation, subject) = (self.operation, self.subject.clone());
        match error {
            SdkError::ServiceError(context) => {
                let success = context.raw().status().is_success();
                let refusal = Refusal::read(context.err().meta(), context.raw());
                if success {
                    self.unreadable(AnswerError::Body(Arc::new(context.into_err())))
                } else {
                    self.refused(refusal)
                }
            }
            SdkError::ConstructionFailure(_) => {
                CloudError::Unsent { operation, subject, source: Arc::new(error) }
            }
            // A `ResponseError` is an answer that broke off, so it belongs to these.
            _ => CloudError::Unanswered { operation, subject, source: Arc::new(error) },
        }
    }

    pub(crate) fn refused(&self, source: Refusal) -> CloudError {
        CloudError::Refused { operation: self.operation, subject: self.subject.clone(), source }
    }

    pub(crate) fn unreadable(&self, source: impl Into<AnswerError>) -> CloudError {
        let source = source.into();
        CloudError::Unreadable { operation: self.operation, subject: self.subject.clone(), source }
    }

    pub(crate) fn unsent(&self, cause: impl Error + Send + Sync + 'static) -> CloudError {
        let source: Cause = Arc::new(cause);
        CloudError::Unsent { operation: self.operation, subject: self.subject.clone(), source }
    }
}
