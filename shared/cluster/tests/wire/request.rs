//! What is sent: method, path, query, content type and body, to the byte.

use crate::fake::{Fake, NODE, list, node_name, page, pod_key, removal, uid};
use decision::id::InstanceId;
use decision::snapshot::cluster::{Owner, Pod, Taint};
use decision::step::{NodePatch, Note, NoteSubject, PatchPurpose};
use decision::time::Timestamp;

const DONE: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}"#;

fn taint(key: &str, value: Option<&str>, effect: &str, time_added: Option<&str>) -> Taint {
    Taint {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        effect: effect.to_owned(),
        time_added: time_added.map(str::to_owned),
    }
}

fn patch() -> NodePatch {
    NodePatch {
        node: node_name(),
        uid: uid("6c1ad8b9-8a0e-4d14-8e1c-0f2f6a3b9f10"),
        resource_version: "184467".to_owned(),
        unschedulable: None,
        taints: None,
        labels: Vec::new(),
        annotations: Vec::new(),
        purpose: PatchPurpose::Cordon,
    }
}

#[tokio::test]
async fn an_eviction_carries_the_uid_where_the_server_reads_it() {
    let fake = Fake::answering(201, DONE);
    cluster::evict(&fake.client(), &removal()).await.unwrap();
    assert_eq!(
        fake.requests(),
        [concat!(
            "POST /api/v1/namespaces/shop/pods/web-1/eviction?fieldValidation=Strict application/json ",
            r#"{"apiVersion":"policy/v1","kind":"Eviction","#,
            r#""deleteOptions":{"preconditions":{"uid":"0b1f0d3e-7a52-4c39-9a39-1d2f3c4b5a69"}},"#,
            r#""metadata":{"name":"web-1","namespace":"shop"}}"#
        )]
    );
}

#[tokio::test]
async fn a_deletion_carries_grace_and_uid() {
    let fake = Fake::answering(200, "{}");
    cluster::delete(&fake.client(), &removal(), 1).await.unwrap();
    assert_eq!(
        fake.requests(),
        [concat!(
            "DELETE /api/v1/namespaces/shop/pods/web-1 application/json ",
            r#"{"gracePeriodSeconds":1,"#,
            r#""preconditions":{"uid":"0b1f0d3e-7a52-4c39-9a39-1d2f3c4b5a69"}}"#
        )]
    );
}

#[tokio::test]
async fn a_deletion_without_grace_is_never_sent() {
    let fake = Fake::default();
    let error = cluster::delete(&fake.client(), &removal(), 0).await.unwrap_err();
    assert_eq!(error.class(), decision::step::Class::Final);
    assert_eq!(error.why(), "delete pod shop/web-1: grace of 0 seconds");
    assert_eq!(fake.requests(), [""; 0]);
}

#[tokio::test]
async fn a_cordon_sends_all_taints_and_both_preconditions() {
    let fake = Fake::answering(200, NODE);
    let patch = NodePatch {
        unschedulable: Some(true),
        taints: Some(vec![
            taint(
                "ebs.csi.aws.com/agent-not-ready",
                None,
                "NoExecute",
                Some("2026-11-22T08:00:05Z"),
            ),
            taint("team", Some("shop"), "NoSchedule", None),
            taint("ebbtide.dev/departing", None, "NoSchedule", None),
        ]),
        labels: vec![("b".to_owned(), Some("true".to_owned())), ("a".to_owned(), None)],
        annotations: vec![("ebbtide.dev/departure".to_owned(), Some("{\"v\":1}".to_owned()))],
        ..patch()
    };
    let node = cluster::patch_node(&fake.client(), &patch).await.unwrap();
    assert_eq!((node.name, node.resource_version.as_str()), (node_name(), "184467"));
    assert_eq!(
        fake.requests(),
        [concat!(
            "PATCH /api/v1/nodes/ip-10-0-3-41.ec2.internal?fieldValidation=Strict ",
            "application/merge-patch+json ",
            r#"{"metadata":{"uid":"6c1ad8b9-8a0e-4d14-8e1c-0f2f6a3b9f10","resourceVersion":"184467","#,
            r#""labels":{"a":null,"b":"true"},"annotations":{"ebbtide.dev/departure":"{\"v\":1}"}},"#,
            r#""spec":{"unschedulable":true,"taints":["#,
            r#"{"key":"ebs.csi.aws.com/agent-not-ready","effect":"NoExecute","timeAdded":"2026-11-22T08:00:05Z"},"#,
            r#"{"key":"team","value":"shop","effect":"NoSchedule"},"#,
            r#"{"key":"ebbtide.dev/departing","effect":"NoSchedule"}]}}"#
        )]
    );
}

#[tokio::test]
async fn a_patch_leaves_out_what_is_to_stay() {
    let fake = Fake::answering(200, NODE).then(200, NODE);
    cluster::patch_node(&fake.client(), &patch()).await.unwrap();
    let undo = NodePatch { unschedulable: Some(false), taints: Some(Vec::new()), ..patch() };
    cluster::patch_node(&fake.client(), &undo).await.unwrap();
    let start = concat!(
        "PATCH /api/v1/nodes/ip-10-0-3-41.ec2.internal?fieldValidation=Strict ",
        "application/merge-patch+json ",
        r#"{"metadata":{"uid":"6c1ad8b9-8a0e-4d14-8e1c-0f2f6a3b9f10","resourceVersion":"184467"}"#,
    );
    assert_eq!(
        fake.requests(),
        [
            format!("{start}}}"),
            format!(r#"{start},"spec":{{"unschedulable":false,"taints":[]}}}}"#)
        ]
    );
}

#[tokio::test]
async fn a_note_on_a_pod_lies_in_its_namespace() {
    let fake = Fake::answering(201, "{}");
    let about = NoteSubject::Pod { pod: pod_key("shop/web-1"), uid: removal().uid };
    let note = Note { about, warning: true, reason: "EvictionBlocked", text: "PDB web".to_owned() };
    cluster::note(&fake.client(), &note, Timestamp::from_millis(1_795_340_000_007)).await.unwrap();
    assert_eq!(
        fake.requests(),
        [concat!(
            "POST /apis/events.k8s.io/v1/namespaces/shop/events?fieldValidation=Strict application/json ",
            r#"{"apiVersion":"events.k8s.io/v1","kind":"Event","#,
            r#""metadata":{"name":"web-1.fcc0bed6fca5fbe5","namespace":"shop"},"#,
            r#""eventTime":"2026-11-22T09:33:20.007000Z","#,
            r#""reportingController":"ebbtide.dev","reportingInstance":"ebbtide.dev","#,
            r#""action":"EvictionBlocked","reason":"EvictionBlocked","#,
            r#""regarding":{"apiVersion":"v1","kind":"Pod","name":"web-1","namespace":"shop","#,
            r#""uid":"0b1f0d3e-7a52-4c39-9a39-1d2f3c4b5a69"},"note":"PDB web","type":"Warning"}"#
        )]
    );
}

#[tokio::test]
async fn a_note_on_a_node_is_cut_at_1024_bytes_and_between_characters() {
    let fake = Fake::answering(201, "{}");
    let about = NoteSubject::Node { name: node_name(), uid: uid("n-uid") };
    let text = format!("{}é and more", "x".repeat(1023));
    let note = Note { about, warning: false, reason: "Cordoned", text };
    cluster::note(&fake.client(), &note, Timestamp::EPOCH).await.unwrap();
    let [request] = fake.requests().try_into().unwrap();
    assert!(request.starts_with("POST /apis/events.k8s.io/v1/namespaces/default/events?"));
    assert!(request.contains(r#""eventTime":"1970-01-01T00:00:00.000000Z""#), "{request}");
    assert!(request.contains(&format!(r#""note":"{}","type":"Normal""#, "x".repeat(1023))));
    assert!(request.contains(r#""regarding":{"apiVersion":"v1","kind":"Node","name":"ip-10-0-3-41.ec2.internal","uid":"n-uid"}"#), "{request}");
}

#[tokio::test]
async fn the_same_note_twice_is_one_event_and_no_error() {
    let exists = r#"{"kind":"Status","status":"Failure","message":"events.events.k8s.io \"x\" already exists","reason":"AlreadyExists","code":409}"#;
    let fake = Fake::answering(201, "{}").then(409, exists).then(201, "{}");
    let about = NoteSubject::Node { name: node_name(), uid: uid("n-uid") };
    let note = Note { about, warning: false, reason: "Cordoned", text: "t".to_owned() };
    for seconds in [5, 5, 6] {
        cluster::note(&fake.client(), &note, Timestamp::from_seconds(seconds)).await.unwrap();
    }
    let requests = fake.requests();
    assert_eq!(requests[0], requests[1]);
    let name = |request: &str| request.split('"').nth(13).map(str::to_owned);
    assert!(name(&requests[0]).unwrap().starts_with("ip-10-0-3-41.ec2.internal."));
    assert_ne!(name(&requests[1]), name(&requests[2]), "a later note is another event");
}

#[tokio::test]
async fn reads_ask_for_no_more_than_they_need() {
    let fake = Fake::answering(200, NODE)
        .then(200, list(&[]))
        .then(200, list(&[]))
        .then(200, list(&[]))
        .then(200, list(&[]))
        .then(200, list(&[]));
    let client = fake.client();
    cluster::node(&client, &node_name()).await.unwrap();
    cluster::departing(&client).await.unwrap();
    cluster::pods_on(&client, &node_name()).await.unwrap();
    cluster::budgets(&client).await.unwrap();
    cluster::services(&client).await.unwrap();
    cluster::volumes_on(&client, &node_name()).await.unwrap();
    assert_eq!(
        fake.requests(),
        [
            "GET /api/v1/nodes/ip-10-0-3-41.ec2.internal",
            "GET /api/v1/nodes?fieldSelector=spec.unschedulable%3Dtrue&limit=500",
            "GET /api/v1/pods?fieldSelector=spec.nodeName%3Dip-10-0-3-41.ec2.internal&limit=250",
            "GET /apis/policy/v1/poddisruptionbudgets?limit=500",
            "GET /api/v1/services?limit=500",
            "GET /apis/storage.k8s.io/v1/volumeattachments?limit=500",
        ]
    );
}

#[tokio::test]
async fn all_nodes_are_named_by_their_instances_over_pages() {
    let other = r#"{"metadata":{"name":"n1"},"spec":{"providerID":"aws:///eu-west-1a/i-0ffffffffffffffff"}}"#;
    let bare = r#"{"metadata":{"name":"n2"},"spec":{}}"#;
    let lookalike =
        r#"{"metadata":{"name":"n3"},"spec":{"providerID":"gce://p/i-0a1b2c3d4e5f60718"}}"#;
    let instance = InstanceId::parse("i-0a1b2c3d4e5f60718").unwrap();
    let fake =
        Fake::answering(200, page(&[other, bare, lookalike], "a/b==")).then(200, page(&[NODE], ""));
    let names = cluster::node_names(&fake.client()).await.unwrap();
    let others = InstanceId::parse("i-0ffffffffffffffff").unwrap();
    assert_eq!(names, [(instance, node_name()), (others, "n1".parse().unwrap())].into());
    assert_eq!(
        fake.requests(),
        ["GET /api/v1/nodes?limit=250", "GET /api/v1/nodes?limit=250&continue=a%2Fb%3D%3D",]
    );
}

#[tokio::test]
async fn endpoints_of_many_services_cost_one_request_for_sixty_names() {
    let keys = |count: usize| -> Vec<_> {
        (0..count).map(|n| pod_key(&format!("ns{}/s{n:03}", n % 3))).collect()
    };
    let fake = Fake::answering(200, list(&[]));
    let found = cluster::endpoints(&fake.client(), &keys(60)).await.unwrap();
    assert_eq!(found.len(), 60, "one entry each, even if empty");
    assert_eq!(fake.requests().len(), 1);

    let fake = Fake::answering(200, list(&[])).then(200, list(&[]));
    cluster::endpoints(&fake.client(), &keys(61)).await.unwrap();
    assert_eq!(
        fake.requests()[1],
        "GET /apis/discovery.k8s.io/v1/endpointslices\
         ?labelSelector=kubernetes.io%2Fservice-name+in+%28s060%29&limit=250"
    );

    let fake = Fake::default();
    assert!(cluster::endpoints(&fake.client(), &[]).await.unwrap().is_empty());
    assert_eq!(fake.requests(), [""; 0]);
}

#[tokio::test]
async fn siblings_are_asked_for_by_the_hashes_of_their_owners() {
    let template = crate::object::pod_of(crate::object::WEB).await;
    let pod = |kind: &str, label: &str, hash: &str| {
        let owner = Owner { kind: kind.to_owned(), name: "o".to_owned(), uid: uid("o") };
        let labels = [(label.to_owned(), hash.to_owned())].into();
        Pod { owner: Some(owner), labels, ..template.clone() }
    };
    let pods = [
        pod("ReplicaSet", "pod-template-hash", "7c9d"),
        pod("ReplicaSet", "pod-template-hash", "6b8f"),
        pod("ReplicaSet", "pod-template-hash", "7c9d"),
        pod("StatefulSet", "controller-revision-hash", "db-5d4"),
        pod("DaemonSet", "controller-revision-hash", "proxy-1"),
        pod("Job", "pod-template-hash", "no"),
    ];
    let fake = Fake::answering(200, list(&[])).then(200, list(&[]));
    cluster::siblings(&fake.client(), &pods).await.unwrap();
    assert_eq!(
        fake.requests(),
        [
            "GET /api/v1/pods?labelSelector=pod-template-hash+in+%286b8f%2C7c9d%29&limit=250",
            "GET /api/v1/pods?labelSelector=controller-revision-hash+in+%28db-5d4%29&limit=250",
        ]
    );

    let many: Vec<Pod> =
        (0..61).map(|n| pod("ReplicaSet", "pod-template-hash", &format!("h{n:02}"))).collect();
    let fake = Fake::answering(200, list(&[])).then(200, list(&[]));
    cluster::siblings(&fake.client(), &many).await.unwrap();
    assert!(fake.requests()[1].contains("in+%28h60%29"), "the sixty-first is not forgotten");

    let fake = Fake::default();
    assert_eq!(cluster::siblings(&fake.client(), &pods[4..]).await.unwrap(), []);
    assert_eq!(fake.requests(), [""; 0]);
}
