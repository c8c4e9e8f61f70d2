//! Our record on the node: it round-trips, keeps what a newer release wrote, counts for one generation, and undo takes
//! back exactly what it says.

use crate::world::{
    SENT, act, after, arn, cordoned, departing, id, instance, node, node_mut, patch, patched,
    proven, record, signalled, signalled_out, steps, taint, token, written,
};
use decision::annotation::{
    Contributor, DEPARTURE, Departure, EXCLUDE, OUT_OF_SERVICE, TAINT, Withdrawn,
};
use decision::decide::decide;
use decision::signal::HookRoute::{RootVolume, WarmPoolOut};
use decision::signal::Transition::Launching;
use decision::snapshot::Snapshot;
use decision::snapshot::cluster::{Node, Taint};
use decision::step::{PatchPurpose, TargetId};
use decision::time::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any};
use proptest::{option, prop_assert_eq, prop_oneof, proptest};
use serde_json::json;
use std::collections::BTreeMap;

fn flags(mut record: Departure, flags: [bool; 4]) -> Departure {
    [record.cordoned, record.tainted, record.labelled, record.out_of_service] = flags;
    record
}

fn any_record() -> impl Strategy<Value = Departure> {
    let instant = || (0_i64..4_000_000_000_000).prop_map(Timestamp::from_millis);
    let hard = option::weighted(0.8, instant());
    let contributor = (0_usize..9, hard).prop_map(|(number, hard)| Contributor {
        by: "ebbtide-terminate".to_owned(),
        token: token(number).fingerprint(),
        hard,
    });
    let target = (0_usize..9, any::<u16>(), option::of(Just("all".to_owned())))
        .prop_map(|(number, port, zone)| TargetId { id: instance(number).to_string(), port, zone });
    let withdrawn = ("[a-z]{1,8}", instant(), vec(target, 0..3))
        .prop_map(|(name, at, targets)| Withdrawn { group: arn(&name), at, targets });
    let rest = btree_map("x[a-z]{1,5}", any::<u32>(), 0..3);
    let times = (instant(), instant());
    (
        times,
        option::of(Just("boot-7")),
        any::<[bool; 4]>(),
        vec(contributor, 0..3),
        vec(withdrawn, 0..3),
        rest,
    )
        .prop_map(|((since, ranked_at), boot, set, because, withdrawn, rest)| {
            let rest = rest.into_iter().map(|(key, value)| (key, json!(value))).collect();
            let boot = boot.map(id);
            flags(Departure { boot, since, ranked_at, because, withdrawn, rest, ..record(3) }, set)
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read(record in any_record()) {
        prop_assert_eq!(Departure::parse(&record.text()), Some(record));
    }
}

#[test]
fn a_newer_releases_fields_are_kept_through_our_turns() {
    let mut record = record(1);
    record.v = 2;
    record.rest.insert("stepAside".to_owned(), json!({"shop/web-1": ["pod-template-hash"]}));
    record.because.clear();
    let mut snapshot = departing();
    *node_mut(&mut snapshot) = cordoned(node(), &record);
    let written = written(patch(&decide(&snapshot, &act())));
    assert_eq!(
        (written.v, &written.rest),
        (2, &record.rest),
        "the signal's part was added, nothing else changed"
    );
    assert_eq!(written.because.len(), 1);
}

#[test]
fn what_can_not_be_read_is_no_record() {
    let required = json!({"v": 1, "instance": instance(1), "since": SENT, "rankedAt": SENT, "ranked_at": SENT});
    assert!(Departure::parse(&required.to_string()).is_some(), "the rest may be absent");
    for missing in ["v", "instance", "since", "ranked_at"] {
        let mut record = required.clone();
        record.as_object_mut().expect("an object").remove(missing);
        assert_eq!(Departure::parse(&record.to_string()), None, "without {missing}");
    }
    for text in ["", "departing", "[]", "{}", r#"{"v":1,"instance":"worker-1"}"#] {
        assert_eq!(Departure::parse(text), None, "{text}");
    }
}

// ---- One generation ------------------------------------------------------------------------------

#[test]
fn a_record_counts_for_its_instance_and_boot_and_no_other() {
    let rows = [
        ("ours", record(1), Some("boot-1"), true),
        ("another instance's, copied", record(2), Some("boot-1"), false),
        (
            "an earlier boot's",
            Departure { boot: Some(id("boot-0")), ..record(1) },
            Some("boot-1"),
            false,
        ),
        (
            "written before the boot was known",
            Departure { boot: None, ..record(1) },
            Some("boot-1"),
            true,
        ),
        ("the node does not say its boot", record(1), None, true),
    ];
    for (name, record, boot, counts) in rows {
        let mut snapshot = departing();
        *node_mut(&mut snapshot) = Node { boot: boot.map(id), ..cordoned(node(), &record) };
        let decision = decide(&snapshot, &act());
        if counts {
            assert_eq!(steps(&decision), [""; 0], "{name}");
        } else {
            let begun = written(patch(&decision));
            let expected = (instance(1), boot.map(id), snapshot.now);
            assert_eq!((begun.instance, begun.boot, begun.since), expected, "{name}: begins anew");
        }
    }
}

#[test]
fn what_an_earlier_generation_changed_is_still_ours_to_undo() {
    for set in [[true, true, true, true], [false, true, false, false]] {
        let earlier = flags(Departure { boot: Some(id("boot-0")), ..record(1) }, set);
        let mut snapshot = departing();
        *node_mut(&mut snapshot) = cordoned(node(), &earlier);
        let begun = written(patch(&decide(&snapshot, &act())));
        let kept = [begun.cordoned, begun.tainted, begun.labelled, begun.out_of_service];
        assert_eq!(kept, set);
    }
}

#[test]
fn a_cordon_that_somebody_took_back_is_ours_once_we_set_it_again() {
    let rows = [
        // What the record says, what the node has, what the record says after the PATCH.
        ("uncordoned", [false, true], (false, true), [true, true]),
        ("taint removed", [false, false], (true, false), [false, true]),
        ("both, and both were ours", [true, true], (false, false), [true, true]),
        ("the taint, beside a foreign cordon", [false, true], (true, false), [false, true]),
    ];
    for (name, [cordoned_by_us, tainted_by_us], (unschedulable, tainted), expected) in rows {
        let says = [cordoned_by_us, tainted_by_us, false, false];
        let mut snapshot = departing();
        let taints = if tainted { vec![taint(TAINT)] } else { Vec::new() };
        *node_mut(&mut snapshot) =
            Node { unschedulable, taints, ..cordoned(node(), &flags(record(1), says)) };
        let decision = decide(&snapshot, &act());
        let patch = patch(&decision);
        let written = written(patch);
        assert_eq!([written.cordoned, written.tainted], expected, "{name}");
        assert!(!written.labelled && !written.out_of_service, "{name}");
        let after = patched(node_mut(&mut snapshot).clone(), patch);
        assert!(after.unschedulable && after.taints == [taint(TAINT)], "{name}: {after:?}");
        assert_eq!(patch.purpose, PatchPurpose::Cordon, "{name}");
    }
}

#[test]
fn a_contributor_ends_with_its_deadline() {
    let past = Contributor {
        token: token(9).fingerprint(),
        hard: Some(after(59)),
        ..record(1).because.remove(0)
    };
    let ahead =
        Contributor { token: token(8).fingerprint(), hard: Some(after(61)), ..past.clone() };
    let own = record(1).because.remove(0);
    let mut snapshot = departing();
    let because = vec![past, ahead.clone(), own.clone()];
    *node_mut(&mut snapshot) = cordoned(node(), &Departure { because, ..record(1) });
    let decision = decide(&snapshot, &act());
    let written = written(patch(&decision));
    assert_eq!(written.because, [ahead, own]);
    assert_eq!(written.ranked_at, snapshot.now, "its place in the order changed");
    assert_eq!(patch(&decision).purpose, PatchPurpose::Record);
}

// ---- Undo ----------------------------------------------------------------------------------------

fn foreign_taint() -> impl Strategy<Value = Taint> {
    let key = prop_oneof![
        Just("ToBeDeletedByClusterAutoscaler"),
        Just("dedicated"),
        Just("node.kubernetes.io/unschedulable"),
        Just("example.com/x"),
    ];
    let effect = prop_oneof![Just("NoSchedule"), Just("NoExecute"), Just("PreferNoSchedule")];
    (key, option::of("[a-z]{0,3}"), effect, option::of(Just("2026-11-22T09:00:00Z".to_owned())))
        .prop_map(|(key, value, effect, time_added)| Taint {
            key: key.to_owned(),
            value,
            effect: effect.to_owned(),
            time_added,
        })
}

fn foreign_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = prop_oneof![Just(EXCLUDE.to_owned()), "[a-z]{1,4}"];
    btree_map(key, "[a-z]{0,3}", 0..3)
}

fn foreign_node() -> impl Strategy<Value = Node> {
    (
        any::<bool>(),
        vec(foreign_taint(), 0..4),
        foreign_labels(),
        btree_map("[a-z]{1,4}", "[a-z]{0,3}", 0..3),
    )
        .prop_map(|(unschedulable, taints, labels, annotations)| Node {
            unschedulable,
            taints,
            labels,
            annotations,
            ..node()
        })
}

/// The node comes back from the warm pool with the boot it left with.
fn returned(node: Node) -> Snapshot {
    let mut snapshot = signalled(Launching, WarmPoolOut);
    snapshot.now = after(600);
    proven(&mut snapshot);
    *node_mut(&mut snapshot) = node;
    snapshot
}

/// The node after everything was taken back: the out-of-service taint goes first, before anything is waited for.
fn undone(mut node: Node) -> Node {
    while node.annotations.contains_key(DEPARTURE) {
        node = patched(node.clone(), patch(&decide(&returned(node), &act())));
    }
    node
}

proptest! {
    #[test]
    fn undo_takes_back_what_we_did_and_leaves_everything_else(
        before in foreign_node(),
        added in vec(foreign_taint(), 0..3),
        labelled in foreign_labels(),
    ) {
        let mut snapshot = signalled_out();
        *node_mut(&mut snapshot) = before.clone();
        let mut node = patched(before.clone(), patch(&decide(&snapshot, &act())));
        prop_assert_eq!(node.taints.len(), before.taints.len() + 1, "one taint more, none less");
        // Meanwhile others go on changing it.
        node.taints.extend(added.clone());
        node.labels.extend(labelled.clone());

        let undone = undone(node);
        prop_assert_eq!(undone.unschedulable, before.unschedulable);
        let taints: Vec<Taint> = before.taints.iter().chain(&added).cloned().collect();
        prop_assert_eq!(undone.taints, taints);
        let mut labels = before.labels.clone();
        labels.extend(labelled);
        prop_assert_eq!(undone.labels, labels, "the exclusion label was somebody else's");
        prop_assert_eq!(undone.annotations, before.annotations);
    }

    #[test]
    fn undo_does_exactly_what_the_record_says(set in any::<[bool; 4]>(), before in foreign_node()) {
        let mut marked = cordoned(before.clone(), &flags(record(1), set));
        marked.labels.insert(EXCLUDE.to_owned(), "true".to_owned());
        marked.taints.push(taint(OUT_OF_SERVICE));
        let undone = undone(marked);
        let [cordoned, tainted, labelled, out_of_service] = set;
        prop_assert_eq!(undone.unschedulable, !cordoned);
        prop_assert_eq!(undone.taints.contains(&taint(TAINT)), !tainted);
        prop_assert_eq!(undone.taints.contains(&taint(OUT_OF_SERVICE)), !out_of_service);
        prop_assert_eq!(undone.labels.contains_key(EXCLUDE), !labelled);
        prop_assert_eq!(undone.annotations.contains_key(DEPARTURE), false);
    }
}

#[test]
fn a_node_whose_record_is_another_instances_is_not_undone() {
    let mut snapshot = returned(cordoned(node(), &record(2)));
    let decision = decide(&snapshot, &act());
    assert_eq!(steps(&decision), [""; 0], "it is somebody else's, copied");
    // The same node with our own record, after its root volume was replaced and it booted.
    snapshot = signalled(Launching, RootVolume);
    proven(&mut snapshot);
    *node_mut(&mut snapshot) = Node { boot: Some(id("boot-2")), ..cordoned(node(), &record(1)) };
    assert_eq!(steps(&decide(&snapshot, &act())), ["undo node ip-10-0-3-1.ec2.internal"]);
}
