//! What real-shaped objects become.

use crate::fake::{Fake, NODE, list, node_name, pod_key, uid};
use decision::id::{InstanceId, NodeName};
use decision::snapshot::cluster::{
    Budget, Deletion, Endpoint, Node, Operator, Phase, Pod, Requirement, Selector, Service,
    Sibling, Toleration, TrafficPolicy,
};
use decision::snapshot::departing::Peer;
use decision::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

pub(crate) async fn pod_of(json: &str) -> Pod {
    let fake = Fake::answering(200, list(&[json]));
    let pods = cluster::pods_on(&fake.client(), &node_name()).await.unwrap();
    let [pod] = pods.try_into().unwrap();
    pod
}

/// A pod of a Deployment with a sidecar, as the API server shows it.
pub(crate) const WEB: &str = r#"{"metadata":{"name":"web-7c9d-x2x8q","generateName":"web-7c9d-","namespace":"shop",
  "uid":"0b1f0d3e-7a52-4c39-9a39-1d2f3c4b5a69","resourceVersion":"18","creationTimestamp":"2026-11-22T08:00:00Z",
  "labels":{"app":"web","pod-template-hash":"7c9d"},"annotations":{"ebbtide.dev/step-aside":"true"},
  "ownerReferences":[
    {"apiVersion":"v1","kind":"ConfigMap","name":"other","uid":"c1"},
    {"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-7c9d","uid":"r1","controller":true,"blockOwnerDeletion":true}],
  "managedFields":[{"manager":"kube-controller-manager","operation":"Update","fieldsV1":{"f:metadata":{"f:generateName":{}}}}]},
 "spec":{"volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"web"}},
    {"name":"cache","emptyDir":{}},{"name":"token","projected":{"sources":[],"defaultMode":420}}],
  "initContainers":[
    {"name":"migrate","image":"m:1","resources":{},"terminationMessagePath":"/dev/termination-log"},
    {"name":"proxy","image":"envoy:1","restartPolicy":"Always","ports":[{"containerPort":15090,"hostPort":31990,"protocol":"TCP"}]}],
  "containers":[{"name":"web","image":"web:1","ports":[{"name":"http","containerPort":8080,"protocol":"TCP"},{"containerPort":9090,"hostPort":9091}],
    "lifecycle":{"preStop":{"sleep":{"seconds":15}}},"env":[{"name":"A","value":"b"}]}],
  "restartPolicy":"Always","terminationGracePeriodSeconds":45,"nodeName":"ip-10-0-3-41.ec2.internal","priority":1000,"priorityClassName":"high",
  "tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300},
    {"key":"team","value":"shop"},{"operator":"Exists","key":""}]},
 "status":{"phase":"Running","hostIP":"10.0.3.41","podIP":"10.0.3.7","startTime":"2026-11-22T08:00:01Z","qosClass":"Burstable",
  "conditions":[{"type":"PodScheduled","status":"True","lastProbeTime":null},{"type":"Ready","status":"True","lastProbeTime":null}],
  "initContainerStatuses":[{"name":"migrate","state":{"terminated":{"exitCode":0,"reason":"Completed"}},"ready":true},
    {"name":"proxy","state":{"running":{"startedAt":"2026-11-22T08:00:02Z"}},"ready":true}],
  "containerStatuses":[{"name":"web","state":{"running":{"startedAt":"2026-11-22T08:00:03Z"}},"lastState":{},"ready":true,"restartCount":0}]}}"#;

#[tokio::test]
async fn a_pod_of_a_deployment() {
    let toleration = |key: Option<&str>, exists, value: Option<&str>, effect: Option<&str>| {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Toleration { key: owned(key), exists, value: owned(value), effect: owned(effect) }
    };
    let pod = pod_of(WEB).await;
    let owner = pod.owner.clone().unwrap();
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("ReplicaSet", "web-7c9d"));
    let expected = Pod {
        key: pod_key("shop/web-7c9d-x2x8q"),
        uid: uid("0b1f0d3e-7a52-4c39-9a39-1d2f3c4b5a69"),
        owner: Some(owner),
        phase: Phase::Running,
        mirror: false,
        deletion: None,
        containers_stopped: false,
        labels: map(&[("app", "web"), ("pod-template-hash", "7c9d")]),
        annotations: map(&[("ebbtide.dev/step-aside", "true")]),
        ready: true,
        priority: 1000,
        grace: Duration::from_secs(45),
        pre_stop: true,
        tolerations: vec![
            toleration(Some("node.kubernetes.io/not-ready"), true, None, Some("NoExecute")),
            toleration(Some("team"), false, Some("shop"), None),
            toleration(None, true, None, None),
        ],
        host_network: false,
        host_ports: vec![9091, 31990],
        empty_dir: true,
        claims: true,
    };
    assert_eq!(pod, expected);
}

#[tokio::test]
async fn a_static_pod_on_the_hosts_network() {
    let pod = pod_of(
        r#"{"metadata":{"name":"kube-proxy-n1","namespace":"kube-system","uid":"u",
            "annotations":{"kubernetes.io/config.hash":"h","kubernetes.io/config.mirror":"h","kubernetes.io/config.source":"file"},
            "ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n1","uid":"n","controller":true}]},
           "spec":{"hostNetwork":true,"priority":2000001000,
            "containers":[{"name":"p","ports":[{"containerPort":10256},{"containerPort":10249,"hostPort":10249},{"containerPort":10256,"protocol":"UDP"}]}],
            "tolerations":[{"operator":"Exists"}]},
           "status":{"phase":"Pending"}}"#,
    )
    .await;
    assert!(pod.mirror && pod.host_network);
    assert_eq!(pod.host_ports, [10249, 10256]);
    assert_eq!((pod.phase, pod.ready, pod.priority), (Phase::Pending, false, 2_000_001_000));
    assert_eq!(pod.grace, Duration::from_secs(30), "the API server's own default");
    assert!(!pod.pre_stop && !pod.empty_dir && !pod.claims && !pod.containers_stopped);
    assert_eq!(pod.owner.unwrap().kind, "Node");
}

#[tokio::test]
async fn whether_containers_have_stopped() {
    let running = r#"{"name":"c","state":{"running":{"startedAt":"2026-11-22T08:00:03Z"}}}"#;
    let stopped = r#"{"name":"c","state":{"terminated":{"exitCode":143}}}"#;
    let waiting = r#"{"name":"c","state":{"waiting":{"reason":"PodInitializing"}}}"#;
    struct Case<'a> {
        name: &'static str,
        phase: &'static str,
        init: &'a str,
        main: &'a str,
        stopped: bool,
    }
    let case = |name, phase, init, main, stopped| Case { name, phase, init, main, stopped };
    let both = format!("{stopped},{stopped}");
    let one = format!("{stopped},{running}");
    let crashing = format!("{stopped},{waiting}");
    let cases = [
        case("all stopped, a finalizer keeps it", "Running", "", &both, true),
        case("one still runs", "Running", "", &one, false),
        case("one is about to start again", "Running", "", &crashing, false),
        case("one is not reported yet", "Running", "", stopped, false),
        case("nothing is reported", "Pending", "", "", false),
        case("a sidecar still runs", "Running", running, &both, false),
        case("a sidecar has stopped", "Running", stopped, &both, true),
        case("an init container never ran", "Running", waiting, &both, true),
        case("finished well", "Succeeded", "", "", true),
        case("finished badly", "Failed", "", running, true),
        case("its node is lost", "Unknown", "", &one, false),
    ];
    for Case { name, phase, init, main, stopped } in cases {
        let pod = pod_of(&format!(
            r#"{{"metadata":{{"name":"p","namespace":"a","uid":"u","finalizers":["example.com/hold"],
                 "deletionTimestamp":"2026-11-22T09:00:30Z","deletionGracePeriodSeconds":30}},
                "spec":{{"containers":[{{"name":"c"}},{{"name":"d"}}]}},
                "status":{{"phase":"{phase}","initContainerStatuses":[{init}],"containerStatuses":[{main}]}}}}"#
        ))
        .await;
        assert_eq!(pod.containers_stopped, stopped, "{name}");
        assert_eq!(
            pod.deletion,
            Some(Deletion { ends_at: time("2026-11-22T09:00:30Z") }),
            "{name}"
        );
        let phase = match phase {
            "Succeeded" => Phase::Succeeded,
            "Failed" => Phase::Failed,
            "Pending" => Phase::Pending,
            _ => Phase::Running,
        };
        assert_eq!(pod.phase, phase, "{name}");
    }
}

async fn node_of(json: String) -> Node {
    let fake = Fake::answering(200, json);
    cluster::node(&fake.client(), &node_name()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_node_with_others_taints() {
    let node = node_of(NODE.to_owned()).await;
    assert_eq!(node.created_at, Some(time("2026-11-22T08:00:00Z")));
    assert_eq!(node.provider_id, "aws:///eu-west-1a/i-0a1b2c3d4e5f60718");
    assert_eq!(node.boot.unwrap().as_str(), "2f6a3b9f-0000-4d14-8e1c-6c1ad8b98a0e");
    assert_eq!((node.unschedulable, node.ready), (false, Some(true)));
    let taints: Vec<_> = node
        .taints
        .iter()
        .map(|taint| {
            (&*taint.key, taint.value.as_deref(), &*taint.effect, taint.time_added.as_deref())
        })
        .collect();
    assert_eq!(
        taints,
        [
            ("ebs.csi.aws.com/agent-not-ready", None, "NoExecute", Some("2026-11-22T08:00:05Z")),
            ("team", Some("shop"), "NoSchedule", None),
        ]
    );
    assert_eq!(node.labels.len(), 2);
    assert_eq!(node.annotations, map(&[("node.alpha.kubernetes.io/ttl", "0")]));
}

#[tokio::test]
async fn a_node_that_has_only_just_registered() {
    let node = node_of(NODE.replace(r#""type":"Ready""#, r#""type":"PIDPressure""#)).await;
    assert_eq!(node.ready, None, "no condition is not the same as Ready=False");
    let lost =
        NODE.replace(r#""type":"Ready","status":"True""#, r#""type":"Ready","status":"Unknown""#);
    assert_eq!(node_of(lost).await.ready, Some(false));
    let bare = r#"{"metadata":{"name":"n1","uid":"u","resourceVersion":"1","creationTimestamp":null},
                   "spec":{"unschedulable":true},"status":{"nodeInfo":{"bootID":""}}}"#;
    let node = node_of(bare.to_owned()).await;
    assert_eq!((node.ready, node.boot, node.created_at), (None, None, None));
    assert_eq!((node.provider_id.as_str(), node.unschedulable), ("", true));
}

#[tokio::test]
async fn those_on_their_way_out() {
    let departing = |name: &str, annotations: &str| {
        format!(r#"{{"metadata":{{"name":"{name}","annotations":{annotations}}}}}"#)
    };
    let annotated = |record: &str| {
        let record = record.replace('"', "\\\"");
        format!(r#"{{"a":"b","ebbtide.dev/departure":"{record}"}}"#)
    };
    let ours = r#"{"v":1,"instance":"i-0a1b2c3d4e5f60718"}"#;
    let items = [
        departing("n1", &annotated(ours)),
        departing("n2", r#"{"a":"b"}"#),
        departing("n3", &annotated(r#"{"v":1,"instance":"mi-0123"}"#)),
        departing("n4", &annotated(r#"{"v":1}"#)),
    ];
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let fake = Fake::answering(200, list(&items));
    assert_eq!(
        cluster::departing(&fake.client()).await.unwrap(),
        [Peer {
            instance: InstanceId::parse("i-0a1b2c3d4e5f60718").unwrap(),
            node: NodeName::parse("n1").unwrap(),
            annotation: ours.to_owned(),
        }]
    );
}

#[tokio::test]
async fn budgets_with_each_kind_of_rule() {
    let items = [
        r#"{"metadata":{"name":"web","namespace":"shop","uid":"b"},"spec":{"minAvailable":3,"selector":{"matchLabels":{"app":"web"},
            "matchExpressions":[{"key":"tier","operator":"NotIn","values":["batch"]},{"key":"canary","operator":"DoesNotExist"}]}},
            "status":{"conditions":[],"currentHealthy":3,"desiredHealthy":3,"disruptionsAllowed":0,"expectedPods":3,"observedGeneration":1}}"#,
        r#"{"metadata":{"name":"all","namespace":"shop"},"spec":{"maxUnavailable":"10%","selector":{},"unhealthyPodEvictionPolicy":"AlwaysAllow"},
            "status":{"currentHealthy":9,"desiredHealthy":9,"disruptionsAllowed":1,"expectedPods":10}}"#,
        r#"{"metadata":{"name":"percent","namespace":"shop"},"spec":{"minAvailable":"50%","selector":{"matchLabels":{"a":"b"}}}}"#,
        r#"{"metadata":{"name":"idle","namespace":"shop"},"spec":{"maxUnavailable":0}}"#,
    ];
    let fake = Fake::answering(200, list(&items));
    let requirement = |key: &str, operator, values: &[&str]| Requirement {
        key: key.to_owned(),
        operator,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let web = Budget {
        key: pod_key("shop/web"),
        selector: Selector {
            labels: map(&[("app", "web")]),
            expressions: vec![
                requirement("tier", Operator::NotIn, &["batch"]),
                requirement("canary", Operator::DoesNotExist, &[]),
            ],
        },
        rule: "minAvailable 3".to_owned(),
        allowed: 0,
        healthy: 3,
        desired: 3,
        expected: 3,
        unhealthy_always: false,
    };
    let all = Budget {
        key: pod_key("shop/all"),
        selector: Selector::default(),
        rule: "maxUnavailable 10%".to_owned(),
        allowed: 1,
        healthy: 9,
        desired: 9,
        expected: 10,
        unhealthy_always: true,
    };
    let percent = Budget {
        key: pod_key("shop/percent"),
        selector: Selector { labels: map(&[("a", "b")]), expressions: Vec::new() },
        rule: "minAvailable 50%".to_owned(),
        allowed: 0,
        healthy: 0,
        desired: 0,
        expected: 0,
        unhealthy_always: false,
    };
    assert_eq!(cluster::budgets(&fake.client()).await.unwrap(), [web, all, percent]);
}

#[tokio::test]
async fn services_that_select_pods() {
    let items = [
        r#"{"metadata":{"name":"web","namespace":"shop"},"spec":{"type":"LoadBalancer","selector":{"app":"web"},"externalTrafficPolicy":"Local",
            "healthCheckNodePort":30999,"ports":[{"name":"http","port":80,"targetPort":"http","nodePort":30080,"protocol":"TCP"},{"port":443,"nodePort":30443}]}}"#,
        r#"{"metadata":{"name":"api","namespace":"shop"},"spec":{"type":"ClusterIP","selector":{"app":"api"},"ports":[{"port":80}]}}"#,
        r#"{"metadata":{"name":"kubernetes","namespace":"default"},"spec":{"type":"ClusterIP","ports":[{"port":443}]}}"#,
        r#"{"metadata":{"name":"alias","namespace":"shop"},"spec":{"type":"ExternalName","externalName":"a.b","selector":{"app":"web"}}}"#,
    ];
    let fake = Fake::answering(200, list(&items));
    let service = |name: &str, app: &str, policy, node_ports| Service {
        key: pod_key(name),
        selector: map(&[("app", app)]),
        policy,
        node_ports,
        ready: Vec::new(),
    };
    assert_eq!(
        cluster::services(&fake.client()).await.unwrap(),
        [
            service("shop/web", "web", TrafficPolicy::Local, vec![30080, 30443, 30999]),
            service("shop/api", "api", TrafficPolicy::Cluster, vec![]),
        ]
    );
}

#[tokio::test]
async fn endpoints_that_are_ready_or_do_not_say() {
    let slice = |namespace: &str, endpoints: &str| {
        format!(
            r#"{{"metadata":{{"name":"web-x","namespace":"{namespace}","labels":{{"kubernetes.io/service-name":"web"}}}},
                "addressType":"IPv4","endpoints":{endpoints},"ports":null}}"#
        )
    };
    let endpoint = |pod: &str, conditions: &str| {
        format!(
            r#"{{"addresses":["10.0.3.7"],{conditions}"targetRef":{{"kind":"Pod","namespace":"shop","name":"{pod}","uid":"{pod}"}},"nodeName":"n1","zone":"a"}}"#
        )
    };
    let first = [
        endpoint("ready", r#""conditions":{"ready":true,"serving":true,"terminating":false},"#),
        endpoint("leaving", r#""conditions":{"ready":false,"serving":true,"terminating":true},"#),
        endpoint("silent", r#""conditions":{"ready":null},"#),
        endpoint("bare", ""),
        r#"{"addresses":["192.0.2.1"],"conditions":{"ready":true}}"#.to_owned(),
    ];
    let items = [
        slice("shop", &format!("[{}]", first.join(","))),
        slice("shop", &format!("[{}]", endpoint("ready", ""))),
        slice("elsewhere", &format!("[{}]", endpoint("not-ours", ""))),
        slice("shop", "null"),
    ];
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let fake = Fake::answering(200, list(&items));
    let keys = [pod_key("shop/web"), pod_key("shop/api")];
    let found = cluster::endpoints(&fake.client(), &keys).await.unwrap();
    let at = |pod: &str| Endpoint { pod: uid(pod), node: Some(NodeName::parse("n1").unwrap()) };
    assert_eq!(found[&keys[0]], [at("bare"), at("ready"), at("silent")]);
    assert_eq!(found[&keys[1]], []);
    assert_eq!(found.len(), 2);
}

fn replica(name: &str, owner: &str, more: &str, spec: &str, status: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"shop","uid":"{name}","creationTimestamp":"2026-11-22T08:00:00Z",
            "labels":{{"app":"web"}},{more}
            "ownerReferences":[{{"kind":"ReplicaSet","name":"web-7c9d","uid":"{owner}","controller":true}}]}},
            "spec":{{{spec}}},"status":{status}}}"#
    )
}

/// Pods of two owners, each in another state.
fn replicas() -> Vec<String> {
    vec![
        replica(
            "fine",
            "r1",
            "",
            r#""nodeName":"n1""#,
            r#"{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}"#,
        ),
        replica("stranger", "r2", "", "", "{}"),
        replica(
            "no-room",
            "r1",
            "",
            "",
            r#"{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable",
            "message":"0/14 nodes are available: 14 Insufficient cpu."}]}"#,
        ),
        replica(
            "gated",
            "r1",
            "",
            "",
            r#"{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"SchedulingGated"}]}"#,
        ),
        replica(
            "crashing",
            "r1",
            "",
            "",
            r#"{"phase":"Running","conditions":[{"type":"PodScheduled","status":"True"},
            {"type":"Ready","status":"False","reason":"ContainersNotReady","message":"containers with unready status: [web]"}],
            "containerStatuses":[{"name":"log","state":{"running":{}}},{"name":"web","state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off 5m0s"}}}]}"#,
        ),
        replica(
            "starting",
            "r1",
            "",
            "",
            r#"{"phase":"Pending","conditions":[
            {"type":"Ready","status":"False","reason":"ContainersNotReady","message":"containers with unready status: [web]"}],
            "initContainerStatuses":[{"name":"init","state":{"waiting":{"reason":"ImagePullBackOff"}}}],
            "containerStatuses":[{"name":"web","state":{"waiting":{"reason":"PodInitializing"}}}]}"#,
        ),
        replica(
            "unready",
            "r1",
            "",
            "",
            r#"{"phase":"Running","conditions":[
            {"type":"Ready","status":"False","reason":"ContainersNotReady","message":"containers with unready status: [web]"}],
            "containerStatuses":[{"name":"web","state":{"running":{}}}]}"#,
        ),
        replica(
            "evicted",
            "r1",
            "",
            "",
            r#"{"phase":"Failed","reason":"Evicted","message":"The node was low on resource: memory."}"#,
        ),
        replica(
            "leaving",
            "r1",
            r#""deletionTimestamp":"2026-11-22T09:00:30Z","#,
            "",
            r#"{"phase":"Running"}"#,
        ),
    ]
}

#[tokio::test]
async fn siblings_and_what_troubles_them() {
    let items = replicas();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let fake = Fake::answering(200, list(&items));
    let pods = [pod_of(WEB).await];
    let found = cluster::siblings(&fake.client(), &pods).await.unwrap();
    assert_eq!(
        found[0],
        Sibling {
            key: pod_key("shop/fine"),
            uid: uid("fine"),
            owner: uid("r1"),
            node: Some(NodeName::parse("n1").unwrap()),
            labels: map(&[("app", "web")]),
            ready: true,
            leaving: false,
            created_at: Some(time("2026-11-22T08:00:00Z")),
            trouble: None,
            unschedulable: false,
        }
    );
    let rest: Vec<_> = found[1..]
        .iter()
        .map(|pod| (&*pod.key.name, pod.leaving, pod.unschedulable, pod.trouble.as_deref()))
        .collect();
    assert_eq!(
        rest,
        [
            (
                "no-room",
                false,
                true,
                Some("Unschedulable: 0/14 nodes are available: 14 Insufficient cpu.")
            ),
            ("gated", false, false, Some("SchedulingGated")),
            ("crashing", false, false, Some("container web: CrashLoopBackOff: back-off 5m0s")),
            ("starting", false, false, Some("container init: ImagePullBackOff")),
            (
                "unready",
                false,
                false,
                Some("ContainersNotReady: containers with unready status: [web]")
            ),
            ("evicted", true, false, Some("Evicted: The node was low on resource: memory.")),
            ("leaving", true, false, None),
        ]
    );
}

#[tokio::test]
async fn volumes_that_still_hang_on_the_node() {
    let attachment = |name: &str, node: &str, source: &str| {
        format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"attacher":"ebs.csi.aws.com","nodeName":"{node}","source":{source}}},"status":{{"attached":true}}}}"#
        )
    };
    let here = "ip-10-0-3-41.ec2.internal";
    let items = [
        attachment("csi-1", here, r#"{"persistentVolumeName":"pvc-2"}"#),
        attachment("csi-2", "n2", r#"{"persistentVolumeName":"pvc-3"}"#),
        attachment("csi-3", here, r#"{"persistentVolumeName":"pvc-1"}"#),
        attachment("csi-4", here, r#"{"inlineVolumeSpec":{}}"#),
    ];
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let fake = Fake::answering(200, list(&items));
    let volumes = cluster::volumes_on(&fake.client(), &node_name()).await.unwrap();
    assert_eq!(volumes, ["csi-4", "pvc-1", "pvc-2"]);
}
