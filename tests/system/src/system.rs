//! One system: an account, a control plane, and the functions between them.

use crate::account::{self, CLUSTER, DEAD_LETTER_QUEUE, Group, Machine, QUEUES};
use crate::api::Api;
use crate::audit::Audit;
use crate::binary::{Binaries, target_folder};
use crate::error::SystemError;
use crate::role::Role;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cluster_tests::{ControlPlane, Setup, Tools, Version};
use lambda::{Function, Mapping};
use sandbox::Sandbox;
use sandbox::aws::eks::Eks;
use sandbox::aws::sqs::Sqs;
use sandbox::lambda::Mapping as Source;
use sandbox::serve::{Server, real_time};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The functions' timeout, as they are deployed.
const TIMEOUT_MS: i64 = 15_000;
/// How long nodes may take to be Ready: kwok reports a few hundred a second.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// How many lines of the logs a failure shows: those of the last slices.
const TAIL_LINES: usize = 20;

/// How a system differs from the usual one.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name, which its folder below the target folder has.
    pub name: String,
    /// More flags of kube-apiserver.
    pub flags: Vec<String>,
}

impl Options {
    /// A system with nothing special.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), flags: Vec::new() }
    }
}

/// A function as it is deployed.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Its program: `lifecycle` or `interruption`.
    pub program: &'static str,
    /// Its name, which its role and its logs have too.
    pub role: String,
    /// The queue that feeds it.
    pub queue: String,
    /// Where it sends what can never work.
    pub dead_letters: String,
    /// Settings besides the usual ones, which they may replace.
    pub settings: Vec<(String, String)>,
    /// MaximumConcurrency of its mapping.
    pub concurrency: usize,
    /// Whether processes that wait are stopped, as Lambda does.
    pub freezes: bool,
}

impl Deployment {
    /// A function as it is published, but for short settle times.
    pub fn new(program: &'static str) -> Self {
        let [interruption, lifecycle] = QUEUES;
        let settings = [("SETTLE_APPLICATION", "2s"), ("AWS_LAMBDA_LOG_LEVEL", "INFO")];
        Self {
            program,
            role: program.to_owned(),
            queue: if program == "lifecycle" { lifecycle } else { interruption }.to_owned(),
            dead_letters: DEAD_LETTER_QUEUE.to_owned(),
            settings: settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            concurrency: 8,
            freezes: true,
        }
    }

    /// The same under a role, with queues and for a group of its own, all of this name.
    pub fn apart(program: &'static str, name: &str) -> Self {
        let mut apart = Self::new(program);
        apart.role = name.to_owned();
        apart.queue = name.to_owned();
        apart.dead_letters = format!("{name}-dead");
        apart.settings.push(("ASGS".to_owned(), name.to_owned()));
        apart.concurrency = 2;
        apart
    }
}

/// A running system. Dropping it ends all of it; logs stay until the next one of its name.
#[derive(Debug)]
pub struct System {
    /// Kubernetes.
    pub control: ControlPlane,
    /// AWS.
    pub sandbox: Sandbox,
    /// What the functions asked of Kubernetes.
    pub audit: Audit,
    /// What both functions may.
    pub role: Role,
    server: Server,
    folder: PathBuf,
    machines: AtomicU32,
}

impl System {
    /// Starts the account and the control plane with all its controllers; no function runs yet.
    pub async fn start(tools: &Tools, options: Options) -> Result<Self, SystemError> {
        let folder = target_folder()?.join("system").join(&options.name);
        // Of an earlier run.
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).map_err(SystemError::system("make a folder for logs"))?;
        let sandbox = real_time(1);
        account::set(&mut sandbox.world());
        let server = Server::start(&sandbox).map_err(SystemError::system("serve the sandbox"))?;
        let (audit, mut flags) = Audit::prepare(&folder)?;
        flags.extend(options.flags.iter().cloned());
        let webhook = Some(server.token_review_url(account::CLUSTER));
        let setup = Setup { webhook, flags, ..Setup::new(Version::Newest) };
        let control = ControlPlane::start(tools, setup).await?;
        control.start_controllers(&["*"])?;
        control.start_scheduler()?;
        control.start_kwok()?;
        let api = Api::new(control.admin()?);
        let role = Role::apply(&api, "ebbtide").await?;
        account::let_in(&mut sandbox.world(), "ebbtide");
        // Made by a controller; until then no pod is admitted.
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        drop(api.until(account, READY_WITHIN, |found| found["kind"] == "ServiceAccount").await?);
        let machines = AtomicU32::new(1);
        let system = Self { control, sandbox, audit, role, server, folder, machines };
        system.announce();
        Ok(system)
    }

    /// Tells EKS the API server's URL and certificate, as they are now.
    pub fn announce(&self) {
        let authority = STANDARD.encode(self.control.ca_pem());
        account::set_cluster(&mut self.sandbox.world(), &self.control.url(), &authority);
    }

    /// Somebody who may do everything; for one runtime.
    pub fn api(&self) -> Result<Api, SystemError> {
        Ok(Api::new(self.control.admin()?))
    }

    /// What `AWS_ENDPOINT_URL` is to be set to.
    pub fn aws_url(&self) -> String {
        self.server.url()
    }

    /// Adds a group with so many instances and their nodes, and waits until these are Ready.
    pub async fn add_group(&self, group: &Group, count: u32) -> Result<Vec<Machine>, SystemError> {
        // Its target group has the ARN of its name.
        account::add_group(&mut self.sandbox.world(), group);
        self.grow(group, count).await
    }

    /// Adds so many instances and their nodes to a group, and waits until these are Ready.
    pub async fn grow(&self, group: &Group, count: u32) -> Result<Vec<Machine>, SystemError> {
        let first = self.machines.fetch_add(count, Ordering::Relaxed);
        let machines =
            account::add_machines(&mut self.sandbox.world(), first..first + count, &group.name);
        self.join(&machines, group.images).await?;
        Ok(machines)
    }

    /// Registers the nodes of these instances, with so many images, and waits until they are Ready.
    pub async fn join(&self, machines: &[Machine], images: usize) -> Result<(), SystemError> {
        let nodes: Vec<_> = machines.iter().map(|machine| machine.fake(images)).collect();
        self.control.add_nodes(&nodes).await?;
        let Some(first) = machines.first() else { return Ok(()) };
        let names: BTreeSet<&str> = machines.iter().map(|machine| machine.node.as_str()).collect();
        let path = format!("/api/v1/nodes?labelSelector=pool%3D{}", first.group);
        let ready = |found: &Value| {
            let nodes = found["items"].as_array().into_iter().flatten();
            let ours = nodes.filter(|node| {
                node["metadata"]["name"].as_str().is_some_and(|name| names.contains(name))
            });
            // Until a controller has seen that a node is Ready, no pod may go there.
            let ready = ours.filter(|node| is_ready(node) && node["spec"]["taints"].is_null());
            ready.count() == machines.len()
        };
        drop(self.api()?.until(&path, READY_WITHIN, ready).await?);
        Ok(())
    }

    /// Makes queues for a function that is apart, and lets its role into the cluster with rights of its own: those that
    /// are published, until some are taken out.
    pub async fn let_apart(&self, function: &Deployment) -> Result<Role, SystemError> {
        let Deployment { role, queue, dead_letters, .. } = function;
        {
            let mut world = self.sandbox.world();
            account::add_queue(&mut world, dead_letters, None);
            account::add_queue(&mut world, queue, Some(dead_letters));
            Eks::add_access_entry(&mut world, CLUSTER, role, &[role]);
        }
        Role::apply(&self.api()?, role).await
    }

    /// Starts a function behind its queue.
    pub fn deploy(
        &self,
        binaries: &Binaries,
        deployment: &Deployment,
    ) -> Result<Mapping, SystemError> {
        let Deployment { program, role, queue, dead_letters, settings, concurrency, freezes } =
            deployment;
        let [source, dead] =
            [queue, dead_letters].map(|queue| Sqs::url(&self.sandbox.world(), queue));
        let mut environment: BTreeMap<String, String> = [
            ("MODE", "act".to_owned()),
            ("MAXIMUM_CONCURRENCY", concurrency.to_string()),
            ("QUEUE_URL", source),
            ("DEAD_LETTER_QUEUE_URL", dead),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        environment.extend(settings.iter().cloned());
        let function = Function {
            name: role.clone(),
            binary: binaries.of(program),
            environment: environment.into_iter().collect(),
            timeout_ms: TIMEOUT_MS,
            aws_url: self.server.url(),
            logs: Some(self.folder.join("logs")),
            freezes: *freezes,
        };
        let mut mapping = Source::new(queue);
        mapping.concurrency_max = *concurrency;
        Mapping::start(&self.sandbox, function, mapping)
            .map_err(SystemError::system("start a mapping"))
    }

    /// All that the processes of one function logged.
    pub fn logged(&self, role: &str) -> String {
        let mut text = String::new();
        for file in fs::read_dir(self.folder.join("logs")).into_iter().flatten().flatten() {
            // `ROLE-NUMBER.log`
            let name = file.file_name().to_string_lossy().into_owned();
            if name.rsplit_once('-').is_some_and(|(whose, _)| whose == role) {
                text += &fs::read_to_string(file.path()).unwrap_or_default();
            }
        }
        text
    }

    /// The end of that, for the message of a failure.
    pub fn log_tail(&self, role: &str) -> String {
        let text = self.logged(role);
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains("\"_aws\"")).collect();
        lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
    }

    /// The records of an instance's departures that one function wrote, in the order of its processes.
    pub fn records(&self, role: &str, instance: &str) -> Vec<Value> {
        let text = self.logged(role);
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let record = |line: Value| {
            let fields = &line["fields"];
            (fields["message"] == "departure record" && fields["instance"] == instance)
                .then(|| serde_json::from_str(fields["record"].as_str()?).ok())
                .flatten()
        };
        lines.filter_map(record).collect()
    }

    /// What the roles of both functions, or another one, were refused: rights in the cluster as `patch nodes.`, and
    /// actions of AWS as `ec2:DescribeInstances`.
    pub fn refused(&self, role: &str) -> BTreeSet<String> {
        let asked = self.audit.of(role);
        let rights = asked.iter().filter(|asked| [401, 403].contains(&asked.code));
        let mut refused: BTreeSet<String> = rights.map(crate::Asked::right).collect();
        let world = self.sandbox.world();
        for call in &world.calls {
            // EventBridge says it with 400, as it does nothing else here.
            let denied =
                call.status == 403 || call.status == 400 && call.operation.starts_with("events:");
            let whose = world.processes.get(&call.process);
            if denied && whose.is_some_and(|process| process.function == role) {
                // A batch of calls needs the right of one.
                let operation = call.operation.trim_end_matches("Batch");
                refused.insert(operation.to_owned());
            }
        }
        refused
    }
}

fn is_ready(node: &Value) -> bool {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
}
