//! What one departure costs in API calls: a budget, printed turn by turn.

use crate::flow::Flow;
use sandbox::kubernetes::{Budget, Workload, WorkloadKind};
use sandbox::world::Call;

/// Calls of the first turn, with hiding the message and finding the cluster.
const FIRST_MAX: usize = 16;

/// Calls of each later turn, besides evictions.
const LATER_MAX: usize = 6;

/// The calls of one departure, split into its turns. A turn begins with the first look at AWS, or at the node, after a
/// turn that has looked at the node. Hiding the messages at the start of a slice is part of its first turn, giving
/// them back at the end part of its last.
fn turns(calls: &[Call], node: &str) -> Vec<Vec<Call>> {
    let mut turns: Vec<Vec<Call>> = vec![Vec::new()];
    let (mut looked, mut given_back) = (false, false);
    for call in calls {
        let at_node = call.operation == "GET nodes" && call.subject.ends_with(node);
        let hides = call.operation == "sqs:ChangeMessageVisibilityBatch";
        let looks = call.operation.starts_with("autoscaling:Describe")
            || call.operation.starts_with("ec2:Describe")
            || at_node;
        if (looks && looked) || (hides && given_back) {
            turns.push(Vec::new());
            (looked, given_back) = (false, false);
        }
        looked |= at_node;
        given_back |= hides && looked;
        if let Some(turn) = turns.last_mut() {
            turn.push(call.clone());
        }
    }
    turns
}

fn is_eviction(call: &Call) -> bool {
    call.operation == "POST pods/eviction"
}

#[tokio::test(start_paused = true)]
async fn api_calls_of_one_departure() {
    let past = Flow::new()
        .with(|scenario| {
            scenario.hooks.retain(|hook| hook.name == crate::past::TERMINATE);
            let deployment = |name, replicas| Workload {
                pdb: Some(Budget::max_unavailable(5)),
                ..Workload::new(WorkloadKind::Deployment, "default", name, replicas)
            };
            let agent = Workload::new(WorkloadKind::DaemonSet, "kube-system", "agent", 0);
            scenario.workloads = vec![deployment("web", 20), deployment("api", 20), agent];
        })
        .replaces([0])
        .run()
        .await;
    past.all_pods_were_removed(0);
    past.drained(0);
    assert_eq!(past.pods_at_start(0).len(), 10);
    let turns = turns(&past.calls(""), &past.machine(0).node);
    let begun = turns[0][0].at;
    for (number, turn) in turns.iter().enumerate() {
        println!("turn {} at {} ms, {} calls", number + 1, turn[0].at - begun, turn.len());
        for call in turn {
            println!(
                "  {:>7} {} {} {}",
                call.at - begun,
                call.status,
                call.operation,
                call.subject
            );
        }
    }
    let total: usize = turns.iter().map(Vec::len).sum();
    println!("{total} calls in {} turns", turns.len());
    for (number, turn) in turns.iter().enumerate() {
        let evictions = turn.iter().filter(|call| is_eviction(call)).count();
        let most = if number == 0 { FIRST_MAX } else { LATER_MAX };
        let calls = turn.len() - evictions;
        assert!(calls <= most, "turn {}: {calls} calls besides evictions", number + 1);
    }
}
