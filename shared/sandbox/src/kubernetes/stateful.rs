//! The StatefulSet controller: pods with names of their own, in order.
//!
//! A name is given again only after its old object is gone, and a later pod waits for all earlier
//! ones to be Ready (`OrderedReady`).

use crate::kubernetes::kind::Kind;
use crate::kubernetes::{object, pod};
use crate::world::World;
use std::sync::Arc;

/// Creates the first pod that is missing, unless an earlier one is not Ready.
pub(super) fn reconcile(world: &mut World, id: &Arc<str>) {
    let Some(state) = world.kubernetes.workloads.get(id) else { return };
    let (work, replicas) = (state.work.clone(), state.replicas);
    for ordinal in 0..replicas {
        let name = format!("{}-{ordinal}", work.name);
        let key = object::key(&work.namespace, &name);
        let Some(found) = world.kubernetes.store.get(Kind::Pod, &key) else {
            pod::create(world, id, &name, None);
            return;
        };
        if found.meta.deletion.is_some() || !found.is_ready() {
            return;
        }
    }
}
