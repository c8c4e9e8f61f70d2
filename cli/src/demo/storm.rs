//! A storm: all Spot nodes of a group are warned within a second, and both functions work them off with AWS's own limits.
//!
//! ```text
//!   N warnings ──> queue ──> interruption ─┐
//!                                          ├─> N departures, three target groups, budgets of 10 %
//!   N hooks ─────> queue ──> lifecycle ────┘   (the group replaces its nodes at once)
//! ```
//! Here nobody follows a single node: what is told is how the times are spread, and what became of the requests.

use crate::demo::print::{BAD, BOLD, FAINT, GOOD, grouped};
use crate::demo::progress::Progress;
use crate::stage::{Deployment, function};
use decision::policy::{Mode, Policy};
use sandbox::lambda::{Function, Lambda};
use sandbox::measure::{Departure, Spread};
use sandbox::scenario::{INTERRUPTION_QUEUE, LIFECYCLE_QUEUE, Place, START, Storm};
use sandbox::traffic::{Cause, Report};
use sandbox::{Millis, World};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The event source mappings' maximum concurrency, and the functions' setting of the same name.
const CONCURRENCY: u16 = 20;
/// Messages in one batch.
const BATCH: usize = 10;
/// From a warning to the instance's end.
const LEAD_MS: Millis = 120_000;
/// How long the world goes on after the last end: health checks that fail, targets that are missed.
const TAIL_MS: Millis = 60_000;
/// How often the progress is told, in simulated time.
const TELL_MS: Millis = 1_000;

/// What became of a storm.
#[derive(Debug)]
pub(crate) struct Past {
    /// How many nodes were warned.
    nodes: usize,
    seed: u64,
    /// Pods of Deployments, and nodes that stay.
    size: (usize, usize),
    cordoned: Option<Spread>,
    withdrawn: Option<Spread>,
    drained: Option<Spread>,
    reports: Vec<Report>,
    /// By action.
    throttled: BTreeMap<String, u32>,
    /// The fewest living targets, and how many there were, by target group.
    fewest: BTreeMap<String, (usize, usize)>,
    calls: usize,
    forced: usize,
    violations: Vec<String>,
}

/// Plays a storm over so many nodes.
pub(crate) async fn play(nodes: usize, seed: u64, progress: &mut Progress) -> Past {
    let storm = Storm::new(seed, nodes);
    let place = storm.build();
    let before = targets(&place.sandbox.world());
    let functions = functions(&place);
    let mut lambda = Lambda::new(&place.sandbox, &functions);
    let end = START + storm.warned_after + storm.within_ms + LEAD_MS + TAIL_MS;
    loop {
        let now = place.sandbox.now();
        progress.say(&told(&place.sandbox.world(), nodes));
        if now >= end {
            break;
        }
        lambda.drive((now + TELL_MS).min(end), |_| false).await;
    }
    let world = place.sandbox.world();
    past(&storm, &world, &before)
}

/// Both functions, deployed as for a large account.
fn functions(place: &Place) -> Vec<Function> {
    let mut policy = Policy { mode: Mode::Act, ..Policy::default() };
    policy.target_groups.extend(place.groups.iter().filter_map(|arn| arn.parse().ok()));
    let deployed = [("interruption", INTERRUPTION_QUEUE), ("lifecycle", LIFECYCLE_QUEUE)];
    let deployed = deployed.map(|(name, queue)| {
        let deployment = Deployment {
            policy: policy.clone(),
            queue: queue.to_owned(),
            dead_letter: format!("{queue}-dead-letter"),
            batch: BATCH,
            concurrency: CONCURRENCY,
        };
        function(&place.sandbox, name, &deployment)
    });
    deployed.into()
}

/// Where all departures stand, for whoever waits.
fn told(world: &World, nodes: usize) -> String {
    let departures = || world.measures.departures.values();
    let count = |has: fn(&Departure) -> bool| departures().filter(|it| has(it)).count();
    format!(
        "{} s, of {nodes} nodes {} cordoned, {} out of the load balancers, {} drained; {} requests dropped",
        (world.now - START) / 1_000,
        count(|it| it.cordoned_at.is_some()),
        count(|it| it.withdrawn_at.is_some()),
        count(|it| it.drained_at.is_some()),
        world.traffic.dropped()
    )
}

/// Healthy targets by target group.
fn targets(world: &World) -> BTreeMap<String, usize> {
    let groups = world.aws.elb.groups.values();
    groups.map(|group| (group.arn.clone(), group.living())).collect()
}

fn past(storm: &Storm, world: &World, before: &BTreeMap<String, usize>) -> Past {
    let name = |arn: &str| {
        let group = world.aws.elb.groups.get(arn);
        group.map_or_else(|| arn.to_owned(), |group| group.spec.name.clone())
    };
    let fewest = world.measures.fewest.iter().map(|(arn, fewest)| {
        let all = before.get(arn).copied().unwrap_or_default();
        (name(arn), (fewest.targets, all))
    });
    let forced = |how| matches!(how, sandbox::kubernetes::How::Deleted(_));
    Past {
        nodes: storm.spot,
        seed: storm.seed,
        size: (storm.spot * storm.pods_per_node, storm.on_demand),
        cordoned: world.measures.spread(|it| it.cordoned_at),
        withdrawn: world.measures.spread(|it| it.withdrawn_at),
        drained: world.measures.spread(|it| it.drained_at),
        reports: world.traffic.reports(),
        throttled: world.aws.budgets.throttled_actions.clone(),
        fewest: fewest.collect(),
        calls: world.calls.len(),
        forced: world.kubernetes.removals.iter().filter(|one| forced(one.how)).count(),
        violations: world.violations.clone(),
    }
}

impl Past {
    fn dropped(&self) -> u64 {
        self.reports.iter().map(Report::dropped).sum()
    }

    fn served(&self) -> u64 {
        self.reports.iter().map(Report::served).sum()
    }

    fn throttled(&self) -> u32 {
        self.throttled.values().sum()
    }

    /// Dropped requests by cause.
    fn causes(&self) -> BTreeMap<Cause, u64> {
        let mut causes: BTreeMap<Cause, u64> = BTreeMap::new();
        for (cause, count) in self.reports.iter().flat_map(|report| &report.dropped) {
            *causes.entry(*cause).or_default() += count;
        }
        causes
    }

    /// `{"nodes", "cordoned_s": {"p50", "p99", "last"}, …, "served", "dropped", "throttled", "min_targets": {group: n}}`
    pub(crate) fn object(&self) -> Value {
        let fewest: Map<String, Value> = self
            .fewest
            .iter()
            .map(|(name, (targets, _))| (name.clone(), (*targets).into()))
            .collect();
        json!({
            "nodes": self.nodes,
            "cordoned_s": seconds(self.cordoned),
            "withdrawn_s": seconds(self.withdrawn),
            "drained_s": seconds(self.drained),
            "served": self.served(),
            "dropped": self.dropped(),
            "throttled": self.throttled(),
            "min_targets": fewest,
        })
    }
}

impl Past {
    /// The whole text, with its colours.
    pub(crate) fn text(&self) -> String {
        let (pods, others) = self.size;
        let (count, grouped_pods) = (grouped_len(self.nodes), grouped_len(pods));
        let mut lines = vec![
            format!(
                "{BOLD}A storm over {count} Spot {}{BOLD:#}: all warned within a second, 120 s before EC2 takes them",
                node_s(self.nodes)
            ),
            format!(
                "{grouped_pods} pods, budgets of 10 %; {} {} on demand beside them; replacements after about a minute",
                grouped_len(others),
                node_s(others)
            ),
            format!(
                "Simulated, seed {}; {} target groups with 100 requests/s each, AWS's limits on calls",
                self.seed,
                self.reports.len()
            ),
            String::new(),
            format!("{FAINT}  since its warning          p50      p99     last   nodes{FAINT:#}"),
            self.row("cordoned", self.cordoned),
            self.row("out of load balancers", self.withdrawn),
            self.row("drained", self.drained),
            String::new(),
        ];
        let (served, dropped) = (grouped(self.served()), grouped(self.dropped()));
        let style = if self.dropped() == 0 { GOOD } else { BAD };
        lines.push(format!("  requests served {served}, dropped {style}{dropped}{style:#}"));
        let causes = self.causes();
        lines.extend(
            causes.iter().map(|(cause, count)| format!("    {} {}", grouped(*count), cause.text())),
        );
        let fewest: Vec<String> = self
            .fewest
            .iter()
            .map(|(name, (targets, all))| {
                format!("{name} {} of {}", grouped_len(*targets), grouped_len(*all))
            })
            .collect();
        lines.push(format!("  fewest living targets: {}", fewest.join(", ")));
        lines.push(format!(
            "  {} calls, {} of them throttled · forced: {}",
            grouped_len(self.calls),
            self.throttled(),
            grouped_len(self.forced)
        ));
        lines.extend(self.throttled.iter().map(|(action, count)| format!("    {count} {action}")));
        lines.extend(
            self.violations.iter().map(|rule| format!("  {BAD}rule broken:{BAD:#} {rule}")),
        );
        lines.push(format!("  again: --storm {} --seed {}", self.nodes, self.seed));
        lines.push(String::new());
        lines.join("\n")
    }

    fn row(&self, name: &str, spread: Option<Spread>) -> String {
        let Some(Spread { count, p50, p99, last }) = spread else {
            return format!("  {name:22} none");
        };
        let time = |ms: Millis| format!("{:.1} s", in_seconds(ms));
        let (p50, p99, last) = (time(p50), time(p99), time(last));
        let all = if count == self.nodes { "all".to_owned() } else { grouped_len(count) };
        format!("  {name:22} {p50:>8} {p99:>8} {last:>8}   {all}")
    }
}

fn node_s(count: usize) -> &'static str {
    if count == 1 { "node" } else { "nodes" }
}

fn grouped_len(number: usize) -> String {
    grouped(u64::try_from(number).unwrap_or(u64::MAX))
}

/// Seconds, to the millisecond; null where no departure came so far.
fn seconds(spread: Option<Spread>) -> Value {
    let of = |ms: Millis| Value::from(in_seconds(ms));
    match spread {
        Some(Spread { p50, p99, last, .. }) => {
            json!({"p50": of(p50), "p99": of(p99), "last": of(last)})
        }
        None => json!({"p50": null, "p99": null, "last": null}),
    }
}

fn in_seconds(ms: Millis) -> f64 {
    std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64()
}
