//! The eviction subresource: a deletion that asks the pod's budget first.
//!
//! The order is the real server's: finished, terminating and Pending pods pass without a budget; then
//! the budget is asked, and takes the disruption off its status at once; only then the preconditions
//! are looked at. So a wrong uid on an exhausted budget is a 429, and a 409 has cost a disruption.
//! Conflicts of pods that pass are tried again for ten seconds, the others are not.

use crate::kubernetes::api::{Request, Response, Target};
use crate::kubernetes::delete;
use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::Object;
use crate::kubernetes::rule::{self, How};
use crate::kubernetes::{budget, pod, status, strict};
use crate::world::{Millis, World};
use serde_json::Value;
use std::sync::Arc;

/// How long the real server tries a conflict again before it says so: twenty attempts, half a second apart;
/// measured as 9.97 s.
const CONFLICT_MS: Millis = 9_970;

/// With more granted evictions than these that its controller has not seen, a budget gives none.
const DISRUPTED_MAX: usize = 2_000;

/// What an Eviction may hold.
const FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "deleteOptions"];

/// Answers `POST …/pods/{name}/eviction`.
pub(super) fn answer(
    world: &mut World,
    process: u32,
    target: &Target,
    request: &Request,
) -> Result<Response, Response> {
    let body: Value = serde_json::from_slice(&request.body)
        .map_err(|error| status::bad_request(&format!("unable to decode: {error}")))?;
    if body["metadata"]["name"] != *target.name {
        return Err(status::bad_request("name in URL does not match name in Eviction object"));
    }
    // A field of another name, such as `delete_options`, is unknown and of no effect, unless that is to be refused.
    strict::check_fields(request, &body, &FIELDS)?;
    let options = &body["deleteOptions"];
    let dry_run = request.is_dry_run(options);
    let key = target.key();
    let Some(pod) = world.kubernetes.store.get(Kind::Pod, &key).cloned() else {
        return Err(status::not_found(Kind::Pod, &target.name));
    };
    let unasked = passes_unasked(&pod);
    if !unasked
        && let Some(budget) = ask_budget(world, &pod)?
        && !dry_run
    {
        budget::take(world, &budget, &target.name);
    }
    delete::check_preconditions(&pod, options).map_err(|conflict| {
        // Whoever names a version means this one, which no attempt brings back.
        let again = unasked && options["preconditions"]["resourceVersion"].is_null();
        Response { held_ms: if again { CONFLICT_MS } else { 0 }, ..conflict }
    })?;
    if dry_run {
        return Ok(status::success(201));
    }
    if pod.meta.deletion.is_none() {
        rule::judge_removal(world, process, &pod, How::Evicted);
    }
    let now = world.now;
    world.kubernetes.store.update(Kind::Pod, &key, |pod| {
        let why = ("EvictionByEvictionAPI", "Eviction API: evicting");
        pod.set_condition(now, "DisruptionTarget", "True", why);
    });
    delete::delete_pod(world, &key, options["gracePeriodSeconds"].as_i64());
    Ok(status::success(201))
}

/// Whether the pod's loss can't disrupt anything.
fn passes_unasked(pod: &Object) -> bool {
    pod.meta.deletion.is_some() || pod::is_terminal(pod) || pod.status["phase"] == "Pending"
}

/// The budget that has a disruption to give for this pod; none if it needs none.
fn ask_budget(world: &World, pod: &Object) -> Result<Option<Arc<Object>>, Response> {
    let budgets = budget::of_pod(world, pod);
    let budget = match budgets.as_slice() {
        [] => return Ok(None),
        [one] => one,
        _ => return Err(status::two_budgets()),
    };
    let number = |field: &str| budget.status[field].as_i64().unwrap_or(0);
    let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
    // A pod that is not Ready counts for nothing, so its loss needs no disruption.
    if !pod.is_ready() {
        let always = budget.spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
        if always || healthy >= desired && desired > 0 {
            return Ok(None);
        }
    }
    let name = &budget.meta.name;
    if budget.status["observedGeneration"].is_null() {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Err(status::too_many_requests(&cause, 10));
    }
    if budget.status["disruptedPods"].as_object().is_some_and(|all| all.len() > DISRUPTED_MAX) {
        return Err(status::too_many_disrupted(name));
    }
    if number("disruptionsAllowed") <= 0 {
        let why = why_none(budget, healthy, desired);
        return Err(status::too_many_requests(&format!("The disruption budget {name} {why}"), 0));
    }
    Ok(Some(budget.clone()))
}

/// Why a budget has no disruption to give, in the words of the newest version. (1.33 compares the numbers always.)
fn why_none(budget: &Object, healthy: i64, desired: i64) -> String {
    let why = budget.condition("DisruptionAllowed").filter(|why| why["status"] == "False");
    let text = |name: &str| why.and_then(|why| why[name].as_str()).unwrap_or_default();
    let (reason, message) = (text("reason"), text("message"));
    match (reason, message) {
        ("SyncFailed", message) if !message.is_empty() => {
            format!("does not allow evicting pods currently because it failed sync: {message}")
        }
        _ if healthy <= desired => {
            format!("needs {desired} healthy pods and has {healthy} currently")
        }
        (_, "") => "does not allow evicting pods currently".to_owned(),
        _ => format!("does not allow evicting pods currently ({reason}): {message}"),
    }
}
