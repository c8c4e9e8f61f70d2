//! The record on the node: merged from the signals, written before what it records.

use super::Case;
use crate::admit::Admitted;
use crate::annotation::{
    Contributor, DEPARTURE, Departure, OUT_OF_SERVICE, TAINT, VERSION, Withdrawn,
};
use crate::limits::RECORD_FRESH;
use crate::snapshot::aws::TargetGroup;
use crate::snapshot::cluster::{Node, Taint};
use crate::step::{NodePatch, PatchPurpose, TargetId};
use crate::time::Timestamp;

/// Our taint's effect: nothing new comes, nothing is thrown out.
const EFFECT: &str = "NoSchedule";

/// The record of this departure as the node carries it: of this instance and this boot, or none.
pub(crate) fn current(case: &Case<'_>, node: &Node) -> Option<Departure> {
    let record = own(case, node)?;
    let same_boot = record.boot.is_none() || node.boot.is_none() || record.boot == node.boot;
    same_boot.then_some(record)
}

/// The same of any boot: a reboot takes nothing off the node.
pub(crate) fn own(case: &Case<'_>, node: &Node) -> Option<Departure> {
    let record = Departure::parse(node.annotations.get(DEPARTURE)?)?;
    (record.instance == case.snapshot.instance).then_some(record)
}

/// Whether the node is cordoned as our record says.
pub(crate) fn is_cordoned(node: &Node) -> bool {
    node.unschedulable && has_taint(node)
}

fn has_taint(node: &Node) -> bool {
    node.taints.iter().any(|taint| taint.key == TAINT && taint.effect == EFFECT)
}

/// The record with every signal's part in it; unchanged when all are there already. What another signal asked for
/// ends with its deadline: AWS has ended that wait, and a deadline long past would put this node before all others.
pub(super) fn merged(case: &Case<'_>, record: &Departure) -> Departure {
    let mut merged = record.clone();
    let contributors = contributors(case.signals);
    merged.because.retain(|known| {
        known.hard.is_none_or(|hard| hard > case.now())
            || contributors.iter().any(|own| own.token == known.token)
    });
    for contributor in contributors {
        match merged.because.iter_mut().find(|known| known.token == contributor.token) {
            // Said twice: the earlier deadline counts.
            Some(known) => known.hard = known.hard.into_iter().chain(contributor.hard).min(),
            None => merged.because.push(contributor),
        }
    }
    if merged.hard() != record.hard() {
        merged.ranked_at = case.now();
    }
    merged
}

/// The record of a node that somebody uncordoned meanwhile: what we set again is ours to undo.
pub(super) fn recordoned(record: Departure, node: &Node) -> Departure {
    Departure {
        cordoned: record.cordoned || !node.unschedulable,
        tainted: record.tainted || !has_taint(node),
        ..record
    }
}

/// A new record. What an earlier generation left changed on the node is still ours to undo.
pub(super) fn begun(case: &Case<'_>, node: &Node) -> Departure {
    let earlier = node.annotations.get(DEPARTURE).and_then(|text| Departure::parse(text));
    let cordoned = earlier.as_ref().is_some_and(|record| record.cordoned);
    Departure {
        v: VERSION,
        instance: case.snapshot.instance.clone(),
        boot: node.boot.clone(),
        since: case.now(),
        ranked_at: case.now(),
        cordoned: cordoned || !node.unschedulable,
        tainted: true,
        labelled: earlier.as_ref().is_some_and(|record| record.labelled),
        out_of_service: earlier.as_ref().is_some_and(|record| record.out_of_service),
        because: contributors(case.signals),
        withdrawn: Vec::new(),
        rest: earlier.map(|record| record.rest).unwrap_or_default(),
    }
}

/// Each signal's part. A hook whose facts are not known has no deadline that others could rank it by.
fn contributors(signals: &[Admitted<'_>]) -> Vec<Contributor> {
    let known = |part: &Contributor| part.hard.is_some();
    let mut parts: Vec<Contributor> = Vec::new();
    for signal in signals {
        let part = signal.contributor();
        match parts.iter_mut().find(|other| other.token == part.token) {
            // Said twice: the earlier deadline counts.
            Some(other) => other.hard = other.hard.into_iter().chain(part.hard).min(),
            None if signal.hook().is_none() || known(&part) => parts.push(part),
            None => {}
        }
    }
    parts
}

/// The record without the parts of these signals.
pub(crate) fn without(record: &Departure, signals: &[Admitted<'_>]) -> Departure {
    let mut record = record.clone();
    let own = contributors(signals);
    record.because.retain(|known| !own.iter().any(|part| part.token == known.token));
    record
}

/// The PATCH that frees what the pods of a dead host hold; `None` when the node has the taint already.
pub(super) fn out_of_service(case: &Case<'_>, node: &Node) -> Option<NodePatch> {
    if node.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE) {
        return None;
    }
    let record = current(case, node).unwrap_or_else(|| begun(case, node));
    let record = recordoned(Departure { out_of_service: true, ..record }, node);
    let mut patch = patch(node, &record, PatchPurpose::Cordon);
    patch.taints.get_or_insert_with(|| node.taints.clone()).push(Taint {
        key: OUT_OF_SERVICE.into(),
        value: Some("nodeshutdown".into()),
        effect: "NoExecute".into(),
        time_added: None,
    });
    patch.purpose = PatchPurpose::OutOfService;
    Some(patch)
}

/// Whether the record tells of a withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// Not of this one.
    Not,
    /// A moment ago: the call follows.
    Fresh,
    /// Some time ago, and the group was not looked at since: the call was made, or is made again.
    Unseen,
    /// Some time ago, and the targets were still in afterwards: the call failed.
    Failed,
}

/// Whether `record` says that `targets` leave `group`.
pub(crate) fn noted(
    record: &Departure,
    group: &TargetGroup,
    targets: &[TargetId],
    now: Timestamp,
) -> Noted {
    match record.withdrawn_from(&group.arn) {
        Some(withdrawn) if withdrawn.targets != targets => Noted::Not,
        Some(withdrawn) if now.since(withdrawn.at) <= RECORD_FRESH => Noted::Fresh,
        Some(withdrawn) if group.read_at <= withdrawn.at + RECORD_FRESH => Noted::Unseen,
        Some(_) => Noted::Failed,
        None => Noted::Not,
    }
}

/// The record with a withdrawal noted for now.
pub(super) fn withdrawing(
    record: &Departure,
    groups: &[(&TargetGroup, Vec<TargetId>)],
    now: Timestamp,
) -> Departure {
    let mut record = record.clone();
    for (group, targets) in groups {
        record.withdrawn.retain(|withdrawn| withdrawn.group != group.arn);
        let (group, targets) = (group.arn.clone(), targets.clone());
        record.withdrawn.push(Withdrawn { group, at: now, targets });
    }
    record
}

/// The PATCH that cordons the node and writes the record, or writes the record alone.
pub(crate) fn patch(node: &Node, record: &Departure, purpose: PatchPurpose) -> NodePatch {
    let cordon = purpose == PatchPurpose::Cordon;
    let mut taints = node.taints.clone();
    if cordon && !has_taint(node) {
        taints.push(Taint {
            key: TAINT.into(),
            value: None,
            effect: EFFECT.into(),
            time_added: None,
        });
    }
    NodePatch {
        node: node.name.clone(),
        uid: node.uid.clone(),
        resource_version: node.resource_version.clone(),
        unschedulable: (cordon && !node.unschedulable).then_some(true),
        taints: (taints != node.taints).then_some(taints),
        labels: Vec::new(),
        annotations: vec![(DEPARTURE.into(), Some(record.text()))],
        purpose,
    }
}
