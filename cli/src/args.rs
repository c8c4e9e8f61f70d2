//! The command line. What is wrong with it is clap's to say, on standard error and with exit code 2.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::fmt;
use std::path::PathBuf;

/// EKS nodes leave without dropping requests.
#[derive(Clone, Debug, Parser)]
#[command(name = "ebbtide", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run one event, or a storm of them, through the real functions against a simulated AWS and Kubernetes
    Demo(DemoArgs),
}

/// What the demo is told.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct DemoArgs {
    /// An event as AWS sends it: from EventBridge, flat, wrapped by SNS, or an SQS event of Lambda
    /// [default: events/autoscaling.terminate.json]
    #[arg(long, value_name = "FILE")]
    pub event: Option<PathBuf>,
    /// Warn so many Spot nodes (1 to 2000) within a second instead, each with ten pods, and show how the times are spread
    #[arg(
        long,
        value_name = "N",
        value_parser = nodes,
        allow_negative_numbers = true,
        conflicts_with_all = ["event", "policy"]
    )]
    pub storm: Option<u16>,
    /// Where all chances of the simulation come from
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub seed: u64,
    /// externalTrafficPolicy of the Services behind the target groups
    #[arg(long, value_enum, default_value_t = TrafficPolicy::Cluster)]
    pub policy: TrafficPolicy,
    /// Print one JSON object instead of the timeline
    #[arg(long)]
    pub json: bool,
}

/// Twice the storm that is measured. Doubled: it would take some minutes and say nothing else.
const STORM_MAX: u16 = 2000;

fn nodes(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(nodes @ 1..=STORM_MAX) => Ok(nodes),
        Ok(_) | Err(_) => Err(format!("expected a number of nodes from 1 to {STORM_MAX}")),
    }
}

/// `externalTrafficPolicy` of the demo's Services.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum TrafficPolicy {
    /// Any node forwards to any pod
    Cluster,
    /// A node forwards only to its own pods
    Local,
}

impl fmt::Display for TrafficPolicy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Cluster => "cluster",
            Self::Local => "local",
        })
    }
}

const AFTER_HELP: &str = "\
The world is made after the event. A lifecycle action: its Auto Scaling group, hook and instance get the event's
names, and the instance is brought into the state that the event speaks of. An interruption: the instance is a node
of a group of Spot (or reserved) instances beside one on demand, and AWS does to it what the event says. The event's
own body is what the function receives, but for what can't be the file's: the token and the time are those of the
simulated action, what is announced moves with the time, a capacity block ends 40 minutes after its warning, and the
hook's target_groups in NotificationMetadata are left out.

What is announced more than eleven hours ahead is not waited for: a reboot is only announced, a retirement happens
after ten minutes.

With --json: served and dropped count requests, api_calls all calls of the functions (evictions among them),
seconds is the simulated time until the instance is where it was going. hook is null where none waits. Of a storm
it tells the times since each node's warning, and the fewest living targets of each target group.";
