//! The numbers that policy does not set, each with what breaks when it doubles and when it halves.

use std::time::Duration;

/// Between a hook's hard deadline and our answer. Twice: pods lose ten seconds that they could have used.
/// Half: a throttled answer or one slow slice comes too late.
pub const ANSWER_MARGIN: Duration = Duration::from_secs(10);

/// Between the end of a pod's clamped grace and the hard deadline, on top of the answer's margin. Twice: pods
/// lose time. Half: the kubelet's own second of lag falls behind the deadline.
pub const FORCE_MARGIN: Duration = Duration::from_secs(5);

/// Between the last moment of a withdrawal plus its settle time and the hard deadline. Twice: capacity leaves
/// earlier than it must. Half: one failed call costs the settle time.
pub const WITHDRAW_MARGIN: Duration = Duration::from_secs(10);

/// How long a node must have carried its place in the order (annotation and deadline) before it may withdraw.
/// By then whoever listed the departing nodes without it has acted or given up: for a call, a list is used for at most
/// [`HEALTH_FRESH`] ([`STAYERS_FRESH`] where those that stay are enough without it: who joins later sees what was written down), a
/// call to AWS lasts at most 3 s (older lists and healths only serve to write a withdrawal down). Half: two processes that do not see each other could
/// both count on the other's target. Twice: four more seconds of new requests to a node that is going.
pub const ORDER_SETTLES: Duration = Duration::from_secs(4);

/// How long a written withdrawal counts as one that others may not have seen. By then whoever listed before it was
/// written has made its call and the target is out: a slow turn, [`HEALTH_FRESH`], a call of 3 s. Half: when too many
/// wrote at once, one of them too many could go. Twice: in that rare case all wait eight seconds longer.
pub const CLAIM_SETTLES: Duration = Duration::from_secs(8);

/// How long another node's written withdrawal is carried out for it. Half: a throttled group needs more calls. Twice: the
/// record could be about a life before a stop and a start, which take more than a minute.
pub const CLAIM_LASTS: Duration = Duration::from_secs(60);

/// So many departing nodes are a storm, in which one process makes a group's calls for all. Half: five lone departures
/// wait for each other. Twice: forty nodes in three groups make as many calls as AWS grants in half a minute.
pub const STORM_NODES: usize = 20;

/// How long a storm's first node is left to make the call for the others. It stays well below [`WITHDRAW_MARGIN`]. Half: a
/// slow call is made twice. Twice: a process that died costs eight seconds.
pub const LEADER_ACTS: Duration = Duration::from_secs(4);

/// Targets in one DeregisterTargets call besides a batch's own. AWS names no limit of its own below that of targets in a
/// group (1,000). Twice: nothing that we know of. Half: a storm of a thousand needs a call more for each group.
pub const TARGETS_AT_ONCE_MAX: usize = 500;

/// Looks at all departing nodes of a cluster together in a second: a storm of a thousand is looked at every ten seconds,
/// each in its time. Twice: the API server and AWS are asked twice as often. Half: a node's last pod is noticed to be
/// gone ten seconds later.
pub const LOOKS_PER_SECOND: u32 = 100;

/// How often a departure is looked at for which a more urgent signal has its own message: the other does the work. Half:
/// twice the calls for nothing. Twice: should the other's message be lost, a Spot notice passes in six looks.
pub const SHARED_LOOK: Duration = Duration::from_secs(10);

/// In a storm, a departure for which a more urgent signal has its own message is looked at so many times more rarely. Half:
/// every second look of a storm is one at what another does. Twice: a storm's hooks are looked at every minute.
pub const SHARED_LOOKS: usize = 3;

/// How old a read health may be when targets are taken out on its strength. Twice: [`ORDER_SETTLES`] must grow
/// with it. Half: a busy limiter makes every second withdrawal wait for another turn.
pub const HEALTH_FRESH: Duration = Duration::from_millis(1_000);

/// The same in a storm, where enough targets stay that belong to no departing node: what others do can't take those. Twice:
/// a group that fell ill meanwhile is left by some of its last good targets. Half: looks at the groups, which AWS rations,
/// are too few for all the calls of the last minute.
pub const STAYERS_FRESH: Duration = Duration::from_secs(15);

/// How long after our record of a withdrawal the target may still look registered before the call counts as failed and
/// is recorded again, since the settle time counts from the record. Half: a slow turn writes the node twice. Twice:
/// requests that were sent meanwhile are counted as settled too early, and pods wait longer for a call that fails.
pub const RECORD_FRESH: Duration = Duration::from_secs(3);

/// How long after its hard deadline an instance is still looked after that no hook holds: EC2 is often some seconds
/// late, and what dies has often begun to die before we hear of it. Half: the last evictions are not seen to their end.
/// Twice: a minute more of looks at a host that is gone.
pub const LATE_FOR: Duration = Duration::from_secs(60);

/// How much of its grace a pod is kept for that serves what arrives at its node: its target leaves that much earlier,
/// and its deletion comes no earlier than that before the end. Twice: groups fall below their floor half a minute
/// earlier in a storm. Half: requests in flight are cut when the grace is.
pub const SERVING_GRACE_MAX: Duration = Duration::from_secs(20);

/// The second looks of a storm are spread over this time, so that first looks do not wait behind them. Twice: a storm's
/// withdrawals begin ten seconds later. Half: the last cordon of a thousand waits for second looks at the first.
pub const STORM_SPREAD: Duration = Duration::from_secs(10);

/// How long an event may be ahead of what DescribeAutoScalingInstances shows (eventual consistency) before it
/// counts as no longer true. Half: a slow control plane loses a hook to its timeout. Twice: a late duplicate is
/// looked at a minute longer, which costs a few reads.
pub const EVENT_AHEAD: Duration = Duration::from_secs(60);

/// How long an accepted heartbeat proves that an ambiguous lifecycle state (warm pool, root volume) is still the
/// one that our token belongs to. Twice: a late duplicate could cordon an instance that just came back. Half:
/// twice the heartbeats.
pub const PROOF_LASTS: Duration = Duration::from_secs(30);

/// An instance that was launched longer ago than this and has no node has lost it, rather than not yet got it.
/// Half: slow images count as lost nodes. Twice: hooks of lost nodes wait longer.
pub const REGISTERS_WITHIN: Duration = Duration::from_secs(600);

/// Evictions and deletions of one node in one turn. Twice: a node with 110 pods takes twice the API server's
/// seats at once. Half: it takes twice as many turns.
pub const REMOVALS_AT_ONCE_MAX: usize = 10;

/// Within this time after the first one of a turn, further evictions under one budget are begun; the others are left for the
/// next turn. Half: a busy budget's pods cost twice the looks. Twice: the messages of a storm that nobody has looked at wait
/// behind it, and the slice ends before the last answer.
pub const EVICTIONS_BEGIN_WITHIN: Duration = Duration::from_secs(4);

/// With less time than this until the slice ends no further eviction under a budget is begun: eleven tries of the API server.
/// One that is broken off may have been counted by its budget, which then keeps a place for it for two minutes. Twice: a slice
/// makes one eviction. Half: where every second try collides, one in fifty is broken off.
pub const EVICTION_TAKES: Duration = Duration::from_secs(6);

/// So long before a hook's hard deadline no eviction of its batch is waited for: one that collides is answered after eleven
/// seconds, more than [`ANSWER_MARGIN`]. Twice: the batch evicts nothing for ten seconds more. Half: an answer that AWS throttles
/// once comes too late.
pub const EVICTIONS_END_BEFORE: Duration = Duration::from_secs(5);

/// An eviction that takes so long collided with another write to its budget's status: the API server tries again after half a
/// second, give or take a tenth. Half: a slow server looks like a busy budget. Twice: the first collision is not noticed.
pub const EVICTION_COLLIDED: Duration = Duration::from_millis(450);

/// The longest pause before an eviction under a budget on which ours collided, in one process. Half: a hundred processes still
/// collide more often than they evict. Twice: who finds it free again waits for eight seconds.
pub const EVICTION_PAUSE_MAX: Duration = Duration::from_secs(4);

/// The pause after a first collision. Half: nothing is gained by it. Twice: a collision with the budget's own controller, the
/// commonest one, costs as much as the collision.
pub const EVICTION_PAUSE_MIN: Duration = Duration::from_millis(250);

/// Between two tries of an eviction that was refused for another reason than a budget that we can read.
pub const EVICTION_RETRY: Duration = Duration::from_secs(5);

/// How often a drain that stands still is reported. Half: twice the log lines at night. Twice: a person waits
/// longer for the first word.
pub const BLOCKED_REPORT_EVERY: Duration = Duration::from_secs(300);

/// A drain that has not moved for this long is blocked rather than slow.
pub const BLOCKED_AFTER: Duration = Duration::from_secs(60);

/// How often an empty node is looked at while only its load balancers still need it: nothing but a person's order can
/// shorten that wait. Half: twice the calls for nothing. Twice: an order is heard half a minute late.
pub const SETTLING_LOOK: Duration = Duration::from_secs(15);

/// What a crash costs at most: killed before it shortened it, an invocation leaves its messages hidden for the queue's
/// whole visibility timeout of 90 s (six times the function's 15 s), and seconds pass before and after. Twice: hooks with the
/// shortest heartbeats are kept alive at every look. Half: one crash can cost such a hook.
pub const CRASH_COSTS_AT_MOST: Duration = Duration::from_secs(105);

/// How long after the end of its grace a pod may still be reported as running before nobody waits for it: a kubelet kills
/// at the end of the grace and says so within seconds. Half: a slow kubelet's volume is cut off. Twice: a lost kubelet
/// holds its node, and its hook, two minutes.
pub const STUCK_AFTER: Duration = Duration::from_secs(60);

/// The shortest heartbeat timeout that is supported; below it a crash can cost more than half of the timeout.
pub const HEARTBEAT_SUPPORTED_MIN: Duration = Duration::from_secs(120);

/// How long a hook or a group that is not in AWS's answer is looked up again before the signal counts as over: what is
/// read may be a minute old. Also how long a hook that can't be read is waited for before the event's own words count.
/// Half: a hook that was just made is forgotten. Twice: a signal of a deleted group comes back four minutes.
pub const LOOKUP_PATIENCE: Duration = Duration::from_secs(120);

/// While a departure is younger than the first value it is looked at every second value. The sum over the 48 hours
/// that a lifecycle action can last stays below 650 receives, of the 1,000 that the queue allows.
pub const LOOK_EVERY: [(Duration, Duration); 5] = [
    (Duration::from_secs(30), Duration::from_secs(2)),
    (Duration::from_secs(120), Duration::from_secs(5)),
    (Duration::from_secs(600), Duration::from_secs(15)),
    (Duration::from_secs(3_600), Duration::from_secs(30)),
    (Duration::from_secs(6 * 3_600), Duration::from_secs(120)),
];

/// The interval for everything older than [`LOOK_EVERY`] covers.
pub const LOOK_EVERY_LATER: Duration = Duration::from_secs(600);

/// The longest time a message is hidden: SQS allows 12 hours from its receipt.
pub const HIDE_MAX: Duration = Duration::from_secs(11 * 3_600);

/// How often a message may be received before it is given up, with its hook answered: the queue itself moves it to the
/// dead-letter queue at 1,000, silently. The looks of 48 hours stay below 650.
pub const RECEIVES_MAX: u32 = 900;
