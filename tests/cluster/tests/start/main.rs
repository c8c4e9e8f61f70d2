//! The control plane itself: that it starts, starts again, shows another certificate, knows its users, and leaves nothing.
//!
//! Without the built programs all of this is listed as ignored, with the reason.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, though without the standard harness"
)]

mod webhook;

use cluster_tests::{
    ControlPlane, Credential, FakeNode, Setup, StartError, TokenUser, Tools, Version, dial,
};
use http::Request;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::{Value, json};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, sleep};

type Running = Pin<Box<dyn Future<Output = ()>>>;
type Case = (&'static str, fn(Tools) -> Running);

/// How long something may take that nobody answers for: seconds, on a machine that is busy.
const SOON: Duration = Duration::from_secs(60);

const CASES: &[Case] = &[
    ("it_starts_again_where_it_was", |tools| Box::pin(it_starts_again_where_it_was(tools))),
    ("it_shows_another_certificate", |tools| Box::pin(it_shows_another_certificate(tools))),
    ("it_knows_its_users", |tools| Box::pin(it_knows_its_users(tools))),
    ("nodes_without_kubelets_run_pods", |tools| Box::pin(nodes_without_kubelets_run_pods(tools))),
    ("a_failed_start_shows_its_log", |tools| Box::pin(a_failed_start_shows_its_log(tools))),
    ("it_leaves_nothing", |tools| Box::pin(it_leaves_nothing(tools))),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tools = Tools::find();
    if let Err(why) = &tools {
        println!("not run: {}", why.why());
    }
    let trial = |(name, run): &Case| {
        let (tools, run) = (tools.as_ref().map(Tools::clone).map_err(StartError::why), *run);
        Trial::ignorable_test(*name, move || match tools {
            Ok(tools) => in_runtime(run(tools)),
            Err(why) => Ok(Completion::ignored_with(format!("not run: {why}"))),
        })
    };
    libtest_mimic::run(&arguments, CASES.iter().map(trial).collect()).exit_code()
}

fn in_runtime(case: Running) -> Result<Completion, Failed> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(case);
    Ok(Completion::Completed)
}

async fn start(tools: &Tools, setup: Setup) -> ControlPlane {
    ControlPlane::start(tools, setup).await.unwrap_or_else(|why| panic!("{}", why.why()))
}

async fn get(client: &kube::Client, path: &str) -> Result<Value, kube::Error> {
    client.request(Request::get(path).body(Vec::new()).unwrap()).await
}

async fn post(client: &kube::Client, path: &str, body: &Value) -> Result<Value, kube::Error> {
    let request = Request::post(path).header("content-type", "application/json");
    client.request(request.body(body.to_string().into_bytes()).unwrap()).await
}

/// Who the server takes the client for: its name and its groups.
async fn whoami(client: &kube::Client) -> Result<Value, kube::Error> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = post(client, path, &review).await?;
    let user = &answer["status"]["userInfo"];
    Ok(json!([user["username"], user["groups"]]))
}

async fn it_starts_again_where_it_was(tools: Tools) {
    for version in Version::ALL {
        let control = start(&tools, Setup::new(version)).await;
        let client = control.admin().unwrap();
        let found = get(&client, "/version").await.unwrap();
        let asked = format!("v{}.", version.minor());
        assert!(found["gitVersion"].as_str().unwrap().starts_with(&asked), "{found}");
        let (url, node) = (control.url(), FakeNode::numbered([1]));
        control.add_nodes(&node).await.unwrap();
        control.stop_api();
        assert!(get(&client, "/version").await.is_err(), "it is stopped");
        control.start_api().await.unwrap();
        assert_eq!(control.url(), url);
        let found = get(&client, &format!("/api/v1/nodes/{}", node[0].name)).await.unwrap();
        assert_eq!(found["spec"]["providerID"], "aws:///us-east-1a/i-00000000000000001");
    }
}

async fn it_shows_another_certificate(tools: Tools) {
    let token = TokenUser { token: "secret".into(), name: "a".into(), groups: vec!["b".into()] };
    let setup = Setup { tokens: vec![token], ..Setup::new(Version::Newest) };
    let mut control = start(&tools, setup).await;
    let before = control.ca_pem().to_owned();
    let open = control.bearer("secret").unwrap();
    assert!(get(&open, "/version").await.is_ok());
    control.rotate().await.unwrap();
    assert_ne!(control.ca_pem(), before);
    assert!(get(&control.bearer("secret").unwrap(), "/version").await.is_ok());
    let late = dial(&control.url(), &before, &Credential::Token("secret".to_owned())).unwrap();
    assert!(get(&late, "/version").await.is_err(), "it trusts the former authority alone");
}

async fn it_knows_its_users(tools: Tools) {
    let webhook = webhook::Webhook::knowing("k8s-aws-v1.token", "ebbtide", "drainers");
    let groups = vec!["one".to_owned(), "two".to_owned()];
    let setup = Setup {
        tokens: vec![TokenUser { token: "fixed".into(), name: "tess".into(), groups }],
        webhook: Some(webhook.url()),
        ..Setup::new(Version::Newest)
    };
    let control = start(&tools, setup).await;
    let all = "system:authenticated";
    let by_certificate = control.user("carl", "operators").unwrap();
    assert_eq!(whoami(&by_certificate).await.unwrap(), json!(["carl", ["operators", all]]));
    let fixed = control.bearer("fixed").unwrap();
    assert_eq!(whoami(&fixed).await.unwrap(), json!(["tess", ["one", "two", all]]));
    let known = control.bearer("k8s-aws-v1.token").unwrap();
    assert_eq!(whoami(&known).await.unwrap(), json!(["ebbtide", ["drainers", all]]));
    let unknown = control.bearer("k8s-aws-v1.other").unwrap();
    let kube::Error::Api(refused) = whoami(&unknown).await.unwrap_err() else {
        panic!("no answer")
    };
    assert_eq!((refused.code, refused.reason.as_str()), (401, "Unauthorized"));
    assert_eq!(
        webhook.asked_for(),
        ["k8s-aws-v1.other", "k8s-aws-v1.token"].map(str::to_owned).into()
    );
}

/// A scheduler binds a pod to a node that nobody but kwok speaks for, and kwok lets it run.
async fn nodes_without_kubelets_run_pods(tools: Tools) {
    let control = start(&tools, Setup::new(Version::Newest)).await;
    let client = control.admin().unwrap();
    let nodes = FakeNode::numbered(1..=3);
    control.start_controllers(&["*"]).unwrap();
    control.start_scheduler().unwrap();
    control.start_kwok().unwrap();
    control.add_nodes(&nodes).await.unwrap();
    for node in &nodes {
        let path = format!("/api/v1/nodes/{}", node.name);
        until(&control, &path, |found| condition(found, "Ready") == "True").await;
    }
    let pod = json!({"metadata": {"name": "web"}, "spec": {
        "containers": [{"name": "web", "image": "registry.test/web:1"}]}});
    // The account of a namespace is made by a controller; until then no pod is admitted.
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    until(&control, account, |found| found["kind"] == "ServiceAccount").await;
    post(&client, "/api/v1/namespaces/default/pods", &pod).await.unwrap();
    let path = "/api/v1/namespaces/default/pods/web";
    let found = until(&control, path, |found| condition(found, "Ready") == "True").await;
    let node = found["spec"]["nodeName"].as_str().unwrap();
    assert!(nodes.iter().any(|one| one.name == node), "{node}");
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let mut all = object["status"]["conditions"].as_array().into_iter().flatten();
    let found = all.find(|one| one["type"] == kind);
    found.and_then(|one| one["status"].as_str()).unwrap_or_default()
}

/// Asks until it is so.
async fn until(control: &ControlPlane, path: &str, so: fn(&Value) -> bool) -> Value {
    let (by, client) = (Instant::now() + SOON, control.admin().unwrap());
    loop {
        control.check().unwrap_or_else(|why| panic!("{}", why.why()));
        let found = get(&client, path).await;
        match found {
            Ok(found) if so(&found) => return found,
            found => assert!(Instant::now() < by, "{path}: {found:?}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn a_failed_start_shows_its_log(tools: Tools) {
    let setup = Setup { flags: vec!["--no-such-flag=1".to_owned()], ..Setup::new(Version::Newest) };
    let why = ControlPlane::start(&tools, setup).await.expect_err("it cannot start");
    assert!(matches!(why, StartError::Ended { name: "kube-apiserver", .. }), "{why:?}");
    assert!(why.why().contains("unknown flag: --no-such-flag"), "{}", why.why());
}

async fn it_leaves_nothing(tools: Tools) {
    let control = start(&tools, Setup::new(Version::Oldest)).await;
    let (url, folder) = (control.url(), control.folder().to_owned());
    assert!(folder.join("kube-apiserver.log").is_file());
    control.start_kwok().unwrap();
    drop(control);
    assert!(!folder.exists(), "{}", folder.display());
    let address = url.trim_start_matches("https://").to_owned();
    assert!(std::net::TcpStream::connect(address).is_err(), "somebody listens still");
}
