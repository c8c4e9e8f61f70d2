//! `cargo run --profile sim --locked -p system-tests --bin storm -- [--nodes 200] [--pods 2000] [--warnings 5,100] [--singles 10]
//! [--json FILE] [--service] [--aws-latency] [--debug] [--watch-only]`
//!
//! Storms of Spot warnings against a real API server whose nodes kwok speaks for. Prints a table and writes JSON. The
//! functions are built as they are deployed, unless `--debug` says otherwise. With `--watch-only` nothing of ours runs: it
//! prints where SQS, EC2 and the API server are, for another handler, and begins when a line comes on its standard input.

use cluster_tests::Tools;
use lambda::Mapping;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Duration;
use system_tests::storm::{self, Report, Spread};
use system_tests::{
    Api, Binaries, Deployment, Group, Machine, Options, Profile, QUEUES, System, Workload,
};

/// MaximumConcurrency, as it is published.
const CONCURRENCY: usize = 20;
/// Images of a node: with them it is as large as real ones are.
const IMAGES: usize = 50;
/// How long pods may take to run: a scheduler binds a hundred a second.
const CREATED_WITHIN: Duration = Duration::from_secs(600);
/// Key and secret of a handler that is not ours.
const KEY: (&str, &str) = ("ASIAEBBTIDE999999999", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");

type Failed = Box<dyn std::error::Error>;

struct Wanted {
    nodes: u32,
    pods: usize,
    /// Warnings at once, storm by storm.
    warnings: Vec<usize>,
    /// Warnings one after the other, warm and cold each.
    singles: usize,
    json: String,
    profile: Profile,
    watch_only: bool,
    /// A Service over all pods: its controllers write endpoints for each pod that moves.
    service: bool,
    /// Whether AWS takes its usual time for each answer, of 2 to 40 ms; else it answers at once.
    aws_latency: bool,
}

impl Wanted {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failed> {
        let mut wanted = Self {
            nodes: 200,
            pods: 2_000,
            warnings: vec![5, 100],
            singles: 10,
            json: "target/system/storm.json".to_owned(),
            profile: Profile::Release,
            watch_only: false,
            service: false,
            aws_latency: false,
        };
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--watch-only" => wanted.watch_only = true,
                "--service" => wanted.service = true,
                "--aws-latency" => wanted.aws_latency = true,
                "--debug" => wanted.profile = Profile::Debug,
                _ => {
                    let value = arguments.next().ok_or(format!("{name}: a value is missing"))?;
                    wanted.take(&name, value)?;
                }
            }
        }
        let most = wanted.warnings.iter().copied().max().max(Some(wanted.singles));
        if usize::try_from(wanted.nodes).ok() < most {
            return Err(format!("{most:?} warnings for {} nodes", wanted.nodes).into());
        }
        Ok(wanted)
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), Failed> {
        match name {
            "--nodes" => self.nodes = value.parse()?,
            "--pods" => self.pods = value.parse()?,
            "--singles" => self.singles = value.parse()?,
            "--warnings" => {
                let counts: Result<_, _> = value.split(',').map(str::parse).collect();
                self.warnings = counts?;
            }
            "--json" => self.json = value,
            _ => {
                let known = "--nodes, --pods, --singles, --warnings, --json, --service, \
                     --aws-latency, --debug or --watch-only";
                return Err(format!("{name}: {known}").into());
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Failed> {
    let wanted = Wanted::parse(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&wanted))
}

async fn run(wanted: &Wanted) -> Result<(), Failed> {
    let tools = Tools::find()?;
    let binaries = if wanted.watch_only { None } else { Some(Binaries::find(wanted.profile)?) };
    // One user of the default priority level, as any other client of the cluster.
    let system = System::start(&tools, Options::new("storm")).await?;
    let (mut nodes, mut out) = (Nodes::new(&system, wanted).await?, io::stdout());
    let mapping = match &binaries {
        Some(binaries) => Some(system.deploy(binaries, &function())?),
        None => {
            foreign(&system, &mut out)?;
            None
        }
    };
    {
        let mut world = system.sandbox.world();
        // Whoever acts is measured from the message in the queue on.
        world.aws.events.delivery.delay_ms = 0..=0;
        if !wanted.aws_latency {
            world.latency.aws = 0..=0;
        }
    }
    let singles = singles(&system, (wanted, &mut nodes), mapping.as_ref()).await?;
    for (name, spread) in &singles {
        let (p50, last) = (1_000.0 * spread.p50, 1_000.0 * spread.last);
        writeln!(out, "one warning, {name}: cordon p50 {p50:.0} ms, last {last:.0} ms")?;
    }
    writeln!(out, "{}", Report::HEAD)?;
    let mut reports = Vec::new();
    for count in &wanted.warnings {
        let report = storm::run(&system, &nodes.taken(*count).await?, mapping.as_ref()).await?;
        writeln!(out, "{report}")?;
        reports.push(report);
    }
    if let Some(last) = reports.last().filter(|_| mapping.is_some()) {
        let (cpu, wall) = (1_000.0 * last.start.cpu.p50, 1_000.0 * last.start.wall.p50);
        writeln!(out, "start to first next, p50: {cpu:.0} ms of CPU, {wall:.0} ms on the wall")?;
    }
    std::fs::write(&wanted.json, format!("{:#}\n", whole(wanted, &singles, &reports)))?;
    writeln!(out, "written to {}", wanted.json)?;
    Ok(())
}

/// As it is published: for an Application Load Balancer.
fn function() -> Deployment {
    let mut function = Deployment::new("interruption");
    function.concurrency = CONCURRENCY;
    function.settings.retain(|(name, _)| name != "SETTLE_APPLICATION");
    function
}

/// Warnings one after the other: with processes that are there, and, where they are ours, with none.
async fn singles(
    system: &System,
    (wanted, nodes): (&Wanted, &mut Nodes<'_>),
    mapping: Option<&Mapping>,
) -> Result<Vec<(&'static str, Spread)>, Failed> {
    let mut singles = Vec::new();
    if wanted.singles == 0 {
        return Ok(singles);
    }
    if let Some(mapping) = mapping {
        let kill = || {
            for process in mapping.processes() {
                // One that has ended already cannot be killed.
                mapping.kill(process.number).ok();
            }
        };
        let cold = storm::singles(system, &nodes.taken(wanted.singles).await?, kill).await?;
        singles.push(("with a cold start", cold));
    }
    let warm = storm::singles(system, &nodes.taken(wanted.singles).await?, || {}).await?;
    singles.push(("warm", warm));
    Ok(singles)
}

/// The group, with as many nodes at the beginning of each storm as at that of the first.
struct Nodes<'a> {
    system: &'a System,
    api: Api,
    group: Group,
    workload: Workload,
    machines: Vec<Machine>,
    /// How many of them were warned: the first ones.
    warned: usize,
}

impl<'a> Nodes<'a> {
    async fn new(system: &'a System, wanted: &Wanted) -> Result<Self, Failed> {
        let group = Group { images: IMAGES, ..Group::new("storm") };
        let (api, machines) = (system.api()?, system.add_group(&group, wanted.nodes).await?);
        let workload = Workload {
            name: "storm".to_owned(),
            replicas: wanted.pods,
            pool: "storm".to_owned(),
            budget: json!({"maxUnavailable": "10%"}),
            grace_seconds: 5,
            finalizers: Vec::new(),
        };
        workload.create(&api, CREATED_WITHIN).await?;
        if wanted.service {
            workload.expose(&api).await?;
        }
        Ok(Self { system, api, group, workload, machines, warned: 0 })
    }

    /// Nodes to be warned. What was warned before is replaced first, as its group would see to: else it would count for the
    /// share of targets that has to stay in.
    async fn taken(&mut self, count: usize) -> Result<Vec<Machine>, Failed> {
        for machine in self.machines.drain(..self.warned) {
            drop(self.api.delete(&format!("/api/v1/nodes/{}", machine.node)).await?);
        }
        let new = self.system.grow(&self.group, u32::try_from(self.warned)?).await?;
        self.machines.extend(new);
        self.workload.ready(&self.api, CREATED_WITHIN).await?;
        self.warned = count;
        Ok(self.machines[..count].to_vec())
    }
}

fn whole(wanted: &Wanted, singles: &[(&'static str, Spread)], reports: &[Report]) -> Value {
    let singles: Value =
        singles.iter().map(|(name, spread)| ((*name).to_owned(), spread.json())).collect();
    let storms: Vec<Value> = reports.iter().map(Report::json).collect();
    json!({"nodes": wanted.nodes, "pods": wanted.pods, "watch_only": wanted.watch_only,
        "service": wanted.service, "aws_latency": wanted.aws_latency,
        "release": wanted.profile == Profile::Release, "single_warnings": singles, "storms": storms})
}

/// Where everything is, for a handler that is not ours; returns when it is told to begin.
fn foreign(system: &System, out: &mut impl Write) -> Result<(), Failed> {
    let (queue, region) = {
        let mut world = system.sandbox.world();
        sandbox::aws::sts::Sts::add_key(&mut world, KEY, "foreign", 0);
        (sandbox::aws::sqs::Sqs::url(&world, QUEUES[0]), world.aws.region.clone())
    };
    let kubeconfig = system.control.kubeconfig("foreign", "system:masters")?;
    let facts = json!({"aws_url": system.aws_url(), "region": region, "queue_url": queue,
        "key": {"id": KEY.0, "secret": KEY.1}, "kubeconfig": kubeconfig,
        "then": "a line on standard input begins the storms"});
    writeln!(out, "{facts}")?;
    out.flush()?;
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}
