//! One run of one world: the act begins, the event reaches the queue, the function does its work, and all is watched.
//!
//! ```text
//!   begin ─> world goes on until something changes ─┬─> look: a row for the timeline
//!                  ^                                ├─> post: the event, once its lifecycle action waits
//!                  └────────────────────────────────┴─> over? then some time more, for what comes late
//! ```

use crate::demo::blow::Blow;
use crate::demo::cast::Part;
use crate::demo::post::{Post, Word};
use crate::demo::progress::Progress;
use crate::demo::sample::{Sample, is_eviction};
use crate::demo::timeline::{Change, Row};
use crate::demo::world::{Behaviour, Column, Place, Scene, dead_letter};
use crate::stage::function;
use sandbox::aws::autoscaling::{Action, Ended};
use sandbox::kubernetes::How;
use sandbox::lambda::{Function, Lambda};
use sandbox::traffic::Report;
use sandbox::{Millis, World};
use std::collections::BTreeMap;

/// How long a world goes on after all is over: health checks that fail, nodes that are missed.
const TAIL_MS: Millis = 60_000;
/// No run is shorter, so that the column without Ebbtide, which is over sooner, has time for what follows.
const LENGTH_MS_MIN: Millis = 300_000;
/// No run is longer: what is further ahead than eleven hours is not waited for, and hooks time out much sooner.
const LENGTH_MS_MAX: Millis = 13 * 3_600_000;
/// How often the progress is told, in simulated time.
const TELL_MS: Millis = 10_000;
/// How often all is looked at while the functions run: their calls change things without an event of the world's.
const LOOK_MS: Millis = 250;

/// What became of one instance.
#[derive(Clone, Debug)]
pub(crate) struct Fortune {
    /// Whom it is about.
    pub(crate) part: Part,
    /// Its node's name.
    pub(crate) node: String,
    /// What was seen of it, and since when.
    pub(crate) samples: Vec<(Millis, Sample)>,
    /// What happened to it.
    pub(crate) rows: Vec<Row>,
    /// When it was where it was going.
    pub(crate) over_at: Option<Millis>,
}

/// What became of one world. All times are milliseconds since its start.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// How long it went on.
    pub(crate) length_ms: Millis,
    /// The instances.
    pub(crate) fortunes: Vec<Fortune>,
    /// What became of the requests, by target group in their order.
    pub(crate) reports: Vec<Report>,
    /// The lifecycle actions that the event spoke of, or that what it spoke of led to.
    pub(crate) actions: Vec<Action>,
    /// Calls of the function, evictions not among them.
    pub(crate) calls: usize,
    /// Evictions that were asked for.
    pub(crate) evictions: usize,
    /// Pods that were deleted rather than evicted.
    pub(crate) forced: usize,
    /// For each message of the event, why it is in the dead-letter queue, if it is.
    pub(crate) dead_letters: Vec<Option<String>>,
    /// Messages that are still in the queue.
    pub(crate) left: usize,
    /// Rules of the world that the function broke; none, unless it has a fault.
    pub(crate) violations: Vec<String>,
    /// How many pods ran at the start, DaemonSets' not counted, and how many nodes.
    pub(crate) size: (usize, usize),
}

impl Run {
    /// Dropped requests, over all target groups.
    pub(crate) fn dropped(&self) -> u64 {
        self.reports.iter().map(Report::dropped).sum()
    }

    /// Served requests, over all target groups.
    pub(crate) fn served(&self) -> u64 {
        self.reports.iter().map(Report::served).sum()
    }

    /// How the hooks of the event ended; `None` where none waited.
    pub(crate) fn hook(&self) -> Option<String> {
        let mut results: Vec<&str> = self.actions.iter().map(result).collect();
        results.dedup();
        (!results.is_empty()).then(|| results.join(", "))
    }

    /// Whole simulated seconds until all instances were where they were going, or to the end; where one goes nowhere,
    /// until all was said about it.
    pub(crate) fn seconds(&self) -> Millis {
        let end = |fortune: &Fortune| {
            let stays =
                fortune.part.act.blow().is_some_and(|blow| !blow.takes() && !blow.reboots());
            let last = fortune.rows.last().map(|row| row.at).filter(|_| stays);
            last.or(fortune.over_at).unwrap_or(self.length_ms)
        };
        seconds(self.fortunes.iter().map(end).max().unwrap_or(0))
    }
}

/// How a lifecycle action ended, in Auto Scaling's word where it was answered.
pub(crate) fn result(action: &Action) -> &'static str {
    match action.ended {
        Some((_, Ended::Answered(verdict))) => verdict.name(),
        Some((_, Ended::HeartbeatTimeout(_) | Ended::GlobalTimeout(_))) => "TIMEOUT",
        Some((_, Ended::Abandoned)) => "ABANDONED WITH ANOTHER HOOK",
        None => "STILL WAITING",
    }
}

/// Whole seconds, to the nearest.
pub(crate) fn seconds(at: Millis) -> Millis {
    (at + 500) / 1_000
}

/// Plays one column. With a length it goes on for just that long, so that two columns can be compared.
pub(crate) async fn play(
    scene: &Scene,
    (column, behaviour): (Column, Behaviour),
    length: Option<Millis>,
    progress: &mut Progress,
) -> Run {
    let place = scene.build(column, behaviour);
    let functions: Vec<Function> = match column {
        Column::With => place
            .deployments
            .iter()
            .map(|(name, deployment)| function(&place.sandbox, name, deployment))
            .collect(),
        Column::Without => Vec::new(),
    };
    let mut lambda = Lambda::new(&place.sandbox, &functions);
    let mut watch = Watch::new(scene, &place);
    let mut post = (column == Column::With).then(|| Post::new(&scene.script, &scene.parts));
    watch.begin(&mut place.sandbox.world());
    loop {
        let end = {
            let mut world = place.sandbox.world();
            watch.look(&world);
            if let Some(post) = &mut post {
                let words = post.deliver(&mut world);
                watch.hear(&world, words);
            }
            progress.tell(world.now - watch.start, world.traffic.dropped());
            length.unwrap_or_else(|| watch.length(&world, post.as_ref()))
        };
        let now = place.sandbox.now();
        if now >= watch.start + end {
            break;
        }
        let step = if lambda.running() > 0 { LOOK_MS } else { TELL_MS };
        let until = (now + step).min(watch.start + end);
        let mail = |world: &World| post.as_ref().is_some_and(|post| post.has_mail(world));
        lambda.drive(until, |world| watch.has_changed(world) || mail(world)).await;
    }
    let world = place.sandbox.world();
    watch.finish(&world, post.as_ref())
}

/// Watches one world.
struct Watch<'a> {
    scene: &'a Scene,
    place: &'a Place,
    start: Millis,
    fortunes: Vec<Fortune>,
    /// The nodes that came in their places, by their index.
    replaced: BTreeMap<usize, String>,
    /// Pods and nodes at the start.
    size: (usize, usize),
    /// When all was over.
    over_at: Option<Millis>,
}

impl<'a> Watch<'a> {
    fn new(scene: &'a Scene, place: &'a Place) -> Self {
        let world = place.sandbox.world();
        let fortunes = scene
            .parts
            .iter()
            .map(|part| {
                let host = world.aws.ec2.instances.get(&part.instance);
                let node = host.map(|host| host.private_dns.clone()).unwrap_or_default();
                let sample = Sample::of(&world, part, (&node, &place.groups));
                let rows = vec![sample.row(0, part.act.before().to_owned())];
                Fortune {
                    part: part.clone(),
                    node,
                    samples: vec![(0, sample)],
                    rows,
                    over_at: None,
                }
            })
            .collect();
        let (replaced, size) = (BTreeMap::new(), size(&world));
        Self { scene, place, start: world.now, fortunes, replaced, size, over_at: None }
    }

    fn begin(&self, world: &mut World) {
        let mut ended: Vec<&str> = Vec::new();
        for part in &self.scene.parts {
            // A capacity block ends for all its instances at once.
            match part.reservation.as_deref() {
                Some(reservation) if ended.contains(&reservation) => continue,
                Some(reservation) => ended.push(reservation),
                None => {}
            }
            part.act.begin(world, part);
        }
    }

    fn sample(&self, world: &World, fortune: &Fortune) -> Sample {
        Sample::of(world, &fortune.part, (&fortune.node, &self.place.groups))
    }

    fn has_changed(&self, world: &World) -> bool {
        self.fortunes.iter().any(|fortune| {
            let last = fortune.samples.last().map(|(_, sample)| sample);
            last != Some(&self.sample(world, fortune))
        })
    }

    fn look(&mut self, world: &World) {
        let at = world.now - self.start;
        for index in 0..self.fortunes.len() {
            let fortune = &self.fortunes[index];
            let sample = self.sample(world, fortune);
            if fortune.samples.last().is_some_and(|(_, before)| *before != sample) {
                self.note(world, index, sample);
            }
            let fortune = &mut self.fortunes[index];
            if fortune.over_at.is_none() && fortune.part.act.is_over(world, &fortune.part.instance)
            {
                fortune.over_at = Some(at);
            }
        }
    }

    /// Writes down what changed for one instance.
    fn note(&mut self, world: &World, index: usize, sample: Sample) {
        let at = world.now - self.start;
        let replacement = self.replacement(index, &sample);
        self.replaced.extend(replacement.clone().map(|node| (index, node)));
        let fortune = &mut self.fortunes[index];
        let Some((_, before)) = fortune.samples.last() else { return };
        let change = Change {
            before,
            after: &sample,
            world,
            part: &fortune.part,
            node: &fortune.node,
            replacement: replacement.as_deref(),
            groups: &self.place.groups,
            policy: self.scene.policy,
        };
        let rows = change.texts().into_iter().map(|text| sample.row(at, text));
        fortune.rows.extend(rows);
        fortune.samples.push((at, sample));
    }

    /// The node that has come in an instance's place, once it leaves: each new one stands for one that leaves.
    fn replacement(&self, index: usize, sample: &Sample) -> Option<String> {
        let Fortune { part, samples, .. } = &self.fortunes[index];
        let leaves = part.act.is_replaced() && sample.lifecycle != samples[0].1.lifecycle;
        if !leaves || self.replaced.contains_key(&index) {
            return None;
        }
        let taken = |node: &&String| self.replaced.values().any(|known| known == *node);
        let mut new = sample.others.difference(&samples[0].1.others);
        new.find(|node| !taken(node)).cloned()
    }

    /// What was told of the instances belongs into their timelines.
    fn hear(&mut self, world: &World, words: Vec<Word>) {
        let at = world.now - self.start;
        for Word { instance, text } in words {
            let mut known = self.fortunes.iter_mut();
            let Some(fortune) = known.find(|fortune| fortune.part.instance == instance) else {
                continue;
            };
            if let Some((_, sample)) = fortune.samples.last() {
                fortune.rows.push(sample.row(at, text));
            }
        }
    }

    /// How long this run is to go on, as far as that is known by now.
    fn length(&mut self, world: &World, post: Option<&Post<'_>>) -> Millis {
        let replaced = |fortune: &Fortune| {
            let Fortune { part, .. } = fortune;
            !part.act.blow().is_some_and(Blow::takes)
                || world.aws.autoscaling.group_of(&part.instance).is_none()
        };
        let over =
            self.fortunes.iter().all(|fortune| fortune.over_at.is_some() && replaced(fortune))
                && (!self.scene.is_struck() || post.is_none_or(|post| post.is_delivered(world)))
                && self.scene.queues().all(|queue| world.aws.sqs.depth(queue) == 0);
        if over && self.over_at.is_none() {
            self.over_at = Some(world.now - self.start);
        }
        match self.over_at {
            Some(at) => (at + TAIL_MS).max(LENGTH_MS_MIN),
            None => LENGTH_MS_MAX,
        }
    }

    fn finish(self, world: &World, post: Option<&Post<'_>>) -> Run {
        let played = |action: &&Action| post.is_some_and(|post| post.played(&action.token));
        let removals = &world.kubernetes.removals;
        let left = self.scene.queues().map(|queue| world.aws.sqs.depth(queue)).sum();
        let dead_letters = dead_letters(world, self.scene, post);
        let evictions = world.calls.iter().filter(|call| is_eviction(&call.operation)).count();
        let mut actions: Vec<Action> =
            world.aws.autoscaling.actions.iter().filter(played).cloned().collect();
        for action in &mut actions {
            action.began_at -= self.start;
            action.ended = action.ended.map(|(at, how)| (at - self.start, how));
        }
        Run {
            length_ms: world.now - self.start,
            fortunes: self.fortunes,
            reports: world.traffic.reports(),
            actions,
            calls: world.calls.len() - evictions,
            evictions,
            forced: removals.iter().filter(|one| matches!(one.how, How::Deleted(_))).count(),
            dead_letters,
            left,
            violations: world.violations.clone(),
            size: self.size,
        }
    }
}

/// Pods (DaemonSets' not counted) and nodes.
fn size(world: &World) -> (usize, usize) {
    use sandbox::kubernetes::Kind;
    let pods = world.kubernetes.store.all(Kind::Pod).map(|(_, pod)| pod);
    let counts = pods.filter(|pod| !pod.meta.owners.iter().any(|owner| owner.kind == "DaemonSet"));
    (counts.count(), world.kubernetes.store.all(Kind::Node).count())
}

fn dead_letters(world: &World, scene: &Scene, post: Option<&Post<'_>>) -> Vec<Option<String>> {
    let Some(post) = post else { return Vec::new() };
    let dead = || scene.queues().filter_map(|queue| world.aws.sqs.queues.get(&dead_letter(queue)));
    let reason = |body: &String| {
        let mut messages = dead().flat_map(|queue| queue.messages.values());
        let letter = messages.find(|letter| letter.body == *body)?;
        let reason = letter.attributes.get("reason").map(|(_, text)| text.clone());
        Some(reason.unwrap_or_else(|| "received too often".to_owned()))
    };
    post.sent().iter().map(|body| body.as_ref().and_then(reason)).collect()
}
