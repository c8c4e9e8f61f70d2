//! The wire: the bytes of each request, and what becomes of the bytes of each answer.

#![expect(clippy::unwrap_used, reason = "what should be there and is not fails the test")]

mod connection;
mod error;
mod fake;
mod limit;
mod object;
mod request;
mod watch;
