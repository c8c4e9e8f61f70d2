//! The whole system on one machine: what AWS says, what the functions' processes do, and what a real API server makes
//! of it.
//!
//! ```text
//!   sandbox: EC2, ASG, EventBridge ─> SQS ─> mapping ─> processes of `lifecycle` and `interruption`
//!      ^  └─ EKS, STS, TokenReview <── kube-apiserver <── bearer token ──┘ │
//!      └──────────────────────────── AWS calls ────────────────────────────┘
//! ```
//!
//! The functions come to the API server as they do to EKS: by a token that STS vouches for, an access entry, a group, and
//! the ClusterRole of `infra/rbac.yaml`. What they asked for is read from the API server's own audit log.

mod account;
mod api;
mod audit;
mod binary;
mod error;
mod role;
pub mod storm;
mod system;
mod workload;

pub use account::{
    CLUSTER, Care, DEAD_LETTER_QUEUE, Group, LAUNCH_HOOK, Machine, QUEUES, Registered,
    TERMINATE_HOOK, ZONE,
};
pub use api::Api;
pub use audit::{Asked, Audit};
pub use binary::{Binaries, Profile};
pub use error::SystemError;
pub use role::{Right, Role};
pub use system::{Deployment, Options, System};
pub use workload::Workload;
