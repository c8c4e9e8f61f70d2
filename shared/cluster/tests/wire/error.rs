//! What each refusal of the API server means. The bodies are the server's own.

use crate::fake::{Fake, node_name, removal, uid};
use cluster::ClusterError;
use decision::step::{Class, NodePatch, Note, NoteSubject, PatchPurpose};
use decision::time::Timestamp;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
enum Request {
    Evict,
    Delete,
    Patch,
    Note,
    List,
}

impl Request {
    async fn fail(self, client: &kube::Client) -> ClusterError {
        match self {
            Self::Evict => cluster::evict(client, &removal()).await.unwrap_err(),
            Self::Delete => cluster::delete(client, &removal(), 30).await.unwrap_err(),
            Self::Patch => cluster::patch_node(client, &patch()).await.unwrap_err(),
            Self::Note => cluster::note(client, &note(), Timestamp::EPOCH).await.unwrap_err(),
            Self::List => cluster::pods_on(client, &node_name()).await.unwrap_err(),
        }
    }
}

fn patch() -> NodePatch {
    NodePatch {
        node: node_name(),
        uid: uid("u"),
        resource_version: "1".to_owned(),
        unschedulable: Some(true),
        taints: None,
        labels: Vec::new(),
        annotations: Vec::new(),
        purpose: PatchPurpose::Cordon,
    }
}

fn note() -> Note {
    let about = NoteSubject::Pod { pod: removal().pod, uid: uid("u") };
    Note { about, warning: false, reason: "Evicted", text: String::new() }
}

struct Case {
    name: &'static str,
    request: Request,
    code: u16,
    retry_after: Option<&'static str>,
    body: &'static str,
    class: Class,
    why: &'static str,
}

impl Case {
    const fn new(name: &'static str, request: Request, code: u16, class: Class) -> Self {
        Self { name, request, code, retry_after: None, body: "", class, why: "" }
    }
}

const CASES: [Case; 23] = [
    Case {
        body: r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Cannot evict pod as it would violate the pod's disruption budget.","reason":"TooManyRequests","details":{"causes":[{"reason":"DisruptionBudget","message":"The disruption budget web needs 1 healthy pods and has 1 currently"}]},"code":429}"#,
        why: "evict pod shop/web-1: 429 TooManyRequests: The disruption budget web needs 1 healthy pods and has 1 currently",
        ..Case::new("budget", Request::Evict, 429, Class::Blocked)
    },
    Case {
        body: r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Cannot evict pod as it would violate the pod's disruption budget.","reason":"TooManyRequests","details":{"causes":[{"reason":"DisruptionBudget","message":"The disruption budget web is still being processed by the server."}],"retryAfterSeconds":10},"code":429}"#,
        retry_after: Some("10"),
        why: "evict pod shop/web-1: 429 TooManyRequests: The disruption budget web is still being processed by the server.",
        ..Case::new("new budget", Request::Evict, 429, Class::Blocked)
    },
    Case {
        body: r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Internal error occurred: This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.","reason":"InternalError","details":{"causes":[{"message":"This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}]},"code":500}"#,
        why: "evict pod shop/web-1: 500 InternalError: Internal error occurred: This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ..Case::new("two budgets", Request::Evict, 500, Class::Blocked)
    },
    Case {
        body: r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Internal error occurred: failed calling webhook \"v.example.com\": context deadline exceeded","reason":"InternalError","details":{"causes":[{"message":"failed calling webhook"}]},"code":500}"#,
        why: "evict pod shop/web-1: 500 InternalError: Internal error occurred: failed calling webhook \"v.example.com\": context deadline exceeded",
        ..Case::new("broken webhook", Request::Evict, 500, Class::Again)
    },
    Case {
        body: r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"web-1\" not found","reason":"NotFound","details":{"name":"web-1","kind":"pods"},"code":404}"#,
        why: "evict pod shop/web-1: 404 NotFound: pods \"web-1\" not found",
        ..Case::new("pod gone", Request::Evict, 404, Class::Gone)
    },
    Case {
        body: r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Operation cannot be fulfilled on Pod \"web-1\": the UID in the precondition (a) does not match the UID in record (b). The object might have been deleted and then recreated","reason":"Conflict","details":{"name":"web-1","kind":"Pod"},"code":409}"#,
        why: "evict pod shop/web-1: 409 Conflict: Operation cannot be fulfilled on Pod \"web-1\": the UID in the precondition (a) does not match the UID in record (b). The object might have been deleted and then recreated",
        ..Case::new("another pod evicted", Request::Evict, 409, Class::Mismatch)
    },
    Case {
        body: r#"{"kind":"Status","status":"Failure","message":"Precondition failed: ResourceVersion in precondition: 1, ResourceVersion in object meta: 2","reason":"Conflict","code":409}"#,
        why: "evict pod shop/web-1: 409 Conflict: Precondition failed: ResourceVersion in precondition: 1, ResourceVersion in object meta: 2",
        ..Case::new("a pod that changes all the time", Request::Evict, 409, Class::Conflict)
    },
    Case {
        body: r#"{"kind":"Status","status":"Failure","message":"poddisruptionbudget \"web\" is forbidden: DisruptedPods map too big - too many evictions not confirmed by PDB controller","reason":"Forbidden","details":{"name":"web","kind":"poddisruptionbudget"},"code":403}"#,
        why: "evict pod shop/web-1: 403 Forbidden: poddisruptionbudget \"web\" is forbidden: DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ..Case::new("a budget whose controller is behind", Request::Evict, 403, Class::Blocked)
    },
    Case {
        body: r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.","code":500}"#,
        why: "evict pod shop/web-1: 500: This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ..Case::new("two budgets, under the code of success", Request::Evict, 201, Class::Blocked)
    },
    Case {
        body: r#"{"kind":"Status","status":"Failure","message":"m","reason":"Conflict","code":409}"#,
        why: "delete pod shop/web-1: 409 Conflict: m",
        ..Case::new("another pod deleted", Request::Delete, 409, Class::Mismatch)
    },
    Case {
        body: r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Operation cannot be fulfilled on nodes \"n1\": the object has been modified; please apply your changes to the latest version and try again","reason":"Conflict","details":{"name":"n1","kind":"nodes"},"code":409}"#,
        why: "patch node ip-10-0-3-41.ec2.internal: 409 Conflict: Operation cannot be fulfilled on nodes \"n1\": the object has been modified; please apply your changes to the latest version and try again",
        ..Case::new("stale version", Request::Patch, 409, Class::Conflict)
    },
    Case {
        body: r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Node \"n1\" is invalid: metadata.uid: Invalid value: \"u\": field is immutable","reason":"Invalid","details":{"name":"n1","kind":"Node","causes":[{"reason":"FieldValueInvalid","message":"Invalid value: \"u\": field is immutable","field":"metadata.uid"}]},"code":422}"#,
        why: "patch node ip-10-0-3-41.ec2.internal: 422 Invalid: Node \"n1\" is invalid: metadata.uid: Invalid value: \"u\": field is immutable",
        ..Case::new("another node", Request::Patch, 422, Class::Mismatch)
    },
    Case {
        body: r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Node \"n1\" is invalid: metadata.labels: Invalid value","reason":"Invalid","details":{"name":"n1","kind":"Node","causes":[{"reason":"FieldValueInvalid","message":"Invalid value","field":"metadata.labels"}]},"code":422}"#,
        why: "patch node ip-10-0-3-41.ec2.internal: 422 Invalid: Node \"n1\" is invalid: metadata.labels: Invalid value",
        ..Case::new("bad label", Request::Patch, 422, Class::Final)
    },
    Case {
        body: r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"events.events.k8s.io \"x\" is forbidden: unable to create new content in namespace shop because it is being terminated","reason":"Forbidden","details":{"name":"x","group":"events.k8s.io","kind":"events","causes":[{"reason":"NamespaceTerminating","message":"namespace shop is being terminated","field":"metadata.namespace"}]},"code":403}"#,
        why: "write event about Pod web-1: 403 Forbidden: events.events.k8s.io \"x\" is forbidden: unable to create new content in namespace shop because it is being terminated",
        ..Case::new("namespace on its way out", Request::Note, 403, Class::Gone)
    },
    Case {
        body: r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"nodes \"n1\" is forbidden: User \"arn\" cannot patch resource \"nodes\"","reason":"Forbidden","details":{"name":"n1","kind":"nodes"},"code":403}"#,
        why: "patch node ip-10-0-3-41.ec2.internal: 403 Forbidden: nodes \"n1\" is forbidden: User \"arn\" cannot patch resource \"nodes\"",
        ..Case::new("no right", Request::Patch, 403, Class::Denied)
    },
    Case {
        body: r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}"#,
        why: "list pods on ip-10-0-3-41.ec2.internal: 401 Unauthorized: Unauthorized",
        ..Case::new("no access entry", Request::List, 401, Class::Denied)
    },
    Case {
        body: "Too many requests, please try again later.\n",
        retry_after: Some("1"),
        why: "list pods on ip-10-0-3-41.ec2.internal: 429: Too many requests, please try again later.",
        ..Case::new(
            "flow control",
            Request::List,
            429,
            Class::Throttled(Some(Duration::from_secs(1))),
        )
    },
    Case {
        body: r#"{"kind":"Status","status":"Failure","message":"storage is (re)initializing","reason":"TooManyRequests","details":{"retryAfterSeconds":2},"code":429}"#,
        why: "list pods on ip-10-0-3-41.ec2.internal: 429 TooManyRequests: storage is (re)initializing",
        ..Case::new(
            "delay in the body",
            Request::List,
            429,
            Class::Throttled(Some(Duration::from_secs(2))),
        )
    },
    Case {
        retry_after: Some("Sun, 22 Nov 2026 09:30:00 GMT"),
        why: "evict pod shop/web-1: 429",
        ..Case::new("no delay that we read", Request::Evict, 429, Class::Throttled(None))
    },
    Case {
        body: r#"{"kind":"Status","status":"Failure","message":"The provided continue parameter is too old to display a consistent list result.","reason":"Expired","code":410}"#,
        why: "list pods on ip-10-0-3-41.ec2.internal: 410 Expired: The provided continue parameter is too old to display a consistent list result.",
        ..Case::new("expired token of a list", Request::List, 410, Class::Again)
    },
    Case {
        body: "<html>\n<h1>503 Service Unavailable</h1>\n</html>",
        why: "list pods on ip-10-0-3-41.ec2.internal: 503: <html> <h1>503 Service Unavailable</h1> </html>",
        ..Case::new("a proxy's page", Request::List, 503, Class::Again)
    },
    Case {
        body: r#"{"kind":"Status","status":"Failure","message":"Timeout: request did not complete within requested timeout","reason":"Timeout","details":{"retryAfterSeconds":0},"code":504}"#,
        why: "patch node ip-10-0-3-41.ec2.internal: 504 Timeout: Timeout: request did not complete within requested timeout",
        ..Case::new("timeout", Request::Patch, 504, Class::Again)
    },
    Case {
        body: r#"{"kind":"Status","status":"Failure","message":"Eviction in version \"v1\" cannot be handled as a Eviction: strict decoding error: unknown field \"delete_options\"","reason":"BadRequest","code":400}"#,
        why: "evict pod shop/web-1: 400 BadRequest: Eviction in version \"v1\" cannot be handled as a Eviction: strict decoding error: unknown field \"delete_options\"",
        ..Case::new("unknown field", Request::Evict, 400, Class::Final)
    },
];

#[tokio::test]
async fn each_refusal_has_its_class_and_says_why() {
    for case in CASES {
        let mut fake = Fake::answering(case.code, case.body);
        if let Some(seconds) = case.retry_after {
            fake = fake.retry_after(seconds);
        }
        let error = case.request.fail(&fake.client()).await;
        assert_eq!(error.class(), case.class, "{}", case.name);
        assert_eq!(error.why(), case.why, "{}", case.name);
        assert!(!error.is_tls(), "{}", case.name);
        assert_eq!(fake.requests().len(), 1, "{}: a single attempt", case.name);
    }
}

#[tokio::test]
async fn the_budgets_own_words_are_kept() {
    let error = Request::Evict.fail(&Fake::answering(429, CASES[0].body).client()).await;
    let words = "The disruption budget web needs 1 healthy pods and has 1 currently";
    assert_eq!(error.refusal(), Some(words));
    assert_eq!(error.to_string(), "evict pod shop/web-1", "the cause is the source's to tell");
    assert_eq!(error.operation(), cluster::Operation::Evict);
}

#[tokio::test]
async fn a_missing_node_is_an_answer_and_no_error() {
    let body = r#"{"kind":"Status","status":"Failure","message":"nodes \"n1\" not found","reason":"NotFound","code":404}"#;
    let fake = Fake::answering(404, body);
    assert_eq!(cluster::node(&fake.client(), &node_name()).await.unwrap(), None);
    let fake = Fake::answering(403, "{}");
    let error = cluster::node(&fake.client(), &node_name()).await.unwrap_err();
    assert_eq!(error.class(), Class::Denied);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_fails_the_whole_list() {
    let nameless = r#"{"metadata":{"namespace":"a","uid":"u"},"spec":{}}"#;
    let fake = Fake::answering(200, crate::fake::list(&[nameless]));
    let error = Request::List.fail(&fake.client()).await;
    assert_eq!(error.class(), Class::Final);
    assert!(error.why().contains("read answer: missing field `name`"), "{}", error.why());

    let cut_off = r#"{"metadata":{},"items":[{"metadata":{"name":"#;
    let error = Request::List.fail(&Fake::answering(200, cut_off).client()).await;
    assert_eq!(error.class(), Class::Again, "half an answer may be whole the next time");
}
