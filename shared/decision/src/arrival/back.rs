//! An interruption that is over: the instance runs again, or what was announced is called off.
//!
//! Nobody holds the instance meanwhile, so only what is on record is of interest: what our departure changed goes back as
//! in an arrival, unless another signal still asks for it.

use super::continued;
use crate::annotation::Departure;
use crate::decision::Course;
use crate::departure::Case;
use crate::departure::record::{patch, without};
use crate::report::{Report, Stage};
use crate::signal::Cause;
use crate::snapshot::cluster::NodeView;
use crate::step::{PatchPurpose, Step};

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
    if rest.because.is_empty() {
        return None;
    }
    report.stage = Stage::Arriving("others still ask for its departure".into());
    let step = Step::PatchNode(patch(&view.node, &rest, PatchPurpose::Record));
    Some(case.again(vec![step], report, case.now()))
}
