//! An interruption that is over: the instance runs again, or what was announced is called off.
//!
//! Nobody holds the instance meanwhile, so only what is on record is of interest: what our departure changed goes back as
//! in an arrival, unless another signal still asks for it.

use super::{continued, undo};
use crate::admit::Admitted;
use crate::annotation::{Contributor, Departure};
use crate::decision::Course;
use crate::departure::Case;
use crate::departure::record::{patch, without};
use crate::limits::{LATE_FOR, LOOKUP_PATIENCE};
use crate::report::{Report, Stage};
use crate::signal::Cause;
use crate::snapshot::cluster::{Node, NodeView};
use crate::step::{NodePatch, PatchPurpose, Step};
use crate::time::Timestamp;

/// The PATCH that puts back what nobody asks for any more: all of it, or all but the cordon of a recommendation.
pub(super) fn put_back(case: &Case<'_>, node: &Node, record: &Departure) -> NodePatch {
    let starts = |signal: &Admitted<'_>| {
        signal.interruption().is_none_or(|it| matches!(it.cause, Cause::State(_)))
    };
    let rest = still_asked(case, node, record);
    if rest.because.is_empty() || case.signals.iter().any(starts) {
        return undo(node, record);
    }
    patch(node, &Departure { withdrawn: Vec::new(), ..rest }, PatchPurpose::Record)
}

/// What comes before anything is put back; `None` when all that the record says is to be put back.
pub(super) fn before(
    case: &Case<'_>,
    view: &NodeView,
    record: Option<&Departure>,
    report: &Report,
) -> Option<Course> {
    let mut report = report.clone();
    let Some(record) = record else {
        return Some(continued(case, report, "nothing of ours is on its node".into()));
    };
    let starts = |cause: &Cause| matches!(cause, Cause::State(_));
    if case.signals.iter().filter_map(|signal| signal.interruption()).any(|it| starts(&it.cause)) {
        return started(case, record, report);
    }
    let rest = still_asked(case, &view.node, record);
    if rest == *record {
        return Some(unchanged(case, record, report));
    }
    // A recommendation alone asks for no withdrawal: what was withdrawn for the rest goes back.
    let only_recommended = rest.because.iter().all(|part| part.by == Cause::Rebalance.label());
    if rest.because.is_empty() || only_recommended && !record.withdrawn.is_empty() {
        return None;
    }
    report.stage = Stage::Arriving("others still ask for its departure".into());
    let step = Step::PatchNode(patch(&view.node, &rest, PatchPurpose::Record));
    Some(case.again(vec![step], report, case.now()))
}

/// What comes before the record of an earlier life is put back. The start ended the life that it is about, unless it is
/// younger, or somebody joined it who speaks of this life: a warning may come while the node still shows the boot before.
fn started(case: &Case<'_>, record: &Departure, mut report: Report) -> Option<Course> {
    if record.since >= case.since {
        let why = "the departure on its node began after this start";
        return Some(continued(case, report, why.into()));
    }
    // A scheduled change is about the host that the start has left.
    let ahead = |part: &&Contributor| part.is_interruption() && !is_scheduled_change(part);
    let hard = record.because.iter().filter(ahead).filter_map(|part| part.hard).max();
    let hard = hard.filter(|hard| *hard > case.since)?;
    let at = Some(hard + LATE_FOR).filter(|at| *at > case.now())?;
    if super::is_over(case) {
        return None;
    }
    report.stage = Stage::Arriving("about to be interrupted: its cordon stays".into());
    Some(case.again(Vec::new(), report, at))
}

/// Nothing on record is for these signals to take off. Other scheduled changes that ask for it may have been called off
/// before they were begun: EC2 shows that some change stands, and not which. Once it shows none, they are over, too.
fn unchanged(case: &Case<'_>, record: &Departure, mut report: Report) -> Course {
    let at = trusted_from(case);
    let is_known = case.now() >= at && case.snapshot.aws.is_scheduled.is_ok();
    if is_known || super::is_over(case) || !record.because.iter().any(is_scheduled_change) {
        return continued(case, report, "nothing was begun for what is called off".into());
    }
    report.stage = Stage::Arriving("other scheduled changes may be over, too".into());
    case.again(Vec::new(), report, at.max(case.look()))
}

/// The record with the parts alone that still ask for the departure: neither these signals' own, nor what is over with an
/// earlier life of the instance or with its schedule.
fn still_asked(case: &Case<'_>, node: &Node, record: &Departure) -> Departure {
    let mut rest = without(record, case.signals);
    let is_unscheduled =
        case.now() >= trusted_from(case) && case.snapshot.aws.is_scheduled == Ok(false);
    rest.because.retain(|part| {
        let is_over = is_unscheduled && is_scheduled_change(part);
        !is_over && !is_of_earlier_life(part, (case, node, record))
    });
    rest
}

/// From when on EC2's word counts on what is scheduled: it may lag behind Health's.
fn trusted_from(case: &Case<'_>) -> Timestamp {
    let said_at = case.signals.iter().map(|signal| signal.seen.sent_at).max();
    said_at.unwrap_or(case.since) + LOOKUP_PATIENCE
}

fn is_scheduled_change(part: &Contributor) -> bool {
    part.is_interruption() && part.by == Cause::MAINTENANCE
}

/// Whether the instance was started after this was said of it: whoever is not told of starts learns so when another
/// interruption is over.
fn is_of_earlier_life(
    part: &Contributor,
    (case, node, record): (&Case<'_>, &Node, &Departure),
) -> bool {
    let instance = case.snapshot.aws.instance.as_ref().ok().and_then(Option::as_ref);
    let Some(started_at) = instance.and_then(|it| it.launched_at).filter(|at| *at > record.since)
    else {
        return false;
    };
    let booted = record.boot.is_some() && node.boot.is_some() && record.boot != node.boot;
    part.is_interruption() && (booted || part.hard.is_some_and(|hard| hard <= started_at))
}
