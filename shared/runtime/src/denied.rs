//! Rights that are missing, each told once in a slice.
//!
//! Who may not look only comes back, as in an outage: without a line in the log nobody would learn which right is missing.
//! A storm's slice would write that line for every node and turn, and nobody would read it.

use crate::retry::Classed;
use decision::id::ClusterName;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// What was tried, and in which cluster if in any.
type Tried = (Option<ClusterName>, String);

/// What was told in this slice; bounded by the number of our operations and clusters.
#[derive(Debug, Default)]
pub(crate) struct Denied {
    told: Mutex<BTreeSet<Tried>>,
}

impl Denied {
    /// A new slice begins: everything may be told again.
    pub(crate) fn forget(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Tells of a read that was denied; of another failure nothing, which the turn itself reports.
    pub(crate) fn read(&self, cluster: Option<&ClusterName>, failure: &impl Classed) {
        let Some(step) = self.news(cluster, failure) else { return };
        let (cluster, error) = (cluster.map(ClusterName::as_str), failure.why());
        tracing::error!(
            cluster,
            step,
            error,
            "a right is missing, what depends on this read waits or goes by what was known"
        );
    }

    /// Tells of a watch that was denied, which costs seconds and nothing else.
    pub(crate) fn watch(&self, cluster: &ClusterName, failure: &impl Classed) {
        let Some(step) = self.news(Some(cluster), failure) else { return };
        let error = failure.why();
        tracing::warn!(%cluster, step, error, "a right is missing, woken by the clock alone");
    }

    /// What was tried, if it was denied and nobody was told yet.
    fn news(&self, cluster: Option<&ClusterName>, failure: &impl Classed) -> Option<String> {
        let step = failure.denied()?;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert((cluster.cloned(), step.clone())).then_some(step)
    }
}
