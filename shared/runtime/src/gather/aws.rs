//! AWS's half of the reads: once for the batch, cached where it may be a little old.

use super::{Groups, Hooks, Looked, Round, Shared};
use crate::app::CROWD_LASTS;
use crate::caught::caught;
use crate::limiter::Bucket;
use crate::retry::{self, Classed as _, Failure};
use cloud::CloudError;
use cloud::elbv2::GroupFacts;
use decision::id::{AsgName, InstanceId, TargetGroupArn};
use decision::limits::HEALTH_FRESH;
use decision::looks;
use decision::snapshot::aws::{RegistrationOwner, TargetGroup, Targets};
use decision::snapshot::{Read, Snapshot};
use decision::step::Class;
use decision::time::Timestamp;
use futures_util::future::join_all;
use std::borrow::BorrowMut;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One read through the retry loop and its bucket, with its failure as it was.
async fn tried<T>(
    round: Round<'_>,
    bucket: &Bucket,
    call: impl AsyncFn() -> Result<T, CloudError>,
) -> Result<T, Failure<CloudError>> {
    retry::read(round.until, &round.app.clock, Some(bucket), call).await
}

/// One read through the retry loop and its bucket.
async fn read<T>(
    round: Round<'_>,
    bucket: &Bucket,
    call: impl AsyncFn() -> Result<T, CloudError>,
) -> Read<T> {
    retry::read(round.until, &round.app.clock, Some(bucket), call)
        .await
        .map_err(|error| round.unread(&error))
}

/// The groups by name; a group that AWS does not know is `Ok(None)`.
pub(super) async fn groups(round: Round<'_>, asgs: &BTreeSet<AsgName>) -> Groups {
    let app = round.app;
    let mut found: Groups = asgs
        .iter()
        .filter_map(|asg| Some((asg.clone(), Ok(app.kept.groups.get(asg, round.now)?))))
        .collect();
    let missing: Vec<AsgName> =
        asgs.iter().filter(|asg| !found.contains_key(*asg)).cloned().collect();
    if missing.is_empty() {
        return found;
    }
    let call = || cloud::autoscaling::groups(&app.aws.autoscaling, &missing);
    match read(round, &app.limits.autoscaling, call).await {
        Ok(mut described) => {
            for asg in missing {
                let group = described.remove(&asg);
                app.kept.groups.put(asg.clone(), group.clone(), round.now);
                found.insert(asg, Ok(group));
            }
        }
        // Configuration: what was read some minutes ago is better than nothing while AWS does not answer.
        Err(unread) => found.extend(missing.into_iter().map(|asg| {
            let old = app.kept.groups.last(&asg).filter(Option::is_some);
            (asg, old.ok_or_else(|| unread.clone()))
        })),
    }
    found
}

/// The hooks of each group.
pub(super) async fn hooks(round: Round<'_>, asgs: &BTreeSet<AsgName>) -> Hooks {
    let app = round.app;
    let each = asgs.iter().map(|asg| async move {
        if let Some(hooks) = app.kept.hooks.get(asg, round.now) {
            return (asg.clone(), Ok(hooks));
        }
        let call = || cloud::autoscaling::hooks(&app.aws.autoscaling, asg);
        let hooks = read(round, &app.limits.autoscaling, call).await;
        if let Ok(hooks) = &hooks {
            app.kept.hooks.put(asg.clone(), hooks.clone(), round.now);
        }
        (asg.clone(), hooks.or_else(|unread| app.kept.hooks.last(asg).ok_or(unread)))
    });
    join_all(each).await.into_iter().collect()
}

/// One DescribeAutoScalingInstances for all whose signals may be ours.
pub(super) async fn memberships(round: Round<'_>, snapshots: &mut [Snapshot]) {
    let app = round.app;
    let mut asked = Vec::new();
    for snapshot in snapshots.iter_mut() {
        if let Some(known) = app.kept.memberships.get(&snapshot.instance, round.now) {
            snapshot.aws.membership = Ok(Some(known));
        }
        // Only a hook depends on it. What waits no more is looked at again each time: it may be ahead of what AWS shows.
        let is_held = snapshot.signals.iter().any(|seen| seen.signal.hook().is_some());
        if is_held && !round.wants_instance(snapshot) && round.wants_membership(snapshot) {
            asked.push(snapshot.instance.clone());
        }
    }
    if asked.is_empty() {
        return;
    }
    let call = || cloud::autoscaling::memberships(&app.aws.autoscaling, &asked);
    let answer = read(round, &app.limits.autoscaling, call).await;
    for snapshot in snapshots.iter_mut().filter(|snapshot| asked.contains(&snapshot.instance)) {
        snapshot.aws.membership = match &answer {
            Ok(found) => Ok(found.get(&snapshot.instance).cloned()),
            Err(unread) => Err(unread.clone()),
        };
        if let Ok(Some(membership)) = &snapshot.aws.membership {
            let (instance, membership) = (snapshot.instance.clone(), membership.clone());
            app.kept.memberships.put(instance, membership, round.now);
        }
    }
}

/// One DescribeInstances for all that are interrupted: whose they are, and whether what was said is true. Nothing else is
/// asked about an instance that is not ours. Returns those that EC2 was asked about.
pub(super) async fn interrupted(
    round: Round<'_>,
    snapshots: &mut [Snapshot],
) -> BTreeSet<InstanceId> {
    let app = round.app;
    let is_interrupted =
        |snapshot: &Snapshot| snapshot.signals.iter().any(|seen| seen.signal.hook().is_none());
    let mut asked = Vec::new();
    for snapshot in snapshots.iter_mut().filter(|snapshot| is_interrupted(snapshot)) {
        // A signal that is new may be about a life that began since.
        let is_new = snapshot.signals.iter().any(|seen| seen.receives <= 1);
        let present = caught(|| looks::wants_present_state(snapshot, &app.policy)).unwrap_or(true);
        let known = app.kept.instances.get(&snapshot.instance, round.now);
        match known
            .filter(|_| !present)
            .filter(|_| !is_new || app.kept.memory.get(&snapshot.instance, round.now).is_some())
        {
            Some(known) => snapshot.aws.instance = Ok(Some(known)),
            None => asked.push(snapshot.instance.clone()),
        }
    }
    describe(round, &app.limits.ec2_reads, snapshots, &asked).await;
    asked.into_iter().collect()
}

/// One DescribeInstanceStatus for all for which something was announced that is due.
pub(super) async fn schedules(round: Round<'_>, snapshots: &mut [Snapshot]) {
    let app = round.app;
    let wanted = |snapshot: &&mut Snapshot| {
        caught(|| looks::wants_schedule(snapshot, &app.policy)).unwrap_or(false)
    };
    let mut wanting: Vec<&mut Snapshot> = snapshots.iter_mut().filter(wanted).collect();
    let asked: Vec<InstanceId> = wanting.iter().map(|snapshot| snapshot.instance.clone()).collect();
    if asked.is_empty() {
        return;
    }
    let call = || cloud::ec2::scheduled(&app.aws.ec2, &asked);
    let answer = read(round, &app.limits.ec2_reads, call).await;
    for snapshot in &mut wanting {
        snapshot.aws.is_scheduled = match &answer {
            Ok(scheduled) => Ok(scheduled.contains(&snapshot.instance)),
            Err(unread) => Err(unread.clone()),
        };
    }
}

/// One DescribeInstances for all that are ours and wait. Returns those that EC2 was asked about.
pub(super) async fn instances(
    round: Round<'_>,
    snapshots: &mut [Snapshot],
) -> BTreeSet<InstanceId> {
    let app = round.app;
    let mut asked = Vec::new();
    for snapshot in snapshots.iter_mut() {
        if !round.wants_instance(snapshot) {
            continue;
        }
        if snapshot.aws.instance.is_ok() {
            continue;
        }
        match app.kept.instances.get(&snapshot.instance, round.now) {
            Some(known) => snapshot.aws.instance = Ok(Some(known)),
            None => asked.push(snapshot.instance.clone()),
        }
    }
    describe(round, &app.limits.ec2_reads_for_hooks, snapshots, &asked).await;
    asked.into_iter().collect()
}

/// How long EC2 may take for its word on those from whose nodes something is to be taken. Twice: the cordons of their batch wait
/// for two seconds where EC2 is silent. Half: one slow answer, and a launch waits for the next look.
const TAKES_BACK_WITHIN: Duration = Duration::from_secs(1);

/// One DescribeInstances for all from whose nodes something would be taken off, and who were not asked about in this round:
/// nothing is taken from a host that is going, and EC2's word of a minute ago does not say whether it is.
pub(super) async fn before_taking_back(
    round: Round<'_>,
    found: &mut [Looked],
    asked: &BTreeSet<InstanceId>,
) {
    let app = round.app;
    let is_old = |looked: &&mut Looked| {
        let may = !looked.makes_way && looked.panic.is_none();
        may && !asked.contains(&looked.snapshot.instance)
            && caught(|| looks::takes_back(&looked.snapshot, &app.policy)).unwrap_or(false)
    };
    let mut old: Vec<&mut Snapshot> =
        found.iter_mut().filter(is_old).map(|looked| &mut looked.snapshot).collect();
    let ids: Vec<InstanceId> = old.iter().map(|snapshot| snapshot.instance.clone()).collect();
    let brief = Round { until: round.until.min(app.clock.now() + TAKES_BACK_WITHIN), ..round };
    describe(brief, &app.limits.ec2_reads_for_hooks, &mut old, &ids).await;
}

/// One DescribeInstances for these, and for others that are soon asked about.
async fn describe(
    round: Round<'_>,
    bucket: &Bucket,
    snapshots: &mut [impl BorrowMut<Snapshot>],
    asked: &[InstanceId],
) {
    let app = round.app;
    if asked.is_empty() {
        return;
    }
    let mut ids = asked.to_vec();
    ids.extend(others(round, asked));
    let call = || cloud::ec2::instances(&app.aws.ec2, &ids);
    let answer = read(round, bucket, call).await;
    for instance in answer.iter().flatten().map(|(_, instance)| instance) {
        if instance.state.is_up() {
            app.kept.instances.put(instance.id.clone(), instance.clone(), round.now);
        }
    }
    let snapshots = snapshots.iter_mut().map(BorrowMut::borrow_mut);
    for snapshot in snapshots.filter(|snapshot| asked.contains(&snapshot.instance)) {
        snapshot.aws.instance = match &answer {
            Ok(found) => Ok(found.get(&snapshot.instance).cloned()),
            Err(unread) => Err(unread.clone()),
        };
    }
}

/// So many instances are asked for in one call: as many as EC2 takes in one filter.
const INSTANCES_AT_ONCE: usize = 200;

/// Other departing instances, of which this process is soon to hear: what EC2 rations is calls, not instances.
fn others(round: Round<'_>, asked: &[InstanceId]) -> Vec<InstanceId> {
    let kept = &round.app.kept;
    let departing = kept.peers.all_within(round.now, CROWD_LASTS);
    let unknown =
        |id: &&InstanceId| !asked.contains(id) && kept.instances.get(id, round.now).is_none();
    let ids = departing.iter().flat_map(|peers| peers.records().keys());
    ids.filter(unknown).take(INSTANCES_AT_ONCE.saturating_sub(asked.len())).cloned().collect()
}

/// How long a health stays good in which the instance still drains. Half: a departure costs more calls. Twice: its end
/// is seen that much later.
const DRAINING_KEPT: Duration = Duration::from_secs(15);

/// The same when nothing of it is in the group. Half: a departure costs more calls. Twice: a target that somebody
/// registers again is noticed too late.
const OUT_KEPT: Duration = Duration::from_secs(30);

/// How long a health stays good in a storm, where nothing follows from it but to wait. Half: the reads of all environments
/// use up what AWS grants, and none is left for those that make a call. Twice: free places in a group are noticed later
/// than most of a Spot notice is long.
const STORM_KEPT: Duration = Duration::from_secs(12);

/// An older health is good for nothing, whatever is rationed. Twice: a group is judged by what it was ten minutes ago. Half:
/// the end of a storm has none.
const HEALTH_LASTS: Duration = Duration::from_secs(300);

/// A group's targets, and when they were read.
pub(super) type Health = Read<(Timestamp, Targets)>;

/// The target groups with their health.
pub(super) async fn target_groups(
    round: Round<'_>,
    wanted: &BTreeMap<TargetGroupArn, RegistrationOwner>,
    snapshot: &Snapshot,
    shared: &Shared,
) -> Read<Vec<TargetGroup>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let (me, is_held) = (&snapshot.instance, is_held(snapshot));
    let arns: Vec<TargetGroupArn> = wanted.keys().cloned().collect();
    let facts = shared.facts.get(&arns, facts(round, &arns)).await?;
    // What was never read may wait for the rate limit, so it comes first; then what was read longest ago, as far as there
    // are tokens: with many groups, each is fresh in some turn, and its targets leave in that one.
    let mut wanted: Vec<_> = wanted.iter().collect();
    wanted.sort_by_key(|(arn, _)| round.app.kept.health.last(arn).map(|(read_at, _)| read_at));
    let mut groups = Vec::new();
    for (arn, owner) in wanted {
        // A group that was deleted has no targets to take out.
        let Some(facts) = facts.get(arn) else { continue };
        let health = health(round, arn, snapshot, shared).await;
        if health.is_err() && !round.app.limits.elbv2_reads.is_empty() {
            // It did not fail for want of a token. Perhaps it was deleted meanwhile: the next turn describes it anew.
            round.app.kept.facts.forget(arn);
        }
        let (read_at, targets) = health?;
        // Its end is waited for by hooks alone, and only once the target has left.
        let delay = if is_held && !is_in(&targets, me) {
            match shared.delays.get(arn, read_delay(round, arn)).await {
                Ok(Some(delay)) => delay,
                Ok(None) => continue,
                // Only the answer waits for it, and may be early on no account.
                Err(_) => DELAY_MAX,
            }
        } else {
            DELAY_DEFAULT
        };
        groups.push(TargetGroup {
            arn: arn.clone(),
            owner: *owner,
            balancer: facts.balancer,
            deregistration_delay: delay,
            targets,
            read_at,
        });
    }
    groups.sort_by(|one, other| one.arn.cmp(&other.arn));
    Ok(groups)
}

async fn health(
    round: Round<'_>,
    arn: &TargetGroupArn,
    snapshot: &Snapshot,
    shared: &Shared,
) -> Health {
    let app = round.app;
    let rationed = app.limits.elbv2_reads.is_empty();
    // An old health is better than none, and than a wait that would make all the others old. Nothing leaves on its
    // strength: the executor skips such a call.
    let old = || app.kept.health.within(arn, round.now, HEALTH_LASTS).filter(|_| rationed);
    let kept = app.kept.health.get(arn, round.now).or_else(old);
    // That it is not in a group is no news of a target that may have been registered since.
    let speaks = |(read_at, targets): &(Timestamp, Targets)| {
        !targets.of(snapshot.instance.as_str()).is_empty()
            || snapshot.signals.iter().all(|seen| seen.sent_at <= *read_at)
    };
    if let Some((read_at, targets)) = kept.filter(speaks) {
        let is_recent = round.now.since(read_at) < STORM_KEPT;
        if rationed
            || is_recent && app.limits.elbv2_reads.is_crowded()
            || is_good(round, read_at, &targets, snapshot)
        {
            return Ok((read_at, targets));
        }
    }
    // Once for the batch: who comes second waits for the first.
    shared.health.get(arn, read_health(round, arn)).await
}

/// Reads the health of these groups afresh, on whose strength a target is to leave. As it was where it can't be read: the
/// executor skips a call whose health is old.
pub(super) async fn freshen(
    round: Round<'_>,
    snapshot: &mut Snapshot,
    (stale, shared): (&BTreeSet<TargetGroupArn>, &Shared),
) {
    let bucket = &round.app.limits.elbv2_reads;
    if bucket.is_empty() && !bucket.is_crowded() {
        // Outside a storm a wait may be long, and all that was read meanwhile would be old.
        return;
    }
    let groups = snapshot.aws.target_groups.iter_mut().flatten();
    for group in groups.filter(|group| stale.contains(&group.arn)) {
        let read = read_health(round, &group.arn);
        if let Ok((read_at, targets)) = shared.fresh.get(&group.arn, read).await {
            (group.read_at, group.targets) = (read_at, targets);
        }
    }
}

async fn read_health(round: Round<'_>, arn: &TargetGroupArn) -> Health {
    let app = round.app;
    // From the call itself on, so that a wait for the rate limit makes no answer old; a second try counts anew.
    let call = async || {
        let read_at = app.clock.now();
        let targets = cloud::elbv2::health(&app.aws.elbv2, arn).await?;
        Ok((read_at, Targets::from(targets)))
    };
    let health: Health = read(round, &app.limits.elbv2_reads, call).await;
    if let Ok(health) = &health {
        app.kept.health.put(arn.clone(), health.clone(), round.now);
    }
    health
}

/// Whether a health that was read before is good enough for this instance. What is still in may be taken out on its
/// strength, so it must be fresh; that it is out is seen as well in an older one.
fn is_good(round: Round<'_>, read_at: Timestamp, targets: &Targets, snapshot: &Snapshot) -> bool {
    let me = &snapshot.instance;
    let lasts = if is_in(targets, me) {
        HEALTH_FRESH / 2
    } else if !targets.of(me.as_str()).is_empty() {
        DRAINING_KEPT
    } else {
        OUT_KEPT
    };
    // A storm's hooks wait for what drains by the hundred.
    let crowd = if round.app.limits.elbv2_reads.is_crowded() { 2 } else { 1 };
    round.now.since(read_at) < lasts * if lasts < DRAINING_KEPT { 1 } else { crowd }
}

fn is_in(targets: &Targets, me: &InstanceId) -> bool {
    targets.of(me.as_str()).iter().any(|target| target.state.is_registered())
}

/// The longest deregistration delay that AWS allows: what counts while the group's own can't be read.
const DELAY_MAX: Duration = Duration::from_secs(3_600);

/// What each group is that exists.
pub(super) type Facts = BTreeMap<TargetGroupArn, GroupFacts>;

/// AWS's own default: also what counts where nobody waits for a delay's end, so that it need not be read.
const DELAY_DEFAULT: Duration = Duration::from_secs(300);

/// The groups that exist. One that was deleted fails the whole call (`TargetGroupNotFound`): then each is asked for
/// alone, and the deleted ones are left out, since they have no targets.
async fn described(
    round: Round<'_>,
    wanted: &[TargetGroupArn],
) -> Read<BTreeMap<TargetGroupArn, GroupFacts>> {
    let (app, bucket) = (round.app, &round.app.limits.elbv2_reads);
    let call = || cloud::elbv2::describe(&app.aws.elbv2, wanted);
    match tried(round, bucket, call).await {
        Ok(described) => return Ok(described),
        Err(failure) if failure.class() != Class::Gone => {
            return Err(round.unread(&failure));
        }
        Err(_) => {}
    }
    let mut found = BTreeMap::new();
    for arn in wanted {
        let call = || cloud::elbv2::describe(&app.aws.elbv2, std::slice::from_ref(arn));
        match tried(round, bucket, call).await {
            Ok(described) => found.extend(described),
            Err(failure) if failure.class() == Class::Gone => {}
            Err(failure) => return Err(round.unread(&failure)),
        }
    }
    Ok(found)
}

/// What rarely changes. Where the rate limit is used up, what is known from before is good enough.
async fn facts(round: Round<'_>, wanted: &[TargetGroupArn]) -> Read<Facts> {
    let app = round.app;
    let (mut known, mut missing) = (Facts::new(), Vec::new());
    for arn in wanted {
        let rationed = || app.limits.elbv2_reads.is_empty();
        let kept = app.kept.facts.get(arn, round.now);
        match kept.or_else(|| app.kept.facts.last(arn).filter(|_| rationed())) {
            Some(facts) => drop(known.insert(arn.clone(), facts)),
            None => missing.push(arn.clone()),
        }
    }
    if !missing.is_empty() {
        for (arn, facts) in described(round, &missing).await? {
            app.kept.facts.put(arn.clone(), facts.clone(), round.now);
            known.insert(arn, facts);
        }
    }
    Ok(known)
}

/// A group's deregistration delay; likewise. `None`: the group was deleted.
async fn read_delay(round: Round<'_>, arn: &TargetGroupArn) -> Read<Option<Duration>> {
    let (app, bucket) = (round.app, &round.app.limits.elbv2_reads);
    let kept = app.kept.delays.get(arn, round.now);
    if let Some(delay) = kept.or_else(|| app.kept.delays.last(arn).filter(|_| bucket.is_empty())) {
        return Ok(Some(delay));
    }
    let call = || cloud::elbv2::deregistration_delay(&app.aws.elbv2, arn);
    match tried(round, bucket, call).await {
        Ok(delay) => {
            app.kept.delays.put(arn.clone(), delay, round.now);
            Ok(Some(delay))
        }
        Err(failure) if failure.class() == Class::Gone => Ok(None),
        Err(failure) => Err(round.unread(&failure)),
    }
}

/// Whether a hook holds the instance until its connections have ended.
fn is_held(snapshot: &Snapshot) -> bool {
    snapshot.signals.iter().any(|seen| seen.signal.hook().is_some())
}

/// Whether the health of one of these groups was never read: first looks are what a storm must not make all at once.
pub(super) fn is_first_look(
    round: Round<'_>,
    groups: &BTreeMap<TargetGroupArn, RegistrationOwner>,
) -> bool {
    groups.keys().any(|arn| round.app.kept.health.last(arn).is_none())
}
