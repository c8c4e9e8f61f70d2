//! The comparison as text, for people: what was simulated, the timeline, the two columns, and how to see it again.

use crate::args::TrafficPolicy;
use crate::demo::act::Act;
use crate::demo::cast::Part;
use crate::demo::cue::{Content, Message};
use crate::demo::run::{Fortune, Run, seconds};
use crate::demo::timeline::{Row, short};
use crate::demo::why;
use crate::demo::world::{
    Column, DEREGISTRATION_DELAY_SECONDS, GROUPS, RATE_PER_SECOND, SERVES_ON_SECONDS, Scene,
};
use anstyle::{AnsiColor, Style};
use decision::signal::Signal;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// The four runs that are compared.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// With Ebbtide.
    pub(crate) with: Run,
    /// Without.
    pub(crate) without: Run,
    /// Both again, with pods that stop listening at once: with, without.
    pub(crate) at_once: (Run, Run),
}

/// The whole text, with its colours.
pub(crate) fn text(scene: &Scene, runs: &Comparison) -> String {
    let mut lines = head(scene, runs);
    for (index, message) in scene.script.messages.iter().enumerate() {
        lines.extend(unplayed(index, message, scene, &runs.with));
    }
    for fortune in &runs.with.fortunes {
        lines.push(String::new());
        if runs.with.fortunes.len() > 1 {
            let Fortune { part, node, .. } = fortune;
            lines.push(format!(
                "{BOLD}{}{BOLD:#} ({}) {}",
                part.instance,
                short(node),
                part.act.text()
            ));
        }
        lines.extend(timeline(&fortune.rows));
    }
    lines.push(String::new());
    lines.extend(columns(scene, runs));
    lines.extend(at_once(runs));
    lines.extend(last(scene, &runs.with));
    lines.push(String::new());
    lines.join("\n")
}

/// A number with commas between its thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn head(scene: &Scene, runs: &Comparison) -> Vec<String> {
    let title = match scene.parts.as_slice() {
        [] => "No instance is concerned".to_owned(),
        [part] => format!("{} of ASG {} {}", part.instance, part.asg, part.act.text()),
        parts => {
            let mut asgs: Vec<&str> = parts.iter().map(|part| part.asg.as_str()).collect();
            asgs.dedup();
            format!("{} instances of ASG {}", parts.len(), asgs.join(", "))
        }
    };
    let (pods, nodes) = runs.with.size;
    let [(attached, _), (named, _)] = GROUPS;
    let policy = match scene.policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    };
    let asgs = if scene.is_struck() { "ASGs" } else { "ASG" };
    let mut lines = vec![
        format!("{BOLD}{title}{BOLD:#}   {FAINT}{}{FAINT:#}", scene.script.name),
        format!(
            "{nodes} nodes, {pods} pods; target groups {attached} (attached to the {asgs}) and {named} (only named to Ebbtide),"
        ),
        format!(
            "each {RATE_PER_SECOND} requests/s by an ALB, instance targets, externalTrafficPolicy {policy}"
        ),
        format!(
            "Simulated, seed {}; load-balancer lag 10–25 s, deregistration delay {DEREGISTRATION_DELAY_SECONDS} s, health checks every 30 s",
            scene.seed
        ),
        format!("Pods serve on for {SERVES_ON_SECONDS} s after SIGTERM"),
    ];
    if scene.is_struck() {
        let mut asgs: Vec<&str> = scene.parts.iter().map(|part| part.asg.as_str()).collect();
        asgs.sort_unstable();
        asgs.dedup();
        let taints: Vec<String> =
            asgs.iter().map(|asg| format!("{asg}=true:PreferNoSchedule")).collect();
        lines.push(format!(
            "Nodes of ASG {} are tainted {}; ASG workers is on demand, with room",
            asgs.join(", "),
            taints.join(", ")
        ));
    }
    let far = scene.parts.iter().filter_map(|part| {
        let (name, text) = (part.instance.as_str(), part.act.blow()?.far()?);
        Some(if scene.parts.len() > 1 { format!("{name}: {text}") } else { text })
    });
    lines.extend(far);
    lines
}

/// What became of a message that speaks of no action in this world.
fn unplayed(index: usize, message: &Message, scene: &Scene, with: &Run) -> Option<String> {
    let dead = with.dead_letters.get(index).and_then(Option::as_ref);
    let name = format!("message {} of {}", index + 1, scene.script.messages.len());
    if let Some(reason) = dead {
        return Some(format!("{name}: {BAD}dead-letter queue{BAD:#}: {reason}"));
    }
    match &message.content {
        Content::Ignored(why) => Some(format!("{name}: acknowledged, nothing to do: {why}")),
        Content::Unreadable(why) => Some(format!("{name}: unreadable: {why}")),
        Content::Signals(_) | Content::Reservation(_) => {
            let Some((instance, hook)) = message.hook() else {
                return stranger(message, scene).map(|text| format!("{name}: {text}"));
            };
            let part = scene.parts.iter().find(|part| part.instance == instance)?;
            let late = part.act != Act::of(hook);
            late.then(|| {
                format!("{name}: acknowledged, too late: {instance} {} by now", part.act.text())
            })
        }
    }
}

/// What became of an interruption of an instance that is in no group here.
fn stranger(message: &Message, scene: &Scene) -> Option<String> {
    let plays =
        |signal: &Signal| scene.parts.iter().any(|part| part.instance == signal.instance.as_str());
    let strangers: Vec<&str> = message
        .signals()
        .iter()
        .filter(|signal| !plays(signal))
        .map(|signal| signal.instance.as_str())
        .collect();
    let all = !strangers.is_empty() && strangers.len() == message.signals().len();
    all.then(|| format!("acknowledged, not ours: no group knows {}", strangers.join(", ")))
}

fn timeline(rows: &[Row]) -> Vec<String> {
    let mut header = vec!["t".to_owned(), "node".to_owned()];
    header.extend(GROUPS.iter().map(|(name, _)| (*name).to_owned()));
    header.extend(["pods".to_owned(), "what happened".to_owned()]);
    let mut table = vec![header];
    for row in rows {
        let mut cells = vec![format!("{}s", seconds(row.at)), row.node.to_owned()];
        cells.extend(row.targets.iter().map(|health| (*health).to_owned()));
        cells.push(row.pods.map_or("–".to_owned(), |pods| pods.to_string()));
        cells.push(row.text.clone());
        table.push(cells);
    }
    let width = |column: usize| {
        table.iter().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..table[0].len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |(index, cells): (usize, &Vec<String>)| {
        let mut line = String::new();
        for ((column, cell), width) in cells.iter().enumerate().zip(&widths) {
            // Numbers to the right; the last column is not filled up.
            let cell = match column {
                0 | 4 => format!("{cell:>width$}"),
                _ if column + 1 == cells.len() => cell.clone(),
                _ => format!("{cell:width$}"),
            };
            line.push_str(if column == 0 { " " } else { "   " });
            line.push_str(&cell);
        }
        if index == 0 { format!("{FAINT}{line}{FAINT:#}") } else { line }
    };
    table.iter().enumerate().map(line).collect()
}

fn columns(scene: &Scene, runs: &Comparison) -> Vec<String> {
    let mut lines = vec![format!("{FAINT}                     served   dropped   why{FAINT:#}")];
    let both = [
        ("without Ebbtide", Column::Without, &runs.without),
        ("with    Ebbtide", Column::With, &runs.with),
    ];
    for (name, column, run) in both {
        let (served, dropped) = (grouped(run.served()), grouped(run.dropped()));
        let style = if run.dropped() == 0 { GOOD } else { BAD };
        let mut why = why::row(run, column);
        if column == Column::With {
            why.extend(late(scene, runs));
        }
        let mut why = why.into_iter();
        let first = why.next().unwrap_or_default();
        let line = format!("  {name}   {served:>7}   {style}{dropped:>7}{style:#}   {first}");
        lines.push(line.trim_end().to_owned());
        lines.extend(why.map(|more| format!("{:40}{more}", "")));
    }
    lines
}

/// What could still be saved where the host was going when the signal came.
fn late(scene: &Scene, runs: &Comparison) -> Option<String> {
    let late = |part: &Part| part.act.blow().is_some_and(|blow| !blow.leaves_time());
    if !scene.parts.iter().any(late) {
        return None;
    }
    let (alone, with) = (runs.without.dropped(), runs.with.dropped());
    Some(if alone > with {
        format!("the signal leaves no time; {} saved", grouped(alone - with))
    } else {
        "the signal leaves no time; nothing could be saved".to_owned()
    })
}

/// What it costs when pods stop listening at once.
fn at_once(runs: &Comparison) -> Vec<String> {
    let (with, without) = (&runs.at_once.0, &runs.at_once.1);
    let told = |run: &Run| {
        let causes: Vec<String> = why::losses(run)
            .into_iter()
            .map(|(cause, count, _)| format!("{} {}", grouped(count), cause.text()))
            .collect();
        match causes.as_slice() {
            [] => "0".to_owned(),
            [_] => causes.join(""),
            _ => format!("{} ({})", grouped(run.dropped()), causes.join(", ")),
        }
    };
    vec![
        String::new(),
        "  the same with pods that stop listening at once on SIGTERM, dropped:".to_owned(),
        format!("    without Ebbtide  {}", told(without)),
        format!("    with    Ebbtide  {}", told(with)),
        String::new(),
    ]
}

fn last(scene: &Scene, with: &Run) -> Vec<String> {
    let hooks: Vec<String> = with
        .actions
        .iter()
        .map(|action| {
            let result = crate::demo::run::result(action);
            let ended = action.ended.map(|(at, _)| at);
            let after = ended.map(|at| {
                let waited = seconds(at - action.began_at);
                format!(" at {} s, {waited} s after it began to wait", seconds(at))
            });
            let whose = if scene.parts.len() > 1 {
                format!(" for {}", action.instance)
            } else {
                String::new()
            };
            format!("  hook {}{whose}: {result}{}", action.hook, after.unwrap_or_default())
        })
        .collect();
    let mut lines = if hooks.is_empty() { vec!["  hook: none".to_owned()] } else { hooks };
    let (calls, evictions, forced) = (with.calls, with.evictions, with.forced);
    lines.push(format!("  {calls} API calls + {evictions} evictions · forced: {forced}"));
    lines.extend(with.violations.iter().map(|rule| format!("  {BAD}rule broken:{BAD:#} {rule}")));
    if with.left > 0 {
        lines.push(format!("  {} messages still in the queue", with.left));
    }
    let event =
        if scene.script.named { format!(" --event {}", scene.script.name) } else { String::new() };
    let (seed, policy) = (scene.seed, scene.policy);
    lines.push(format!("  again: --seed {seed} --policy {policy}{event}"));
    lines
}
