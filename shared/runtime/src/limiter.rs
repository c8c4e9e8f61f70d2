//! Token buckets: how often this environment may call which API.
//!
//! AWS counts requests per account and region, and processes do not see each other; so each takes its
//! part of the account's budget, by the number of environments that may run at once, and leaves the
//! rest to the AWS Load Balancer Controller and to people. A part can be wrong, so a throttle is a
//! bucket's own answer too: it slows down for a while and goes on.
//!
//! ```text
//!   tokens ──take──> call      enough: at once · too few: wait for them, first come first served
//!      └ refill per second     too late for the deadline: `NoTime` at once, nothing taken
//! ```

use crate::clock::Clock;
use decision::limits::STORM_NODES;
use decision::time::{Timestamp, human};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The account's budget for RegisterTargets and DeregisterTargets: 20 at once, 4 a second (AWS's page
/// on ELB throttling). The controller's own client limits are exactly these.
pub const ELBV2_WRITES: Budget = Budget { burst: 20.0, per_second: 4.0 };

/// The account's budget for ELBv2's Describe calls: 40 at once, 10 a second (the same page).
pub const ELBV2_READS: Budget = Budget { burst: 40.0, per_second: 10.0 };

/// The account's budget for one of EC2's Describe calls: 100 at once, 20 a second (AWS's page on EC2
/// throttling).
pub const EC2_READS: Budget = Budget { burst: 100.0, per_second: 20.0 };

/// An assumption, since AWS does not publish Auto Scaling's limits: the rate of EC2's Describe calls, and a
/// burst of which each of twenty environments has the five calls of a lone departure. If it is twice too
/// high, a storm is throttled and slows down by itself; halved, a lone departure waits two seconds and the
/// answers to a thousand hooks take two minutes instead of one.
pub const AUTOSCALING: Budget = Budget { burst: 150.0, per_second: 20.0 };

/// How much of a budget we plan with, of 1. Doubled (all of it and more), the controller is throttled
/// whenever we are busy, and pods wait for their registration; halved, a storm takes twice as long.
const OUR_SHARE: f64 = 0.75;

/// The least burst of an environment, in tokens: one call can always be made at once. Doubled, twenty
/// environments that start together ask for twice what ELBv2 grants; less than one call makes no sense.
const BURST_MIN: f64 = 1.0;

/// The least rate of an environment, in tokens a second: outside a storm a wait of 5 s, which still fits into a slice.
/// For twenty environments that are all busy this is the whole of ELBv2's 4 writes a second, without
/// headroom: doubled, they would be throttled for as long as a storm lasts; halved, a wait for a token
/// does not fit into a slice, and each withdrawal takes a turn more.
const PER_SECOND_MIN: f64 = 0.2;

/// How much slower a bucket refills after a throttle, of 1. Doubled is no slower; halved, one throttle
/// during a storm costs a Spot notice more than it saves.
const SLOWED_TO: f64 = 0.5;

/// How long it stays slow after the last throttle. Doubled, a single throttle is felt through a whole
/// slice and the next; halved, ELBv2's bucket has not refilled by half (10 of 20 tokens at 4 a second).
const SLOWED_FOR: Duration = Duration::from_secs(5);

/// How long as many departures are reckoned with as were seen at once: longer than the two minutes that a Spot notice gives.
/// Doubled, a lone departure after a storm takes some seconds longer; halved, a storm's last withdrawals meet as in a storm.
const BUSY_FOR: Duration = Duration::from_secs(180);

/// The longest wait for a token in a storm. Twice: a batch's place is taken for half a second more, while hundreds wait for
/// one. Half: a token that is almost there is left to the next turn.
const CROWD_PATIENCE: Duration = Duration::from_millis(300);

/// How many functions of ours share the budgets, with as many environments each.
const FUNCTIONS: u16 = 2;

/// So many environments are at work on a storm when its first looks are made: a mapping begins with five batches and adds five
/// a second (AWS's page on scaling SQS mappings). Twice: a batch waits for a token while others have some left. Half: twenty
/// of them ask EC2 for twice what it grants at once.
const BEGINS_WITH: u16 = 12;

/// Of EC2's budget, what only a hook holds has this part of what the interrupted have. Twice: a thousand hooks without a
/// warning are looked up in half a minute. Half: both together ask for more than EC2 grants.
const HOOKS_WAIT: u16 = 4;

/// Nobody else is busy.
const ALONE: Busy = Busy { environments: 1, is_storm: false };

/// What AWS grants an account in one region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Requests at once.
    pub burst: f64,
    /// Requests a second, on the long run.
    pub per_second: f64,
}

/// The tokens would come too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no time: its turn to call comes in {} ms, the deadline in {} ms", .wait.as_millis(), .left.as_millis())]
pub struct NoTime {
    /// How long it would have to wait.
    pub wait: Duration,
    /// How long there is.
    pub left: Duration,
}

/// One bucket. Waiters are served in the order in which they asked.
#[derive(Debug)]
pub struct Bucket {
    /// What all environments together plan with.
    whole: Budget,
    /// How many environments a function has.
    concurrency: u16,
    state: Mutex<State>,
}

/// How busy other environments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// So many have as much to ask for, this one with them.
    pub environments: u16,
    /// Messages wait for a place: nobody stands still for a token.
    pub is_storm: bool,
}

#[derive(Debug)]
struct State {
    /// Below zero: what those who wait have taken in advance.
    tokens: f64,
    /// When that was true.
    at: Instant,
    /// Until when it refills slowly.
    slow_until: Instant,
    /// How busy others are.
    busy: Busy,
    /// Until when they are known to be so busy.
    busy_until: Instant,
}

impl Bucket {
    /// A full bucket for this environment alone. Needs a tokio runtime only in tests that pause its clock.
    pub fn new(burst: f64, per_second: f64) -> Self {
        Self::shared(Budget { burst, per_second }, 1)
    }

    /// A full bucket, of which this environment has all while it is alone, and its part while others are busy.
    pub fn shared(whole: Budget, concurrency: u16) -> Self {
        let now = Instant::now();
        let (tokens, busy) = (whole.burst, ALONE);
        let state = State { tokens, at: now, slow_until: now, busy, busy_until: now };
        Self { whole, concurrency: concurrency.max(1), state: Mutex::new(state) }
    }

    /// Others are as busy as this environment: for a while it has no more than its part.
    pub fn busy(&self, busy: Busy) {
        let now = Instant::now();
        let mut state = self.refilled(now);
        state.busy = busy;
        state.busy_until = now + BUSY_FOR;
        state.tokens = state.tokens.min(self.part(busy).burst);
    }

    /// One environment's part: never less than what makes progress.
    fn part(&self, busy: Busy) -> Budget {
        let functions = if busy.is_storm { 1 } else { FUNCTIONS };
        let parts = busy.environments.clamp(1, self.concurrency.saturating_mul(functions));
        let parts = f64::from(parts);
        Budget {
            burst: (self.whole.burst / parts).max(BURST_MIN),
            per_second: (self.whole.per_second / parts).max(PER_SECOND_MIN),
        }
    }

    /// Takes `n` tokens, and waits for them if need be, in a storm not for long. When they would come at the deadline or
    /// later it takes none and says so at once. Who is dropped while waiting has paid nevertheless: that is slow,
    /// never too fast.
    pub async fn take(&self, n: u32, deadline: Timestamp, clock: &Clock) -> Result<(), NoTime> {
        let left = clock.now().until(deadline);
        let left = if self.is_crowded() { left.min(CROWD_PATIENCE) } else { left };
        let wait = self.reserve(f64::from(n), left)?;
        if !wait.is_zero() {
            tracing::debug!(wait = %human(wait), "waiting for the rate limit");
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Whether so many are busy that nobody stands still for a token.
    pub fn is_crowded(&self) -> bool {
        self.refilled(Instant::now()).busy.is_storm
    }

    /// Whether the next call would have to wait.
    pub fn is_empty(&self) -> bool {
        self.refilled(Instant::now()).tokens < 1.0
    }

    /// The service throttled a call: whatever we thought was left is gone, and for a while tokens come
    /// half as fast. Many throttles at once (calls in parallel) slow it down once.
    pub fn slow_down(&self) {
        let now = Instant::now();
        let mut state = self.refilled(now);
        state.tokens = state.tokens.min(0.0);
        state.slow_until = now + SLOWED_FOR;
    }

    /// Takes tokens, perhaps in advance, and tells how long to wait for them.
    fn reserve(&self, n: f64, left: Duration) -> Result<Duration, NoTime> {
        let now = Instant::now();
        let mut state = self.refilled(now);
        let slow = state.slow_until.saturating_duration_since(now);
        let wait = time_to((n - state.tokens) / self.part(state.busy).per_second, slow);
        if wait >= left {
            return Err(NoTime { wait, left });
        }
        state.tokens -= n;
        Ok(wait)
    }

    /// The state with what has come since it was last looked at.
    fn refilled(&self, now: Instant) -> MutexGuard<'_, State> {
        // A panic elsewhere can't leave numbers that are worse than late.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let slow = state.slow_until.min(now).saturating_duration_since(state.at);
        let fast = now.saturating_duration_since(state.at.max(state.slow_until));
        let come = slow.as_secs_f64() * SLOWED_TO + fast.as_secs_f64();
        if now >= state.busy_until {
            state.busy = ALONE;
        }
        let part = self.part(state.busy);
        state.tokens = (state.tokens + come * part.per_second).min(part.burst);
        state.at = now;
        state
    }
}

/// How long until so many seconds' tokens have come, with the slow time that is still ahead.
fn time_to(whole: f64, slow: Duration) -> Duration {
    if whole <= 0.0 {
        return Duration::ZERO;
    }
    let slow_seconds = slow.as_secs_f64();
    let seconds = if whole <= slow_seconds * SLOWED_TO {
        whole / SLOWED_TO
    } else {
        whole + slow_seconds * (1.0 - SLOWED_TO)
    };
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// The buckets of one environment.
#[derive(Debug)]
pub struct Limits {
    /// RegisterTargets, DeregisterTargets. Divided among as many environments as nodes depart: a lone departure may leave
    /// ten groups at once.
    pub elbv2_writes: Bucket,
    /// DescribeTargetHealth, DescribeTargetGroups and their attributes; likewise: the first look at a departure takes two
    /// reads for each target group.
    pub elbv2_reads: Bucket,
    /// DescribeInstances and DescribeInstanceStatus for those that are interrupted: asked before it is known who departs, so
    /// always divided; the burst only among as many environments as a storm begins with.
    pub ec2_reads: Bucket,
    /// DescribeInstances for those that only a hook holds, which have more time.
    pub ec2_reads_for_hooks: Bucket,
    /// All calls to Auto Scaling; likewise.
    pub autoscaling: Bucket,
}

impl Limits {
    /// The part of one of `concurrency` environments; of what is divided among those who are busy, all until they are known.
    pub fn for_share(concurrency: u16) -> Self {
        let bucket = |budget: Budget| {
            let part = share(budget, concurrency);
            Bucket::new(part.burst, part.per_second)
        };
        let for_hooks = share(EC2_READS, concurrency.saturating_mul(HOOKS_WAIT));
        let shared = |budget: Budget| Bucket::shared(share(budget, 1), concurrency);
        Self {
            elbv2_writes: shared(ELBV2_WRITES),
            elbv2_reads: shared(ELBV2_READS),
            ec2_reads: Bucket::new(
                share(EC2_READS, concurrency.min(BEGINS_WITH)).burst,
                share(EC2_READS, concurrency).per_second,
            ),
            ec2_reads_for_hooks: Bucket::new(for_hooks.burst, for_hooks.per_second),
            autoscaling: bucket(AUTOSCALING),
        }
    }

    /// So many nodes depart at once, of which so many are still in a target group. One environment of each function may be at
    /// work for each of them; in a storm only one of the functions looks after a node's load balancers, and when the last ones
    /// leave, many still look at what drains.
    pub fn busy(&self, departing: usize, registered: usize) {
        let is_storm = departing >= STORM_NODES;
        let nodes = u16::try_from(registered).unwrap_or(u16::MAX);
        let least = u16::try_from(STORM_NODES).unwrap_or(u16::MAX);
        let environments =
            if is_storm { nodes.max(least) } else { nodes.saturating_mul(FUNCTIONS) };
        let busy = Busy { environments, is_storm };
        self.elbv2_writes.busy(busy);
        self.elbv2_reads.busy(busy);
    }

    /// A storm: all the other environments are as busy as this one.
    pub fn crowd(&self) {
        self.busy(STORM_NODES, usize::MAX);
    }
}

/// The part of a budget that one of `concurrency` environments plans with.
pub fn share(budget: Budget, concurrency: u16) -> Budget {
    let part = OUR_SHARE / f64::from(concurrency.max(1));
    Budget {
        burst: (budget.burst * part).max(BURST_MIN),
        per_second: (budget.per_second * part).max(PER_SECOND_MIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const STORM: Busy = Busy { environments: 1_000, is_storm: true };

    fn some(environments: u16) -> Busy {
        Busy { environments, is_storm: false }
    }

    /// Takes one token with a minute's time and tells how long that took, in milliseconds.
    async fn timed(bucket: &Bucket, clock: &Clock) -> u128 {
        let begun = Instant::now();
        bucket.take(1, clock.now() + ms(60_000), clock).await.unwrap();
        begun.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn the_burst_is_free_and_then_tokens_come_at_the_rate() {
        let clock = Clock::starting(Timestamp::EPOCH);
        let bucket = Bucket::new(3.0, 4.0);
        assert!(!bucket.is_empty());
        let mut waits = Vec::new();
        for _ in 0..5 {
            waits.push(timed(&bucket, &clock).await);
        }
        assert_eq!(waits, [0, 0, 0, 250, 250]);
        assert!(bucket.is_empty(), "the next one waits");
        tokio::time::sleep(ms(600_000)).await;
        let begun = clock.now();
        bucket.take(3, clock.now() + ms(1), &clock).await.unwrap();
        assert_eq!(clock.now(), begun, "it holds no more than the burst, and all of it");
        assert_eq!(timed(&bucket, &clock).await, 250);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_at_the_deadline_comes_too_late_and_costs_nothing() {
        let clock = Clock::starting(Timestamp::EPOCH);
        let bucket = Bucket::new(1.0, 4.0);
        timed(&bucket, &clock).await;
        let refused = bucket.take(1, clock.now() + ms(250), &clock).await.unwrap_err();
        assert_eq!(refused, NoTime { wait: ms(250), left: ms(250) });
        let told = "no time: its turn to call comes in 250 ms, the deadline in 250 ms";
        assert_eq!(refused.to_string(), told);
        assert_eq!(clock.now(), Timestamp::EPOCH, "it did not wait to say so");
        bucket.take(1, clock.now() + ms(251), &clock).await.unwrap();
        assert_eq!(clock.now(), Timestamp::from_millis(250));
        let passed = bucket.take(0, clock.now(), &clock).await.unwrap_err();
        assert_eq!(passed, NoTime { wait: ms(0), left: ms(0) }, "the deadline has come");
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_served_in_order() {
        let clock = Clock::starting(Timestamp::EPOCH);
        let bucket = Bucket::new(1.0, 1.0);
        let waiter = async || {
            bucket.take(1, Timestamp::from_seconds(60), &clock).await.unwrap();
            clock.now().millis()
        };
        let served = futures_util::future::join4(waiter(), waiter(), waiter(), waiter()).await;
        assert_eq!(served, (0, 1_000, 2_000, 3_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_empties_it_and_halves_its_rate_for_five_seconds() {
        let clock = Clock::starting(Timestamp::EPOCH);
        let bucket = Bucket::new(10.0, 1.0);
        bucket.slow_down();
        bucket.slow_down();
        assert_eq!(timed(&bucket, &clock).await, 2_000, "half the rate");
        assert_eq!(timed(&bucket, &clock).await, 2_000, "until 4 s");
        assert_eq!(
            timed(&bucket, &clock).await,
            1_500,
            "1 s at half, half a second at the full rate"
        );
        assert_eq!(timed(&bucket, &clock).await, 1_000, "recovered");
        tokio::time::sleep(ms(10_000)).await;
        bucket.take(10, clock.now() + ms(1), &clock).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_does_not_forgive_what_was_taken_in_advance() {
        let clock = Clock::starting(Timestamp::EPOCH);
        let bucket = Bucket::new(1.0, 1.0);
        timed(&bucket, &clock).await;
        let mut waiter = pin!(bucket.take(1, Timestamp::from_seconds(60), &clock));
        assert!(futures_util::poll!(&mut waiter).is_pending());
        bucket.slow_down();
        let refused = bucket.take(1, Timestamp::from_seconds(1), &clock).await.unwrap_err();
        assert_eq!(refused.wait, ms(4_000), "two tokens at half the rate");
    }

    #[test]
    fn each_environment_has_its_part_and_always_a_call() {
        let rows = [
            ("alone", ELBV2_WRITES, 1, (15.0, 3.0)),
            ("none is one", ELBV2_WRITES, 0, (15.0, 3.0)),
            ("two", ELBV2_WRITES, 2, (7.5, 1.5)),
            ("the default", ELBV2_WRITES, 20, (1.0, 0.2)),
            ("the default, reads", ELBV2_READS, 20, (1.5, 0.375)),
            ("the default, EC2", EC2_READS, 20, (3.75, 0.75)),
            ("the most", EC2_READS, 1_000, (1.0, 0.2)),
        ];
        for (name, budget, concurrency, (burst, per_second)) in rows {
            let part = share(budget, concurrency);
            assert!((part.burst - burst).abs() < 1e-9, "{name}: {part:?}");
            assert!((part.per_second - per_second).abs() < 1e-9, "{name}: {part:?}");
        }
    }

    #[test]
    fn the_controller_keeps_headroom_as_long_as_the_parts_are_not_at_their_least() {
        for budget in [ELBV2_WRITES, ELBV2_READS, EC2_READS, AUTOSCALING] {
            for concurrency in 1..=15_u16 {
                let part = share(budget, concurrency);
                let environments = f64::from(concurrency);
                let all = format!("{budget:?} by {concurrency}: {part:?}");
                assert!(part.burst * environments <= budget.burst * OUR_SHARE + 1e-9, "{all}");
                assert!(
                    part.per_second * environments <= budget.per_second * OUR_SHARE + 1e-9,
                    "{all}"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_buckets_are_the_shares() {
        let limits = Limits::for_share(2);
        let rows = [
            (&limits.elbv2_writes, (15.0, 3.0), 2),
            (&limits.elbv2_reads, (30.0, 7.5), 2),
            (&limits.ec2_reads, (37.5, 7.5), 1),
            (&limits.autoscaling, (56.25, 7.5), 1),
        ];
        for (bucket, (burst, per_second), concurrency) in rows {
            assert_eq!(
                (bucket.whole, bucket.concurrency),
                (Budget { burst, per_second }, concurrency)
            );
        }
        let reads = Limits::for_share(20).elbv2_reads;
        let rows = [
            (ALONE, (30.0, 7.5), "a first look"),
            (some(10), (3.0, 0.75), "of both functions"),
            (some(100), (1.0, 0.2), "the most"),
            (STORM, (1.5, 0.375), "in a storm the functions share the work"),
            (Busy { environments: 2, ..STORM }, (15.0, 3.75), "most are done"),
        ];
        for (busy, (burst, per_second), why) in rows {
            assert_eq!(reads.part(busy), Budget { burst, per_second }, "{why}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_divided_among_those_who_are_busy_until_they_are_done() {
        let clock = Clock::starting(Timestamp::EPOCH);
        let bucket = Bucket::shared(Budget { burst: 12.0, per_second: 4.0 }, 40);
        bucket.busy(some(4));
        for wait in [0, 0, 0, 1_000, 1_000] {
            assert_eq!(timed(&bucket, &clock).await, wait);
        }
        bucket.busy(some(2));
        assert_eq!(timed(&bucket, &clock).await, 500, "others are done");
        tokio::time::sleep(BUSY_FOR).await;
        bucket.take(4, clock.now() + ms(1), &clock).await.unwrap();
        assert_eq!(timed(&bucket, &clock).await, 0, "alone again");
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_storm_nobody_stands_still_for_a_token() {
        let clock = Clock::starting(Timestamp::EPOCH);
        let bucket = Bucket::shared(Budget { burst: 15.0, per_second: 20.0 }, 20);
        let minute = || clock.now() + ms(60_000);
        bucket.busy(STORM);
        assert_eq!(timed(&bucket, &clock).await, 0);
        let refused = bucket.take(1, minute(), &clock).await.unwrap_err();
        assert_eq!(refused.wait, ms(1_000), "others wait for this one's place");
        tokio::time::sleep(ms(800)).await;
        assert_eq!(timed(&bucket, &clock).await, 200, "it is almost there");
        tokio::time::sleep(ms(60_000)).await;
        assert_eq!(timed(&bucket, &clock).await, 0);
        let refused = bucket.take(1, minute(), &clock).await.unwrap_err();
        assert_eq!(refused.wait, ms(1_000), "a minute brought no more than its part");
    }
}
