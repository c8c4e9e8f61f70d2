//! What `cloud` puts on the wire and what it makes of the answers: request bytes, response bytes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod autoscaling;
mod clients;
mod ec2;
mod eks;
mod elbv2;
mod events;
mod fake;
mod sqs;
