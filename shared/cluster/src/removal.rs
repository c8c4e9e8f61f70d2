//! The two ways to remove a pod: evict it, which budgets may refuse, or delete it.
//!
//! Both carry the pod's uid as precondition, so that a pod of the same name that came after it is left
//! alone. kube 5.0's own `evict` sends `delete_options`, which the API server ignores: the precondition
//! would be lost, and a wrong uid answered with 201.

use crate::call::{Call, JSON};
use crate::error::{Cause, ClusterError, Operation};
use decision::id::PodKey;
use decision::step::Removal;
use http::Method;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};

/// Evicts the pod. The budget is asked before the precondition, so a pod that is another one by now may
/// be answered with its budget's refusal. The API server tries again for ten seconds where somebody else
/// wrote the budget, and where the precondition fails for a pod that does not run yet: the limit is longer here.
pub async fn evict(client: &kube::Client, removal: &Removal) -> Result<(), ClusterError> {
    let PodKey { namespace, name } = &removal.pod;
    let eviction = Eviction {
        metadata: ObjectMeta {
            namespace: Some(namespace.clone()),
            name: Some(name.clone()),
            ..ObjectMeta::default()
        },
        delete_options: Some(options(removal)),
    };
    call(Operation::Evict, removal, "/eviction")
        .write(Method::POST, JSON, &eviction)?
        .carry_out(client)
        .await
}

/// Deletes the pod, whatever budgets say, with this many seconds to end by itself. Zero is refused here:
/// it takes the pod out of the API while its containers may still run.
pub async fn delete(
    client: &kube::Client,
    removal: &Removal,
    grace_seconds: u32,
) -> Result<(), ClusterError> {
    let call = call(Operation::Delete, removal, "");
    if grace_seconds == 0 {
        return Err(call.failed(Cause::ZeroGrace));
    }
    let options =
        DeleteOptions { grace_period_seconds: Some(grace_seconds.into()), ..options(removal) };
    call.write(Method::DELETE, JSON, &options)?.carry_out(client).await
}

fn options(removal: &Removal) -> DeleteOptions {
    let uid = Some(removal.uid.as_str().to_owned());
    let preconditions = Some(Preconditions { uid, ..Preconditions::default() });
    DeleteOptions { preconditions, ..DeleteOptions::default() }
}

fn call(operation: Operation, removal: &Removal, subresource: &str) -> Call {
    let PodKey { namespace, name } = &removal.pod;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}{subresource}");
    Call::get(operation, removal.pod.to_string(), path)
}
