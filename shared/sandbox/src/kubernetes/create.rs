//! POST of new objects: what clients and test cases create, with what the server and its admission add.
//!
//! What comes this way is an object and nothing more: no kubelet runs the pod, and no traffic knows the Service.

use crate::kubernetes::api::{Request, Response, Target};
use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{Object, Part};
use crate::kubernetes::status::{self, Cause};
use crate::kubernetes::store::{suffix, uid};
use crate::kubernetes::{event, taint};
use crate::world::World;
use serde_json::{Value, json};

/// How long a pod may stay on a node that is lost, unless it says so itself.
const TOLERATED_SECONDS: u32 = 300;

/// Whether objects of this kind can be created here.
pub(super) fn is_served(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Event
            | Kind::Node
            | Kind::Pod
            | Kind::PodDisruptionBudget
            | Kind::Service
            | Kind::EndpointSlice
            | Kind::VolumeAttachment
    )
}

/// Answers `POST` of a new object.
pub(super) fn answer(
    world: &mut World,
    target: &Target,
    request: &Request,
) -> Result<Response, Response> {
    if target.namespace.is_empty() && target.kind.resource().namespaced {
        return Err(status::method_not_allowed());
    }
    let mut value: Value = serde_json::from_slice(&request.body)
        .map_err(|error| status::bad_request(&format!("unable to decode: {error}")))?;
    let own_group = event::is_own_group(&request.path);
    if own_group {
        value = event::read(&value)?;
    }
    let name = name(world, target.kind, &value)?;
    let mut new = Object::new(target.kind, &target.namespace, &name).with(&value);
    if world.kubernetes.store.get(target.kind, &new.key()).is_some() {
        return Err(status::already_exists(target.kind, &name));
    }
    adorn(&mut new);
    new.meta.uid = uid(&mut world.rng);
    new.meta.created = world.now;
    if !request.is_dry_run(&Value::Null) {
        new = Object::clone(&world.kubernetes.store.put(new));
    }
    if own_group {
        return Ok(Response::new(201, event::write(&new).to_string().into_bytes()));
    }
    let mut body = Vec::with_capacity(2048);
    new.write(&mut body);
    Ok(Response::new(201, body))
}

fn name(world: &mut World, kind: Kind, value: &Value) -> Result<String, Response> {
    let meta = &value["metadata"];
    match (meta["name"].as_str(), meta["generateName"].as_str()) {
        (Some(name), _) => Ok(name.to_owned()),
        (None, Some(prefix)) => Ok(format!("{prefix}{}", suffix(&mut world.rng))),
        (None, None) => {
            let cause = Cause {
                reason: "FieldValueRequired",
                message: "Required value: name or generateName is required".to_owned(),
                field: "metadata.name".to_owned(),
            };
            Err(status::invalid(kind, "", &[cause]))
        }
    }
}

/// What the server adds to a new object of a kind.
fn adorn(new: &mut Object) {
    match new.kind {
        // Until its kubelet has said that it is Ready.
        Kind::Node => taint::add(new, json!({"key": taint::NOT_READY, "effect": "NoSchedule"})),
        Kind::Pod => {
            let spec = new.spec.edit();
            for (field, value) in [
                ("restartPolicy", json!("Always")),
                ("terminationGracePeriodSeconds", json!(30)),
                ("priority", json!(0)),
                ("schedulerName", json!("default-scheduler")),
                ("serviceAccountName", json!("default")),
            ] {
                if spec[field].is_null() {
                    spec[field] = value;
                }
            }
            tolerate_loss(&mut spec["tolerations"]);
            new.status = Part::new(json!({"phase": "Pending", "qosClass": "BestEffort"}));
        }
        Kind::PodDisruptionBudget => {
            new.status = Part::new(json!({"disruptionsAllowed": 0, "currentHealthy": 0,
                "desiredHealthy": 0, "expectedPods": 0}));
        }
        _ => {}
    }
}

fn tolerate_loss(tolerations: &mut Value) {
    if !tolerations.is_array() {
        *tolerations = Value::Array(Vec::new());
    }
    let Value::Array(all) = tolerations else { return };
    for key in [taint::NOT_READY, taint::UNREACHABLE] {
        if all.iter().all(|one| one["key"] != key) {
            all.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": TOLERATED_SECONDS}));
        }
    }
}
