//! Deletion: a pod is marked with its grace and goes when its kubelet has stopped it; a second
//! request may only shorten the grace; grace 0 removes the object at once, whatever still runs.

use crate::kubernetes::api::{Request, Response, Target};
use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{Deletion, Key, Object};
use crate::kubernetes::rule::{self, How};
use crate::kubernetes::{pod, status};
use crate::world::World;
use serde_json::Value;
use std::sync::Arc;

/// Answers `DELETE` of one object.
pub(super) fn answer(
    world: &mut World,
    process: u32,
    target: &Target,
    request: &Request,
) -> Result<Response, Response> {
    let (kind, key) = (target.kind, target.key());
    let mut options: Value = if request.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&request.body)
            .map_err(|error| status::bad_request(&format!("unable to decode: {error}")))?
    };
    if let Some(seconds) =
        request.query.get("gracePeriodSeconds").and_then(|text| text.parse::<i64>().ok())
    {
        options["gracePeriodSeconds"] = seconds.into();
    }
    let Some(object) = world.kubernetes.store.get(kind, &key).cloned() else {
        return Err(status::not_found(kind, &target.name));
    };
    check_preconditions(&object, &options)?;
    if request.is_dry_run(&options) {
        return Ok(whole(&object));
    }
    if kind == Kind::Pod {
        if may_shorten(&object, &options) {
            rule::judge_removal(world, process, &object, How::Deleted(rule::grace(&options)));
        }
        delete_pod(world, &key, options["gracePeriodSeconds"].as_i64());
        return Ok(whole(world.kubernetes.store.get(kind, &key).unwrap_or(&object)));
    }
    world.kubernetes.store.remove(kind, &key);
    Ok(status::success(200))
}

/// The uid and the resource version that a deletion requires.
pub(super) fn check_preconditions(object: &Object, options: &Value) -> Result<(), Response> {
    let required = &options["preconditions"];
    let version = object.meta.resource_version.to_string();
    let pairs = [
        ("UID", &required["uid"], &*object.meta.uid),
        ("ResourceVersion", &required["resourceVersion"], version.as_str()),
    ];
    for (what, wanted, found) in pairs {
        if let Some(wanted) = wanted.as_str()
            && wanted != found
        {
            return Err(status::precondition(
                object.kind,
                &object.meta.name,
                what,
                (wanted, found),
            ));
        }
    }
    Ok(())
}

/// Deletes a pod with this grace, or with its own.
pub(super) fn delete_pod(world: &mut World, key: &Key, grace: Option<i64>) {
    let now = world.now;
    let Some(pod) = world.kubernetes.store.get(Kind::Pod, key) else { return };
    let grace = grace.map(|grace| if grace < 0 { 1 } else { grace });
    let deletion = match pod.meta.deletion {
        Some(old) => {
            let Some(shorter) = grace.filter(|grace| *grace < old.grace) else { return };
            Deletion { at: old.at - (old.grace - shorter) * 1000, grace: shorter }
        }
        None => {
            let own = || pod.spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(0);
            let idle = !pod.spec["nodeName"].is_string() || pod::is_terminal(pod);
            let grace = if idle { 0 } else { grace.unwrap_or_else(own) };
            Deletion { at: (now + grace * 1000).div_euclid(1000) * 1000, grace }
        }
    };
    // Also a pod that goes at once is marked first: watches see both.
    world.kubernetes.store.update(Kind::Pod, key, |pod| pod.meta.deletion = Some(deletion));
    remove_if_done(world, key);
}

/// The kubelet says that nothing runs any more: only finalizers keep the object.
pub(super) fn remove_object(world: &mut World, key: &Key) {
    world.kubernetes.store.update(Kind::Pod, key, |pod| {
        if let Some(deletion) = &mut pod.meta.deletion {
            deletion.grace = 0;
        }
    });
    remove_if_done(world, key);
}

/// Removes an object that is to go, once no finalizer and no kubelet keeps it.
pub(super) fn remove_if_done(world: &mut World, key: &Key) {
    let done = |pod: &&Arc<Object>| {
        pod.meta.finalizers.is_empty()
            && pod.meta.deletion.is_some_and(|deletion| deletion.grace == 0)
    };
    if world.kubernetes.store.get(Kind::Pod, key).filter(done).is_some() {
        world.kubernetes.store.remove(Kind::Pod, key);
    }
}

/// Whether this request changes anything for a pod that may be on its way out already.
fn may_shorten(pod: &Object, options: &Value) -> bool {
    let asked = options["gracePeriodSeconds"].as_i64();
    pod.meta.deletion.is_none_or(|old| asked.is_some_and(|asked| asked < old.grace))
}

fn whole(object: &Object) -> Response {
    let mut body = Vec::with_capacity(2048);
    object.write(&mut body);
    Response::new(200, body)
}
