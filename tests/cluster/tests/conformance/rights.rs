//! Role-based access control: how a missing right is refused.

use crate::make::refusal;
use crate::side::{Case, JSON, MERGE, Of, On, Side, ask};
use http::Method;
use serde_json::{Value, json};

pub(crate) const CASES: &[Case] =
    &[Case { name: "refused", on: On::Both, run: |side| Box::pin(refused(side)) }];

/// A client of the user `ebbtide`, who has no rights at all.
fn nobody(side: &Side<'_>) -> kube::Client {
    match &side.of {
        Of::Real(control, _) => control.user("ebbtide", "nobodies").expect("a client can be made"),
        Of::Sandbox(sandbox) => {
            let mut world = sandbox.world();
            for (verb, resource) in [
                ("list", "nodes"),
                ("get", "nodes"),
                ("patch", "nodes"),
                ("list", "poddisruptionbudgets"),
                ("watch", "pods"),
                ("delete", "pods"),
                ("create", "pods/eviction"),
                ("create", "events"),
            ] {
                world.kubernetes.denied.insert((verb.to_owned(), resource.to_owned()));
            }
            kube::Client::new(sandbox.kubernetes(2), "default")
        }
    }
}

async fn refused(side: &Side<'_>) {
    let client = nobody(side);
    let budgets = "/apis/policy/v1/poddisruptionbudgets".to_owned();
    for (method, path, what, details) in [
        (
            Method::GET,
            "/api/v1/nodes".to_owned(),
            "nodes is forbidden: User \"ebbtide\" cannot list resource \"nodes\" in API group \"\" at the cluster scope",
            json!({"kind": "nodes"}),
        ),
        (
            Method::GET,
            side.node_path(1),
            "nodes \"NS-1\" is forbidden: User \"ebbtide\" cannot get resource \"nodes\" in API group \"\" at the cluster scope",
            json!({"name": "NS-1", "kind": "nodes"}),
        ),
        (
            Method::PATCH,
            side.node_path(1),
            "nodes \"NS-1\" is forbidden: User \"ebbtide\" cannot patch resource \"nodes\" in API group \"\" at the cluster scope",
            json!({"name": "NS-1", "kind": "nodes"}),
        ),
        (
            Method::GET,
            budgets,
            "poddisruptionbudgets.policy is forbidden: User \"ebbtide\" cannot list resource \"poddisruptionbudgets\" in API group \"policy\" at the cluster scope",
            json!({"group": "policy", "kind": "poddisruptionbudgets"}),
        ),
        (
            Method::GET,
            "/api/v1/pods?watch=true".to_owned(),
            "pods is forbidden: User \"ebbtide\" cannot watch resource \"pods\" in API group \"\" at the cluster scope",
            json!({"kind": "pods"}),
        ),
        (
            Method::DELETE,
            side.path("pods", "web-1"),
            "pods \"web-1\" is forbidden: User \"ebbtide\" cannot delete resource \"pods\" in API group \"\" in the namespace \"NS\"",
            json!({"name": "web-1", "kind": "pods"}),
        ),
        (
            Method::POST,
            format!("{}/eviction", side.path("pods", "web-1")),
            "pods \"web-1\" is forbidden: User \"ebbtide\" cannot create resource \"pods/eviction\" in API group \"\" in the namespace \"NS\"",
            json!({"name": "web-1", "kind": "pods"}),
        ),
        (
            Method::POST,
            side.path("events", ""),
            "events.events.k8s.io is forbidden: User \"ebbtide\" cannot create resource \"events\" in API group \"events.k8s.io\" in the namespace \"NS\"",
            json!({"group": "events.k8s.io", "kind": "events"}),
        ),
    ] {
        let kind = if method == Method::PATCH { MERGE } else { JSON };
        let body = if method == Method::GET {
            Value::Null
        } else {
            json!({"metadata": {"name": "web-1"}})
        };
        let mut answer = ask(&client, method.clone(), &path, (kind, &body)).await;
        side.plain(&mut answer);
        let expected = refusal(403, "Forbidden", what, &details);
        assert_eq!((answer.status, answer.body), (403, expected), "{method} {path}");
    }
}
