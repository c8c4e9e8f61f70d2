//! What is announced for later: told once on the node, and nothing else until it is due.
//!
//! AWS announces a scheduled change days ahead. Until its lead has come it costs no capacity: an Event on the node, a line
//! in the log, and the message waits in the queue, or for the sweep when the queue can't keep it that long.

use crate::admit::Way;
use crate::decision::Course;
use crate::departure::Case;
use crate::report::{Report, Stage};
use crate::snapshot::cluster::{ClusterView, NodeLookup};
use crate::step::{Note, NoteSubject, Step};

/// Decides what is said of what comes.
pub(crate) fn decide(case: &Case<'_>) -> Course {
    let mut report = Report::new(case.snapshot.instance.clone(), Stage::Looking);
    report.begin(case.since, case.hard);
    report.signals(case.signals, &case.snapshot.memory);
    let due =
        case.signals.iter().filter_map(|signal| match signal.way(case.snapshot, case.policy) {
            Way::Later(at) => Some(at),
            Way::Departure | Way::Arrival | Way::Return => None,
        });
    let at = due.min().unwrap_or_else(|| case.look());
    report.stage = Stage::Announced(at);
    let is_new = case.signals.iter().any(|signal| signal.seen.receives <= 1);
    let steps = match &case.snapshot.cluster {
        ClusterView::Reached { node: NodeLookup::Found(view), .. } => {
            report.node = Some(view.node.name.clone());
            is_new.then(|| told(case, &view.node, &report)).into_iter().collect()
        }
        ClusterView::NotAsked
        | ClusterView::Unnamed
        | ClusterView::Deleted(_)
        | ClusterView::Unreachable { .. }
        | ClusterView::Reached { node: NodeLookup::Absent, .. } => Vec::new(),
    };
    case.again(steps, report, at)
}

fn told(case: &Case<'_>, node: &crate::snapshot::cluster::Node, report: &Report) -> Step {
    Step::Note(Note {
        about: NoteSubject::Node { name: node.name.clone(), uid: node.uid.clone() },
        warning: false,
        reason: "DepartureAnnounced",
        text: report.page(case.now(), case.policy),
    })
}
