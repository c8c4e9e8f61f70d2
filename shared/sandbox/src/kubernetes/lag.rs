//! How long kubelets and controllers take to react: the defaults of the real ones, where known.

use crate::kubernetes::store::draw;
use crate::world::{Millis, World};

/// Lags in milliseconds; a pair is drawn from evenly.
#[derive(Clone, Debug)]
pub struct Lags {
    /// A kubelet hears of its pod: the watch's latency and a turn of its loop.
    pub kubelet: (Millis, Millis),
    /// Between the end of the containers and the removal of the object.
    pub removal: (Millis, Millis),
    /// Owners count their pods.
    pub owner: (Millis, Millis),
    /// The scheduler binds a pod.
    pub scheduler: (Millis, Millis),
    /// The EndpointSlice controller batches what it hears.
    pub endpoint_slice: (Millis, Millis),
    /// The budget controller.
    pub budget: (Millis, Millis),
    /// The node controller's taints.
    pub taint: (Millis, Millis),
    /// A silent kubelet is noticed: `node-monitor-grace-period`, 40 s.
    pub node_monitor: Millis,
    /// Pods leave an unreachable node: the `tolerationSeconds` that admission gives them, 300 s.
    pub no_execute: Millis,
    /// The cloud controller deletes the node of a terminated instance. It asks only about nodes
    /// that are not Ready, hence later than `node_monitor`.
    pub node_gone: Millis,
    /// A volume is off its node after its pod's containers are gone.
    pub detach: Millis,
    /// The same when the node can't confirm it: `maxWaitForUnmountDuration`, 6 minutes.
    pub force_detach: Millis,
}

impl Default for Lags {
    fn default() -> Self {
        Self {
            kubelet: (10, 50),
            removal: (50, 300),
            owner: (5, 30),
            scheduler: (5, 20),
            endpoint_slice: (50, 200),
            budget: (50, 50),
            taint: (10, 100),
            node_monitor: 40_000,
            no_execute: 300_000,
            node_gone: 60_000,
            detach: 3_000,
            force_detach: 360_000,
        }
    }
}

impl World {
    /// Draws a lag from the cluster's.
    pub(in crate::kubernetes) fn lag(&mut self, of: fn(&Lags) -> (Millis, Millis)) -> Millis {
        let range = of(&self.kubernetes.lags);
        draw(&mut self.rng, range)
    }
}
