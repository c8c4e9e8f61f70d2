//! Why a message body cannot be read: which field, what was seen, what was expected.
//!
//! The text goes to the log and to whoever looks into the dead-letter queue, so it must be enough to
//! repair the sender, and must never hold a hook token.

/// A body that no event can be read from. Final: it will not read better the next time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Nothing, or only white space.
    #[error("empty body, expected an event as JSON")]
    Empty,
    /// Text that is not JSON, in the body or in the `Message` of an SNS notification.
    #[error("{path}: not JSON at byte {byte}: {problem}")]
    NotJson {
        /// `body` or `Message`.
        path: String,
        /// Offset of the first byte that does not fit, counted from 0.
        byte: usize,
        /// What the JSON reader says; never a part of the text.
        problem: String,
    },
    /// A field that is missing or malformed.
    #[error("{path}: {seen}, expected {expected}")]
    Field {
        /// The keys from the outermost object on, joined by dots: `detail.EC2InstanceId`.
        path: String,
        /// The value seen, shortened and in backticks, or `missing`; of a token only its length.
        seen: String,
        /// The form expected, as a phrase.
        expected: String,
    },
}
