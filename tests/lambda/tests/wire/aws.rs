//! Our own clients, as the functions have them, against the sandbox over HTTP.

use crate::until;
use cloud::autoscaling::{Beat, Completed};
use cloud::sqs::Hide;
use cloud::{Clients, Credentials, Endpoints, Region, Settings, SharedCredentialsProvider};
use decision::id::{
    AsgName, ClusterName, HookName, HookToken, InstanceId, ReservationId, TargetGroupArn,
};
use decision::snapshot::aws::{LifecycleState, TargetState};
use decision::step::{Class, HookCall, HookResult, TargetChange, TargetId};
use sandbox::Sandbox;
use sandbox::aws::sqs::Sqs;
use sandbox::aws::sts::Sts;
use sandbox::fault::{Fault, Scope, Script};
use sandbox::serve::stage::{self, Stage};
use sandbox::serve::{Server, real_time};

const KEY: (&str, &str) = ("ASIAEBBTIDE000000007", "a secret / with + signs");

/// The token of every session here.
pub(crate) const SESSION_TOKEN: &str = "a-session";

struct Place {
    sandbox: Sandbox,
    stage: Stage,
    clients: Clients,
    _server: Server,
}

fn clients(server: &Server, key: (&str, &str)) -> Clients {
    clients_with(server, key, Some(SESSION_TOKEN))
}

/// Clients with this session token.
fn clients_with(server: &Server, (id, secret): (&str, &str), token: Option<&str>) -> Clients {
    #[derive(Debug)]
    struct Wall;
    impl cloud::TimeSource for Wall {
        #[expect(clippy::disallowed_methods, reason = "requests are signed by the wall clock")]
        fn now(&self) -> std::time::SystemTime {
            std::time::SystemTime::now()
        }
    }
    let credentials = cloud::clients::credentials(id, secret, token);
    Clients::new(&Settings {
        region: Region::new("eu-central-1"),
        credentials: SharedCredentialsProvider::new(credentials),
        http: cloud::clients::http_client(),
        endpoints: Endpoints::all(&server.url()),
        time: cloud::SharedTimeSource::new(Wall),
    })
}

fn place() -> Place {
    let sandbox = real_time(3);
    let stage = Stage::set(&mut sandbox.world());
    Sts::add_session(&mut sandbox.world(), (KEY.0, KEY.1, SESSION_TOKEN), "ebbtide", 7);
    let server = Server::start(&sandbox).unwrap();
    let clients = clients(&server, KEY);
    Place { sandbox, stage, clients, _server: server }
}

fn id(text: &str) -> InstanceId {
    InstanceId::parse(text).unwrap()
}

fn arn(text: &str) -> TargetGroupArn {
    TargetGroupArn::parse(text).unwrap()
}

fn group() -> AsgName {
    AsgName::parse(stage::GROUP).unwrap()
}

#[tokio::test]
async fn every_read_is_answered() {
    let Place { sandbox, stage, clients, _server } = place();
    let ids = [stage::LEAVING, stage::SPOT, stage::RETIRING].map(id);
    let memberships = cloud::autoscaling::memberships(&clients.autoscaling, &ids).await.unwrap();
    assert_eq!(memberships[&ids[1]].state, LifecycleState::parse("InService"));
    let groups = cloud::autoscaling::groups(&clients.autoscaling, &[group()]).await.unwrap();
    assert_eq!(groups[&group()].target_groups, [arn(&stage.tcp)]);
    let hooks = cloud::autoscaling::hooks(&clients.autoscaling, &group()).await.unwrap();
    assert_eq!(hooks.len(), 2);
    let instances = cloud::ec2::instances(&clients.ec2, &ids).await.unwrap();
    assert_eq!(instances.len(), 3);
    let reservation = ReservationId::parse(stage::RESERVATION).unwrap();
    let reserved = cloud::ec2::reserved(&clients.ec2, &reservation).await.unwrap();
    assert_eq!(reserved.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), [stage::SPOT]);
    let unknown = id("i-0ffffffffffffffff");
    let asked = [&ids[..], &[unknown]].concat();
    let scheduled = cloud::ec2::scheduled(&clients.ec2, &asked).await.unwrap();
    assert_eq!(scheduled.into_iter().collect::<Vec<_>>(), [id(stage::RETIRING)]);
    let web = arn(&stage.web);
    let health = cloud::elbv2::health(&clients.elbv2, &web).await.unwrap();
    assert_eq!(health.len(), 3);
    let delay = cloud::elbv2::deregistration_delay(&clients.elbv2, &web).await.unwrap();
    assert_eq!(delay.as_secs(), 1);
    let facts = cloud::elbv2::describe(&clients.elbv2, &[web, arn(&stage.tcp)]).await.unwrap();
    assert_eq!(facts.len(), 2);
    let demo = ClusterName::parse(stage::CLUSTER).unwrap();
    let access = cloud::eks::cluster(&clients.eks, &demo).await.unwrap().unwrap();
    assert_eq!(access.certificate_authority_pem, b"a certificate");
    let none = ClusterName::parse("none").unwrap();
    assert_eq!(cloud::eks::cluster(&clients.eks, &none).await.unwrap(), None);
    // Calls are known by the key that they were made with.
    assert!(sandbox.calls_of(7).len() >= 12, "{:?}", sandbox.calls_of(7));
    assert_eq!(sandbox.calls_of(0).len(), 0);
}

#[tokio::test]
async fn every_write_takes_effect() {
    let Place { sandbox, stage, clients, _server } = place();
    let change = TargetChange {
        group: arn(&stage.web),
        targets: vec![TargetId { id: stage::SPOT.to_owned(), port: 30_080, zone: None }],
    };
    cloud::elbv2::deregister(&clients.elbv2, &change).await.unwrap();
    let health = cloud::elbv2::health(&clients.elbv2, &change.group).await.unwrap();
    let spot = health.iter().find(|target| target.id == stage::SPOT).unwrap();
    assert_eq!(spot.state, TargetState::Draining);
    cloud::elbv2::register(&clients.elbv2, &change).await.unwrap();

    let received = {
        let mut world = sandbox.world();
        Sqs::send(&mut world, stage::QUEUE, "a body");
        Sqs::receive(&mut world, stage::QUEUE, 1).remove(0)
    };
    let hide = Hide { message_id: received.id, receipt_handle: received.receipt, seconds: 3_600 };
    let hidden = cloud::sqs::hide(&clients.sqs, &stage.queue_url, &[hide]).await;
    assert!(hidden.iter().all(|(_, outcome)| outcome.is_ok()), "{hidden:?}");
    assert!(
        sandbox.world().aws.sqs.next_visible_at(stage::QUEUE) > Some(sandbox.now() + 3_000_000)
    );
    cloud::sqs::dead_letter(&clients.sqs, &stage.dead_letter_url, "a body", "why").await.unwrap();
    assert_eq!(sandbox.world().aws.sqs.depth(stage::DEAD_LETTER_QUEUE), 1);

    let token =
        until("the hook holds its instance", || stage::token(&sandbox.world(), stage::LEAVING));
    let hook = HookName::parse(stage::TERMINATE_HOOK).unwrap();
    let action = HookCall { asg: group(), hook, token: HookToken::parse(&token).unwrap() };
    let beat = cloud::autoscaling::heartbeat(&clients.autoscaling, &action).await.unwrap();
    assert_eq!(beat, Beat::Accepted);
    for expected in [Completed::Accepted, Completed::NotActive] {
        let result = HookResult::Continue;
        let done = cloud::autoscaling::complete(&clients.autoscaling, &action, result).await;
        assert_eq!(done.unwrap(), expected);
    }
    assert_eq!(sandbox.world().aws.autoscaling.answers[0].process, 7);
}

#[tokio::test]
async fn each_refusal_has_its_class() {
    let Place { sandbox, stage, clients, _server } = place();
    let ask = async || cloud::elbv2::health(&clients.elbv2, &arn(&stage.web)).await;
    let script = |fault| Script::new(Scope::operation("DescribeTargetHealth"), 1, fault);
    let rows = [
        (Fault::Throttled, Class::Throttled(None)),
        (Fault::ServerError, Class::Again),
        (Fault::ResetAfter, Class::Again),
    ];
    for (fault, class) in rows {
        sandbox.world().faults.scripts.push(script(fault));
        assert_eq!(ask().await.unwrap_err().class(), class, "{fault:?}");
    }
    let action = "elasticloadbalancing:DescribeTargetHealth";
    sandbox.world().aws.budgets.denied.insert(action.to_owned());
    let denied = ask().await.unwrap_err();
    assert_eq!(denied.class(), Class::Denied);
    let words = "User: arn:aws:sts::123456789012:assumed-role/ebbtide/ebbtide is not authorized to perform: elasticloadbalancing:DescribeTargetHealth";
    assert!(denied.why().contains(words), "{}", denied.why());
    sandbox.world().aws.budgets.denied.clear();
    ask().await.unwrap();
}

/// As when a process is killed: what it asked for was done, and it never heard so.
#[tokio::test]
async fn who_hangs_up_after_the_effect_has_not_heard_of_it() {
    let Place { sandbox, stage, clients, _server } = place();
    // Half a second there, and half a second back.
    sandbox.world().latency.aws = 500..=500;
    let call = cloud::sqs::dead_letter(&clients.sqs, &stage.dead_letter_url, "a body", "why");
    let patience = std::time::Duration::from_millis(750);
    assert!(tokio::time::timeout(patience, call).await.is_err());
    // The connection is closed by a task of this runtime.
    let unheard = async {
        loop {
            tokio::time::sleep(crate::LOOK).await;
            let mut calls = sandbox.calls_of(7).into_iter();
            if let Some(call) = calls.find(|call| call.status == 0) {
                return call;
            }
        }
    };
    let deadline = crate::LOOK * crate::LOOKS_MAX;
    let call = tokio::time::timeout(deadline, unheard).await.expect("it is known as unheard");
    assert_eq!(call.operation, "sqs:SendMessage");
    assert_eq!(sandbox.world().aws.sqs.depth(stage::DEAD_LETTER_QUEUE), 1);
}

#[tokio::test]
async fn a_sessions_key_is_taken_with_its_token_only() {
    let Place { sandbox, clients, stage: _, _server: server } = place();
    let ids = [id(stage::SPOT)];
    for token in [None, Some("another-session"), Some("")] {
        let clients = clients_with(&server, KEY, token);
        let ec2 = cloud::ec2::instances(&clients.ec2, &ids).await.unwrap_err();
        let hooks = cloud::autoscaling::hooks(&clients.autoscaling, &group()).await.unwrap_err();
        let found = [ec2, hooks].map(|error| error.refusal().unwrap().code.clone());
        assert_eq!(found, ["AuthFailure", "InvalidClientTokenId"], "{token:?}");
    }
    assert_eq!(sandbox.world().calls.len(), 0, "none of them reached a service");
    cloud::ec2::instances(&clients.ec2, &ids).await.unwrap();
    // A user's key has none, and is taken without.
    Sts::add_key(&mut sandbox.world(), ("AKIAEBBTIDE000000008", KEY.1), "ebbtide", 8);
    let user = clients_with(&server, ("AKIAEBBTIDE000000008", KEY.1), None);
    cloud::ec2::instances(&user.ec2, &ids).await.unwrap();
}

#[tokio::test]
async fn who_signs_with_another_key_is_refused() {
    let Place { sandbox, clients: _, stage: _, _server: server } = place();
    let ids = [id(stage::SPOT)];
    let asg = [group()];
    for (key, codes) in [
        (("ASIANOBODY", KEY.1), ["AuthFailure", "InvalidClientTokenId"]),
        ((KEY.0, "another secret"), ["AuthFailure", "SignatureDoesNotMatch"]),
    ] {
        let clients = clients(&server, key);
        let ec2 = cloud::ec2::instances(&clients.ec2, &ids).await.unwrap_err();
        let groups = cloud::autoscaling::groups(&clients.autoscaling, &asg).await.unwrap_err();
        let found = [ec2, groups].map(|error| error.refusal().unwrap().code.clone());
        assert_eq!(found, codes);
    }
    assert_eq!(sandbox.world().calls.len(), 0, "none of them reached a service");
}

/// A token as the functions make it.
pub(crate) fn token(cluster: &str, age_seconds: u64, key: (&str, &str)) -> String {
    token_of(cluster, age_seconds, key, SESSION_TOKEN)
}

/// The same of another session.
pub(crate) fn token_of(
    cluster: &str,
    age_seconds: u64,
    (key, secret): (&str, &str),
    session: &str,
) -> String {
    #[expect(clippy::disallowed_methods, reason = "tokens are signed by the wall clock")]
    let now = std::time::SystemTime::now() - std::time::Duration::from_secs(age_seconds);
    let credentials: Credentials = cloud::clients::credentials(key, secret, Some(session));
    let (cluster, region) = (ClusterName::parse(cluster).unwrap(), Region::new("eu-central-1"));
    cloud::eks::token(&cluster, &region, &credentials, now, None).unwrap().expose().to_owned()
}
