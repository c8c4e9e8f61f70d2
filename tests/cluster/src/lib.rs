//! A real Kubernetes control plane for tests: etcd and kube-apiserver, and a controller manager, a scheduler and fake
//! kubelets where a test asks for them.
//!
//! Everything listens on loopback at ports that were free, keeps its files in one temporary folder, and is gone when the
//! [`ControlPlane`] is dropped, also by a panic, and when the test's process dies.
//!
//! ```text
//!   ControlPlane ── etcd
//!                ── kube-apiserver <── admin, users by certificate or token, a webhook that knows tokens
//!                ── kube-controller-manager, kube-scheduler, kwok (nodes without kubelets)
//! ```
//!
//! The programs are built beforehand (`tests/cluster/build`); [`Tools::find`] says where they are, or that they are not.

mod certificate;
mod client;
mod control;
mod error;
mod fake;
mod process;
mod tools;

pub use certificate::{Authority, Pair};
pub use client::{Credential, dial};
pub use control::{ControlPlane, Setup, TokenUser};
pub use error::StartError;
pub use fake::FakeNode;
pub use tools::{Tools, Version};
