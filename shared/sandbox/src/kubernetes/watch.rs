//! WATCH: what happened since a version, as lines of JSON.
//!
//! A selector makes a change look different: what begins to match is ADDED, what ceases to is DELETED.

use crate::kubernetes::api::{self, Request, Response, Target};
use crate::kubernetes::object::Object;
use crate::kubernetes::read::Choice;
use crate::kubernetes::status;
use crate::kubernetes::store::Change;
use crate::world::World;

/// The lines of a watch since `resource_version` (0: all there is, as ADDED), or a 410 when the
/// history begins later. The next look goes on from [`crate::kubernetes::Kubernetes::resource_version`].
pub fn watch_since(
    world: &mut World,
    request: &Request,
    resource_version: u64,
) -> Result<Vec<Vec<u8>>, Response> {
    let target = Target::parse(&request.path).ok_or_else(status::no_such_resource)?;
    api::allowed(world, &target, request)?;
    let choice = Choice::parse(&target, request)?;
    if resource_version == 0 {
        return Ok(choice.all(world).map(|(_, object)| line("ADDED", object)).collect());
    }
    let store = &world.kubernetes.store;
    if resource_version < store.compacted() {
        let oldest = store.compacted();
        return Err(status::expired(&format!(
            "too old resource version: {resource_version} ({oldest})"
        )));
    }
    let changes = store.since(resource_version).filter(|change| change.kind == choice.kind);
    Ok(changes.filter_map(|change| event(&choice, change)).collect())
}

fn event(choice: &Choice, change: &Change) -> Option<Vec<u8>> {
    let takes = |object: &Option<_>| {
        object.as_ref().is_some_and(|object: &std::sync::Arc<Object>| choice.takes(object))
    };
    let kind = match (takes(&change.before), takes(&change.after)) {
        (false, true) => "ADDED",
        (true, true) => "MODIFIED",
        (true, false) => "DELETED",
        (false, false) => return None,
    };
    Some(line(kind, change.object()?))
}

fn line(kind: &str, object: &Object) -> Vec<u8> {
    let mut line = Vec::with_capacity(2048);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(kind.as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    object.write(&mut line);
    line.extend_from_slice(b"}\n");
    line
}
