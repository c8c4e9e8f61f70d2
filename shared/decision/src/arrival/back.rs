//! An interruption that is over: the instance runs again, or what was announced is called off.
//!
//! Nobody holds the instance meanwhile, so only what is on record is of interest: what our departure changed goes back as
//! in an arrival, unless another signal still asks for it.

use super::{continued, undo};
use crate::admit::Admitted;
use crate::annotation::Departure;
use crate::decision::Course;
use crate::departure::Case;
use crate::departure::record::{patch, without};
use crate::report::{Report, Stage};
use crate::signal::Cause;
use crate::snapshot::cluster::{Node, NodeView};
use crate::step::{NodePatch, PatchPurpose, Step};

/// The PATCH that puts back what nobody asks for any more: all of it, or all but the cordon of a recommendation.
pub(super) fn put_back(case: &Case<'_>, node: &Node, record: &Departure) -> NodePatch {
    let starts = |signal: &Admitted<'_>| {
        signal.interruption().is_none_or(|it| matches!(it.cause, Cause::State(_)))
    };
    let rest = without(record, case.signals);
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
        // The start ended the life that all of the record is about, unless the record is younger.
        let younger = record.since >= case.since;
        return younger.then(|| {
            continued(case, report, "the departure on its node began after this start".into())
        });
    }
    let rest = without(record, case.signals);
    if rest == *record {
        return Some(continued(case, report, "nothing was begun for what is called off".into()));
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
