//! What a storm costs the sandbox itself: typical calls of a drainer, without any client's own work.
//!
//! `cargo run -p sandbox --example storm -- 1000` prints the real time of the setup and of the run, how many calls
//! there were, and the measures. Each environment asks what Ebbtide's function would: the instances of its batch, the
//! unschedulable nodes, each node with its pods, budgets and EndpointSlices, the health of the target groups; it
//! cordons, deregisters and evicts.

use sandbox::aws::{self, Request};
use sandbox::kubernetes;
use sandbox::lambda::{Environment, Function, Mapping, Returned, Trigger, drive};
use sandbox::scenario::{INTERRUPTION_QUEUE, LIFECYCLE_QUEUE, START, Storm};
use sandbox::{Millis, Sandbox, World};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a process remembers: the nodes of instances, and the newest look at each target group.
#[derive(Default)]
struct Memory {
    nodes: BTreeMap<String, String>,
    healths: BTreeMap<String, Millis>,
}

/// One process.
struct Drainer {
    sandbox: Sandbox,
    process: u32,
    groups: Vec<String>,
    memory: RefCell<Memory>,
}

impl Drainer {
    async fn wait(&self, ms: Millis) {
        self.sandbox.sleep_until(self.sandbox.now() + ms).await;
    }

    async fn kubernetes(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: &Value,
    ) -> (u16, Vec<u8>) {
        self.wait(5).await;
        let patch = if method == "PATCH" { "application/merge-patch+json" } else { "" };
        let request = kubernetes::Request {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            accept: String::new(),
            content_type: patch.to_owned(),
            body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
        };
        let response = kubernetes::serve(&mut self.sandbox.world(), self.process, &request);
        self.wait(5).await;
        (response.status, response.body)
    }

    async fn aws(&self, service: &str, action: &str, form: &[(String, String)]) -> (u16, Vec<u8>) {
        self.wait(20).await;
        let mut text = format!("Action={action}");
        for (key, value) in form {
            text.push('&');
            text.push_str(key);
            text.push('=');
            text.push_str(value);
        }
        let request = Request {
            host: format!("{service}.eu-west-1.amazonaws.com"),
            path: "/".to_owned(),
            method: "POST".to_owned(),
            body: text.into_bytes(),
            ..Request::default()
        };
        let response = aws::serve(&mut self.sandbox.world(), self.process, &request);
        self.wait(20).await;
        (response.status, response.body)
    }

    /// One invocation for a batch: cordons at the first receive, and otherwise does one turn for each node.
    async fn handle(&self, event: Value) -> Returned {
        let records = event["Records"].as_array().cloned().unwrap_or_default();
        let mut failed = Vec::new();
        let mut work = Vec::new();
        for record in &records {
            let body: Value = serde_json::from_str(record["body"].as_str().unwrap_or_default())
                .map_err(|error| error.to_string())?;
            let detail = &body["detail"];
            let instance = detail["instance-id"].as_str().or(detail["EC2InstanceId"].as_str());
            let ours = body["detail-type"] != "EC2 Instance State-change Notification";
            if let Some(instance) = instance.filter(|_| ours) {
                work.push((instance.to_owned(), record.clone()));
            }
        }
        if work.is_empty() {
            return Ok(Value::Null);
        }
        self.learn(&work).await;
        self.kubernetes(
            "GET",
            "/api/v1/nodes",
            &[("fieldSelector", "spec.unschedulable=true")],
            &Value::Null,
        )
        .await;
        self.kubernetes("GET", "/apis/policy/v1/poddisruptionbudgets", &[], &Value::Null).await;
        for name in ["web", "api", "shop"] {
            let selector = format!("kubernetes.io/service-name={name}");
            let path = "/apis/discovery.k8s.io/v1/endpointslices";
            self.kubernetes("GET", path, &[("labelSelector", &selector)], &Value::Null).await;
        }
        let turns = work.iter().map(|(instance, record)| self.turn(instance, record));
        let done = futures_util::future::join_all(turns).await;
        self.withdraw(&work).await;
        for ((_, record), done) in work.iter().zip(done) {
            if !done {
                let seconds =
                    if record["attributes"]["ApproximateReceiveCount"] == "1" { 1 } else { 3 };
                let handle = record["receiptHandle"].as_str().unwrap_or_default();
                let queue =
                    record["eventSourceARN"].as_str().and_then(|arn| arn.rsplit(':').next());
                let world = &mut self.sandbox.world();
                if aws::sqs::Sqs::change_visibility(
                    world,
                    queue.unwrap_or_default(),
                    handle,
                    seconds,
                )
                .is_err()
                {
                    return Err("the message is not ours any more".to_owned());
                }
                failed.push(json!({"itemIdentifier": record["messageId"]}));
            }
        }
        Ok(json!({"batchItemFailures": failed}))
    }

    /// Finds out the nodes of instances that are new here.
    async fn learn(&self, work: &[(String, Value)]) {
        let unknown: Vec<&String> = {
            let memory = self.memory.borrow();
            work.iter().map(|(id, _)| id).filter(|id| !memory.nodes.contains_key(*id)).collect()
        };
        if unknown.is_empty() {
            return;
        }
        let mut form = vec![("Filter.1.Name".to_owned(), "instance-id".to_owned())];
        form.extend(
            unknown
                .iter()
                .enumerate()
                .map(|(n, id)| (format!("Filter.1.Value.{}", n + 1), (*id).clone())),
        );
        self.aws("ec2", "DescribeInstances", &form).await;
        let world = self.sandbox.world();
        let mut memory = self.memory.borrow_mut();
        for id in unknown {
            if let Some(instance) = world.aws.ec2.instances.get(id) {
                memory.nodes.insert(id.clone(), instance.private_dns.clone());
            }
        }
    }

    /// Cordons a node, or evicts what is on it. True when nothing is left to do.
    async fn turn(&self, instance: &str, record: &Value) -> bool {
        let Some(node) = self.memory.borrow().nodes.get(instance).cloned() else { return true };
        let path = format!("/api/v1/nodes/{node}");
        let (status, body) = self.kubernetes("GET", &path, &[], &Value::Null).await;
        if status != 200 {
            return true;
        }
        let known: Value = serde_json::from_slice(&body).unwrap_or_default();
        if known["spec"]["unschedulable"] != true {
            let mut taints = known["spec"]["taints"].as_array().cloned().unwrap_or_default();
            taints.push(json!({"key": "ebbtide.dev/departing", "effect": "NoSchedule"}));
            let patch = json!({"metadata": {"uid": known["metadata"]["uid"],
                "resourceVersion": known["metadata"]["resourceVersion"],
                "annotations": {"ebbtide.dev/departure": record["body"]}},
                "spec": {"unschedulable": true, "taints": taints}});
            self.kubernetes("PATCH", &path, &[], &patch).await;
            return false;
        }
        let here = format!("spec.nodeName={node}");
        let (_, body) =
            self.kubernetes("GET", "/api/v1/pods", &[("fieldSelector", &here)], &Value::Null).await;
        let pods: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut left = 0;
        for pod in pods["items"].as_array().into_iter().flatten() {
            if pod["metadata"]["ownerReferences"][0]["kind"] == "DaemonSet" {
                continue;
            }
            left += 1;
            if pod["metadata"]["deletionTimestamp"].is_null() {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                let path = format!("/api/v1/namespaces/default/pods/{name}/eviction");
                let body = json!({"apiVersion": "policy/v1", "kind": "Eviction",
                    "metadata": {"name": name, "namespace": "default"}});
                // What a budget refuses is asked for again later, with all others behind it.
                if self.kubernetes("POST", &path, &[], &body).await.0 == 429 {
                    break;
                }
            }
        }
        left == 0 || pods["items"].is_null()
    }

    /// Looks at the target groups now and then, and deregisters what is on its way out.
    async fn withdraw(&self, work: &[(String, Value)]) {
        for (number, arn) in self.groups.iter().enumerate() {
            let now = self.sandbox.now();
            let due = self.memory.borrow().healths.get(arn).is_none_or(|at| now - at > 8_000);
            if !due {
                continue;
            }
            self.memory.borrow_mut().healths.insert(arn.clone(), now);
            let mut form = vec![("TargetGroupArn".to_owned(), arn.clone())];
            self.aws("elasticloadbalancing", "DescribeTargetHealth", &form).await;
            for (index, (instance, _)) in work.iter().enumerate() {
                form.push((format!("Targets.member.{}.Id", index + 1), instance.clone()));
                form.push((
                    format!("Targets.member.{}.Port", index + 1),
                    (30_080 + number).to_string(),
                ));
            }
            self.aws("elasticloadbalancing", "DeregisterTargets", &form).await;
        }
    }
}

fn function(sandbox: &Sandbox, queue: &str, groups: &[String]) -> Function {
    let (sandbox, groups) = (sandbox.clone(), groups.to_vec());
    Function {
        name: queue.to_owned(),
        trigger: Trigger::Queue(Mapping::new(queue)),
        timeout_ms: 15_000,
        environment: Box::new(move |process| {
            let drainer = Rc::new(Drainer {
                sandbox: sandbox.clone(),
                process,
                groups: groups.clone(),
                memory: RefCell::default(),
            });
            Environment::new(move |event, _| {
                let drainer = drainer.clone();
                async move { drainer.handle(event).await }
            })
        }),
    }
}

#[expect(clippy::print_stdout, reason = "an example that measures")]
fn tell(world: &World, (built, ran): (f64, f64)) {
    let mut by_operation: BTreeMap<&str, usize> = BTreeMap::new();
    for call in &world.calls {
        *by_operation.entry(&call.operation).or_default() += 1;
    }
    println!("built in {built:.2} s, ran in {ran:.2} s of real time; {} calls", world.calls.len());
    println!("{by_operation:#?}");
    let measures = &world.measures;
    println!("cordoned {:?}", measures.spread(|it| it.cordoned_at));
    println!("withdrawn {:?}", measures.spread(|it| it.withdrawn_at));
    println!("drained {:?}", measures.spread(|it| it.drained_at));
    println!("fewest {:?}", measures.fewest.values().collect::<Vec<_>>());
    println!("throttled {:?}", world.aws.budgets.throttled_actions);
    println!(
        "dropped {} of {:?}",
        world.traffic.dropped(),
        world.traffic.reports().iter().map(|it| it.total).collect::<Vec<_>>()
    );
    println!(
        "writes {}, instances {}, violations {:?}",
        world.kubernetes.resource_version(),
        world.aws.ec2.instances.len(),
        world.violations.first()
    );
}

#[expect(clippy::disallowed_methods, reason = "the one thing that is measured is real time")]
fn main() {
    let spot = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let began = std::time::Instant::now();
        let place = Storm::new(1, spot).build();
        let built = began.elapsed().as_secs_f64();
        let queues = [INTERRUPTION_QUEUE, LIFECYCLE_QUEUE];
        let functions = queues.map(|queue| function(&place.sandbox, queue, &place.groups));
        let began = std::time::Instant::now();
        drive(&place.sandbox, &functions, START + 160_000, |_| false).await;
        let ran = began.elapsed().as_secs_f64();
        tell(&place.sandbox.world(), (built, ran));
    });
}
