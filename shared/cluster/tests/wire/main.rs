//! The wire: the bytes of each request, and what becomes of the bytes of each answer.

mod connection;
mod error;
mod fake;
mod limit;
mod object;
mod request;
mod watch;
