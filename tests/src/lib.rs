//! Stand-ins for what surrounds a function's real binary: the Lambda Runtime API, and an AWS to talk to.
//!
//! Everything is on loopback and on real time, in plain threads: the binary under test is a process of its own,
//! as it is in Lambda. The whole-flow tests do without them, since they run in one process on virtual time.
//!
//! ```text
//!   test or runtime-api ── Environment ──> process of a function
//!                             │                 │  GET next, POST response     ─> lambda::RuntimeApi
//!                             └── answers <──   │  Auto Scaling, EC2, EKS, SQS ─> aws::Aws
//! ```

pub mod aws;
pub mod environment;
pub mod event;
pub mod http;
pub mod invocation;
pub mod lambda;
