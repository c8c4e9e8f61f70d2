//! The eviction subresource: what a budget grants and refuses, and in which words.

use crate::make::{Count, Is, refusal, success};
use crate::side::{Case, On, Side};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) const CASES: &[Case] = &[
    Case { name: "granted", on: On::Both, run: |side| Box::pin(granted(side)) },
    Case { name: "takes_from_the_budget", on: On::Both, run: |side| Box::pin(takes(side)) },
    Case { name: "refused_by_a_budget", on: On::Both, run: |side| Box::pin(refused(side)) },
    Case {
        name: "refused_though_healthy",
        on: On::Both,
        run: |side| Box::pin(though_healthy(side)),
    },
    Case {
        name: "refused_for_lack_of_a_count",
        on: On::Both,
        run: |side| Box::pin(uncounted(side)),
    },
    Case { name: "refused_for_failed_sync", on: On::Both, run: |side| Box::pin(failed_sync(side)) },
    Case {
        name: "refused_for_too_many_at_once",
        on: On::Both,
        run: |side| Box::pin(too_many(side)),
    },
    Case { name: "two_budgets", on: On::Both, run: |side| Box::pin(two_budgets(side)) },
    Case { name: "passes_unasked", on: On::Both, run: |side| Box::pin(passes_unasked(side)) },
    Case { name: "budget_before_uid", on: On::Both, run: |side| Box::pin(budget_before_uid(side)) },
    Case { name: "wrong_uid", on: On::Both, run: |side| Box::pin(wrong_uid(side)) },
    Case { name: "wrong_uid_unasked", on: On::Both, run: |side| Box::pin(wrong_uid_unasked(side)) },
    Case { name: "stale_version", on: On::Both, run: |side| Box::pin(stale_version(side)) },
    Case { name: "dry_runs_reserve_nothing", on: On::Both, run: |side| Box::pin(dry_runs(side)) },
    Case { name: "unhealthy_pods", on: On::Both, run: |side| Box::pin(unhealthy(side)) },
    Case { name: "malformed", on: On::Both, run: |side| Box::pin(malformed(side)) },
];

/// Less than what the server's own attempts take (9.97 s were measured), and more than any other answer.
const SERVERS_ATTEMPTS: Duration = Duration::from_secs(7);

/// The message of every refusal by a budget.
const WOULD_VIOLATE: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

const ONE_LEFT: Count = Count { allowed: 1, healthy: 2, desired: 1 };
const NONE_LEFT: Count = Count { allowed: 0, healthy: 1, desired: 1 };

/// The whole body of a refusal with this cause.
fn blocked(cause: &str) -> Value {
    let details = json!({"causes": [{"reason": "DisruptionBudget", "message": cause}]});
    refusal(429, "TooManyRequests", WOULD_VIOLATE, &details)
}

async fn granted(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    for pod in ["plain", "quick", "bound"] {
        side.make_pod(pod, Is::Ready).await;
    }
    let answer = side.evict("plain", &Value::Null).await;
    assert_eq!((answer.status, answer.body), (201, success(201)));
    let terminating =
        |grace: u32| json!({"grace": grace, "terminating": true, "why": "EvictionByEvictionAPI"});
    assert_eq!(side.deletion("plain").await, terminating(30));
    let answer = side.evict("quick", &json!({"gracePeriodSeconds": 9})).await;
    assert_eq!(answer.status, 201);
    assert_eq!(side.deletion("quick").await, terminating(9));
    let uid = side.uid("pods", "bound").await;
    let answer = side.evict("bound", &json!({"preconditions": {"uid": uid}})).await;
    assert_eq!((answer.status, answer.body), (201, success(201)));
    assert_eq!(side.deletion("bound").await, terminating(30));
}

async fn takes(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    side.make_counted(&json!({"minAvailable": 1}), ONE_LEFT).await;
    assert_eq!(side.evict("web-1", &Value::Null).await.status, 201);
    let budget = side.get(&side.path("poddisruptionbudgets", "web")).await.body;
    let mut status = budget["status"].clone();
    assert!(status["disruptedPods"]["web-1"].take().is_string(), "{budget}");
    let conditions = status["conditions"].take();
    assert_eq!(conditions[0]["type"], "DisruptionAllowed", "{budget}");
    assert_eq!(
        (&conditions[0]["status"], &conditions[0]["reason"]),
        (&json!("False"), &json!("InsufficientPods"))
    );
    assert_eq!(
        status,
        json!({"observedGeneration": 1, "expectedPods": 2, "disruptionsAllowed": 0, "currentHealthy": 2,
            "desiredHealthy": 1, "disruptedPods": {"web-1": null}, "conditions": null})
    );
}

async fn refused(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    side.make_counted(&json!({"maxUnavailable": 0}), NONE_LEFT).await;
    let answer = side.evict("web-1", &json!({})).await;
    let cause = "The disruption budget web needs 1 healthy pods and has 1 currently";
    assert_eq!((answer.status, answer.retry_after, answer.body), (429, None, blocked(cause)));
    assert_eq!(side.deletion("web-1").await["terminating"], false);
}

/// The count says that there are more than enough, but that none may go: as when an eviction was granted just before.
async fn though_healthy(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    side.make_pod("web-2", Is::Ready).await;
    side.make_counted(&json!({"minAvailable": 1}), ONE_LEFT).await;
    assert_eq!(side.evict("web-1", &Value::Null).await.status, 201);
    let answer = side.evict("web-2", &Value::Null).await;
    let cause = if side.is_old() {
        "The disruption budget web needs 1 healthy pods and has 2 currently"
    } else {
        "The disruption budget web does not allow evicting pods currently"
    };
    assert_eq!((answer.status, answer.retry_after, answer.body), (429, None, blocked(cause)));
}

async fn uncounted(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    side.make_budget("web", &json!({"minAvailable": 1})).await;
    let answer = side.evict("web-1", &Value::Null).await;
    let details = json!({"retryAfterSeconds": 10, "causes": [{"reason": "DisruptionBudget",
        "message": "The disruption budget web is still being processed by the server."}]});
    let body = refusal(429, "TooManyRequests", WOULD_VIOLATE, &details);
    assert_eq!(
        (answer.status, answer.retry_after.as_deref(), answer.body),
        (429, Some("10"), body)
    );
}

async fn failed_sync(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    side.make_counted(&json!({"minAvailable": 1}), Count { allowed: 0, healthy: 2, desired: 1 })
        .await;
    let failed = json!({"status": {"conditions": [{"type": "DisruptionAllowed", "status": "False",
        "reason": "SyncFailed", "message": "found no controllers for pod \"web-1\"",
        "lastTransitionTime": "2026-11-22T12:00:00Z"}]}});
    let path = format!("{}/status", side.path("poddisruptionbudgets", "web"));
    assert_eq!(side.patch(&path, crate::side::MERGE, &failed).await.status, 200);
    let answer = side.evict("web-1", &Value::Null).await;
    let cause = if side.is_old() {
        "The disruption budget web needs 1 healthy pods and has 2 currently"
    } else {
        "The disruption budget web does not allow evicting pods currently because it failed sync: found no controllers for pod \"web-1\""
    };
    assert_eq!((answer.status, answer.body), (429, blocked(cause)));
}

/// A budget whose controller has not seen more than 2,000 granted evictions gives no more.
async fn too_many(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    side.make_counted(&json!({"minAvailable": 1}), ONE_LEFT).await;
    let disrupted: serde_json::Map<String, Value> =
        (0..2_001).map(|n| (format!("p{n}"), json!("2026-11-22T12:00:00Z"))).collect();
    let path = format!("{}/status", side.path("poddisruptionbudgets", "web"));
    let patch = json!({"status": {"disruptedPods": disrupted}});
    assert_eq!(side.patch(&path, crate::side::MERGE, &patch).await.status, 200);
    let answer = side.evict("web-1", &Value::Null).await;
    let message = "poddisruptionbudget.policy \"web\" is forbidden: DisruptedPods map too big - too many evictions not confirmed by PDB controller";
    let details = json!({"name": "web", "group": "policy", "kind": "poddisruptionbudget"});
    assert_eq!((answer.status, answer.body), (403, refusal(403, "Forbidden", message, &details)));
}

/// The one refusal that has no reason.
async fn two_budgets(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    for name in ["one", "two"] {
        side.make_budget(name, &json!({"maxUnavailable": 1})).await;
        side.count(name, ONE_LEFT).await;
    }
    let answer = side.evict("web-1", &Value::Null).await;
    let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    assert_eq!((answer.status, answer.body), (500, refusal(500, "", message, &Value::Null)));
    assert_eq!(side.deletion("web-1").await["terminating"], false);
}

/// Pods whose loss disrupts nothing pass an exhausted budget.
async fn passes_unasked(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    for (pod, is) in [
        ("pending", Is::Pending),
        ("done", Is::Succeeded),
        ("leaving", Is::Ready),
        ("web", Is::Ready),
    ] {
        side.make_pod(pod, is).await;
    }
    side.make_counted(&json!({"maxUnavailable": 0}), NONE_LEFT).await;
    let path = side.path("pods", "leaving");
    assert_eq!(side.delete(&path, &json!({"gracePeriodSeconds": 20})).await.status, 200);
    for pod in ["pending", "done", "leaving"] {
        let answer = side.evict(pod, &Value::Null).await;
        assert_eq!((answer.status, answer.body), (201, success(201)), "{pod}");
    }
    assert_eq!(side.evict("web", &Value::Null).await.status, 429);
    // A pod that leaves keeps the grace that it has; one that has ended needs none.
    assert_eq!(side.deletion("leaving").await["grace"], 20);
    assert_eq!(side.deletion("pending").await["grace"], 30);
    assert_eq!(side.deletion("done").await, json!("gone"));
}

async fn budget_before_uid(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    side.make_counted(&json!({"maxUnavailable": 0}), NONE_LEFT).await;
    assert_eq!(side.evict("web-1", &another()).await.status, 429);
}

fn another() -> Value {
    json!({"preconditions": {"uid": "3f8b3f0e-0000-4000-a000-000000000000"}})
}

/// The body that says so of this pod.
fn mismatch(pod: &str) -> Value {
    let message = format!(
        "Operation cannot be fulfilled on Pod \"{pod}\": the UID in the precondition (UID) does not match the UID in record (UID). The object might have been deleted and then recreated"
    );
    refusal(409, "Conflict", &message, &json!({"name": pod, "kind": "Pod"}))
}

/// Refused at once, and where a budget was asked, it has cost a disruption.
async fn wrong_uid(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    let began = Instant::now();
    let answer = side.evict("web-1", &another()).await;
    assert_eq!((answer.status, answer.body), (409, mismatch("web-1")), "without a budget");
    side.make_counted(&json!({"minAvailable": 1}), ONE_LEFT).await;
    let answer = side.evict("web-1", &another()).await;
    assert_eq!((answer.status, answer.body), (409, mismatch("web-1")), "with one to give");
    assert!(began.elapsed() < SERVERS_ATTEMPTS, "{:?}", began.elapsed());
    assert_eq!(side.evict("web-1", &another()).await.status, 429, "it was spent");
    assert_eq!(side.deletion("web-1").await["terminating"], false);
}

/// For pods that pass without a budget the server tries a conflict again: twenty times, half a second apart.
async fn wrong_uid_unasked(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("pending", Is::Pending).await;
    side.make_pod("leaving", Is::Ready).await;
    let path = side.path("pods", "leaving");
    assert_eq!(side.delete(&path, &json!({"gracePeriodSeconds": 200})).await.status, 200);
    let began = Instant::now();
    let (pending, leaving) = (another(), another());
    let both = [side.evict("pending", &pending), side.evict("leaving", &leaving)];
    for (answer, pod) in
        futures_util::future::join_all(both).await.iter().zip(["pending", "leaving"])
    {
        assert_eq!((answer.status, &answer.body), (409, &mismatch(pod)));
    }
    let took = began.elapsed();
    assert!(took > SERVERS_ATTEMPTS && took < 2 * SERVERS_ATTEMPTS, "{took:?}");
    // Whoever names a version means this very one, which no attempt brings back.
    let began = Instant::now();
    let stale = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(side.evict("pending", &stale).await.status, 409);
    assert!(began.elapsed() < SERVERS_ATTEMPTS, "{:?}", began.elapsed());
}

async fn stale_version(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    let stale = json!({"preconditions": {"resourceVersion": "1"}});
    let answer = side.evict("web-1", &stale).await;
    let found = side.raw(&side.path("pods", "web-1")).await;
    let version = found["metadata"]["resourceVersion"].as_str().expect("it has one").to_owned();
    let message = format!(
        "Operation cannot be fulfilled on Pod \"web-1\": the ResourceVersion in the precondition (1) does not match the ResourceVersion in record ({version}). The object might have been modified"
    );
    let body = refusal(409, "Conflict", &message, &json!({"name": "web-1", "kind": "Pod"}));
    assert_eq!((answer.status, answer.body), (409, body));
}

async fn dry_runs(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    let pods: Vec<String> = (0..5).map(|number| format!("web-{number}")).collect();
    for pod in &pods {
        side.make_pod(pod, Is::Ready).await;
    }
    side.make_counted(&json!({"maxUnavailable": 1}), Count { allowed: 1, healthy: 5, desired: 4 })
        .await;
    let dry = json!({"dryRun": ["All"]});
    let asked = pods.iter().map(|pod| side.evict_with(pod, "?dryRun=All", &Value::Null));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!((answer.status, answer.body), (201, success(201)));
    }
    assert_eq!(side.evict("web-0", &dry).await.status, 201, "the body can say it too");
    let budget = side.get(&side.path("poddisruptionbudgets", "web")).await.body;
    assert_eq!(budget["status"]["disruptionsAllowed"], 1);
    assert_eq!(side.deletion("web-0").await["terminating"], false);
    side.count("web", NONE_LEFT).await;
    assert_eq!(side.evict("web-0", &dry).await.status, 429, "a dry run is refused like any other");
}

async fn unhealthy(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    for pod in ["one", "two", "three"] {
        side.make_pod(pod, Is::Unready).await;
    }
    // Too few are healthy: by default what is broken may not go either.
    side.make_counted(&json!({"minAvailable": 2}), Count { allowed: 0, healthy: 1, desired: 2 })
        .await;
    let answer = side.evict("one", &Value::Null).await;
    let cause = "The disruption budget web needs 2 healthy pods and has 1 currently";
    assert_eq!((answer.status, answer.body), (429, blocked(cause)));
    // Enough are: it costs no disruption, of which there is none.
    side.count("web", Count { allowed: 0, healthy: 2, desired: 2 }).await;
    assert_eq!(side.evict("one", &Value::Null).await.status, 201);
    // None are wanted: that is no "enough".
    side.count("web", Count { allowed: 0, healthy: 0, desired: 0 }).await;
    assert_eq!(side.evict("two", &Value::Null).await.status, 429);
    let policy = json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}});
    let path = side.path("poddisruptionbudgets", "web");
    assert_eq!(side.patch(&path, crate::side::MERGE, &policy).await.status, 200);
    assert_eq!(side.evict("three", &Value::Null).await.status, 201);
}

async fn malformed(side: &Side<'_>) {
    side.make_node(1, &json!({})).await;
    side.make_pod("web-1", Is::Ready).await;
    let path = format!("{}/eviction", side.path("pods", "web-1"));
    let other =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web-2"}});
    let answer = side.post(&path, &other).await;
    let message = "name in URL does not match name in Eviction object";
    assert_eq!(
        (answer.status, answer.body),
        (400, refusal(400, "BadRequest", message, &Value::Null))
    );
    // kube's own `evict` writes its options under a name that the server does not know.
    let misspelt = json!({"apiVersion": "policy/v1", "kind": "Eviction", "delete_options": {},
        "metadata": {"name": "web-1", "namespace": side.namespace}});
    let answer = side.post(&format!("{path}?fieldValidation=Strict"), &misspelt).await;
    let message = "strict decoding error: unknown field \"delete_options\"";
    assert_eq!((answer.status, answer.body["reason"].as_str()), (400, Some("BadRequest")));
    assert!(
        answer.body["message"].as_str().is_some_and(|text| text.contains(message)),
        "{}",
        answer.body
    );
    assert_eq!(side.deletion("web-1").await["terminating"], false);
    // Unless it is told to be strict, the server drops them with a warning: the wrong uid protects nothing.
    let lost = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "delete_options": another(), "metadata": {"name": "web-1", "namespace": side.namespace}});
    assert_eq!(side.post(&path, &lost).await.status, 201);
    assert_eq!(side.deletion("web-1").await["terminating"], true);
    let answer = side.evict("web-9", &Value::Null).await;
    let details = json!({"name": "web-9", "kind": "pods"});
    let body = refusal(404, "NotFound", "pods \"web-9\" not found", &details);
    assert_eq!((answer.status, answer.body), (404, body));
}
