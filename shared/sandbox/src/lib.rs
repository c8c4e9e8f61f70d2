//! An in-process AWS and Kubernetes: one world with state, a clock, faults, traffic and a seed.
//!
//! The real clients run unchanged on top of it: [`Sandbox::kubernetes`] is a tower service below
//! `kube::Client`, [`Sandbox::aws`] an HTTP connector below the AWS SDK. The world shares no code
//! with what it tests, so that it cannot share its mistakes. Time is tokio's paused clock.
//!
//! ```text
//!   kube::Client ──tower service──┐                       ┌─ kubernetes: objects, kubelets, controllers
//!   aws_sdk_*    ──connector──────┼─> faults ─> World ────┼─ aws: ASG, EC2, ELBv2, SQS, EventBridge, Health, EKS
//!   lambda       ──invokes────────┘   (one event queue)   └─ traffic: served and dropped, with the cause
//! ```

pub mod aws;
pub mod fault;
pub mod kubernetes;
pub mod lambda;
pub mod measure;
pub mod scenario;
#[cfg(feature = "serve")]
pub mod serve;
pub mod traffic;
pub mod wire;
pub mod world;

pub use world::{Millis, Sandbox, World};
