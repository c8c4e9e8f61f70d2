//! A circuit breaker for each cluster: one broken API server must not hold up the batch of all others.
//!
//! Only clusters that fail are remembered. What counts is whether an answer came, not whether it was a
//! good one: a 403 or a 500 says that somebody is there. `now` is handed in.
//!
//! ```text
//!            3 failures in a row                    10 s later
//!   closed ──────────────────────> open until T ──────────────> one trial (open for 10 s more)
//!      ^                                                              │
//!      └──────────────────── any answer ──────────────────────────────┘
//! ```

use cluster::{ClusterError, Operation};
use decision::id::ClusterName;
use decision::step::Class;
use decision::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Failures in a row that open it. Doubled, a dead cluster costs a slice of 2 s timeouts before it is
/// known; halved (one), a single lost connection stops every drain of a cluster for ten seconds.
pub const FAILURES_MAX: u32 = 3;

/// How long it stays open, and how long one trial may take before the next. Doubled, a control plane
/// that is back is noticed late in a Spot notice of 120 s; halved, a trial's 2 s to connect is a
/// large part of each slice.
pub const OPEN_FOR: Duration = Duration::from_secs(10);

/// Failing clusters that are remembered. Doubled, nothing; halved, more than 32 clusters of one
/// deployment that are down at once would take turns in being forgotten.
pub const CLUSTERS_MAX: usize = 64;

/// Whether to call a cluster now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It is not known to be down.
    Closed,
    /// It was down; this call finds out whether it still is, and others do not go meanwhile.
    Trial,
    /// It is down; not before this instant.
    Open(Timestamp),
}

/// What a call says about the way to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// An answer came.
    Answered,
    /// None came: no connection, a broken one, a timeout.
    Silent,
    /// The call was not sent, so it says nothing.
    Unknown,
}

impl Reach {
    /// What this outcome says.
    pub fn of<T>(outcome: &Result<T, ClusterError>) -> Self {
        match outcome {
            Ok(_) => Self::Answered,
            Err(error) if error.refusal().is_some() => Self::Answered,
            // The API server itself tries for ten seconds to write the budget: it is busy with that, not gone.
            Err(error) if error.operation() == Operation::Evict && error.is_late() => Self::Unknown,
            Err(error) if error.class() == Class::Again => Self::Silent,
            Err(_) => Self::Unknown,
        }
    }
}

/// The breakers of all clusters.
#[derive(Debug, Default)]
pub struct Breakers {
    failing: Mutex<BTreeMap<ClusterName, Failing>>,
}

/// A cluster whose last calls failed.
#[derive(Clone, Copy, Debug)]
struct Failing {
    failures: u32,
    last_at: Timestamp,
    open_until: Option<Timestamp>,
}

impl Breakers {
    /// Whether to call this cluster now. Who is told [`Gate::Trial`] must call; if that call is cut off and
    /// never recorded, the next trial comes after [`OPEN_FOR`].
    pub fn ask(&self, cluster: &ClusterName, now: Timestamp) -> Gate {
        let mut failing = self.lock();
        let Some(state) = failing.get_mut(cluster) else { return Gate::Closed };
        match state.open_until {
            None => Gate::Closed,
            Some(until) if now < until => Gate::Open(until),
            Some(_) => {
                state.open_until = Some(now + OPEN_FOR);
                Gate::Trial
            }
        }
    }

    /// Takes note of what a call found.
    pub fn record(&self, cluster: &ClusterName, reach: Reach, now: Timestamp) {
        let mut failing = self.lock();
        match reach {
            Reach::Unknown => {}
            Reach::Answered => {
                failing.remove(cluster);
            }
            Reach::Silent => {
                make_room(&mut failing, cluster);
                let fresh = Failing { failures: 0, last_at: now, open_until: None };
                let state = failing.entry(cluster.clone()).or_insert(fresh);
                state.failures = state.failures.saturating_add(1);
                state.last_at = now;
                if state.failures >= FAILURES_MAX {
                    state.open_until = Some(now + OPEN_FOR);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterName, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the cluster whose last failure is the longest ago, when there is no room for a new one.
fn make_room(failing: &mut BTreeMap<ClusterName, Failing>, cluster: &ClusterName) {
    if failing.len() < CLUSTERS_MAX || failing.contains_key(cluster) {
        return;
    }
    let oldest = failing.iter().min_by_key(|(_, state)| state.last_at);
    if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
        failing.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn named(name: &str) -> ClusterName {
        name.parse().unwrap()
    }

    /// Breakers for which `shop` has failed so often, all at once.
    fn failed(times: u32) -> (Breakers, ClusterName) {
        let (breakers, shop) = (Breakers::default(), named("shop"));
        for _ in 0..times {
            breakers.record(&shop, Reach::Silent, at(0));
        }
        (breakers, shop)
    }

    /// An API server that never answers.
    fn silent() -> kube::Client {
        cluster::wrap(tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn an_eviction_that_the_server_is_busy_with_is_no_silence_but_a_read_is() {
        let pod = decision::step::Removal {
            pod: "shop/web-1".parse().unwrap(),
            uid: "uid-1".parse().unwrap(),
        };
        let evicted = cluster::evict(&silent(), &pod).await;
        assert_eq!(Reach::of(&evicted), Reach::Unknown);
        let listed = cluster::budgets(&silent()).await;
        assert_eq!(Reach::of(&listed), Reach::Silent);
    }

    #[test]
    fn it_opens_at_the_third_failure_in_a_row() {
        let rows = [(0, Gate::Closed), (2, Gate::Closed), (3, Gate::Open(at(10_000)))];
        for (failures, gate) in rows {
            let (breakers, shop) = failed(failures);
            assert_eq!(breakers.ask(&shop, at(1)), gate, "{failures}");
            assert_eq!(breakers.ask(&named("other"), at(1)), Gate::Closed, "{failures}");
        }
    }

    #[test]
    fn an_answer_between_failures_starts_the_count_again() {
        let (breakers, shop) = failed(2);
        breakers.record(&shop, Reach::Answered, at(0));
        breakers.record(&shop, Reach::Silent, at(0));
        breakers.record(&shop, Reach::Silent, at(0));
        assert_eq!(breakers.ask(&shop, at(0)), Gate::Closed);
        breakers.record(&shop, Reach::Unknown, at(0));
        assert_eq!(breakers.ask(&shop, at(0)), Gate::Closed, "what was not sent does not count");
        breakers.record(&shop, Reach::Silent, at(0));
        assert_eq!(breakers.ask(&shop, at(0)), Gate::Open(at(10_000)));
    }

    #[test]
    fn after_ten_seconds_one_goes_to_look() {
        let (breakers, shop) = failed(3);
        assert_eq!(breakers.ask(&shop, at(9_999)), Gate::Open(at(10_000)));
        assert_eq!(breakers.ask(&shop, at(10_000)), Gate::Trial);
        assert_eq!(breakers.ask(&shop, at(10_001)), Gate::Open(at(20_000)), "only one");
        breakers.record(&shop, Reach::Silent, at(12_000));
        assert_eq!(breakers.ask(&shop, at(12_000)), Gate::Open(at(22_000)), "still down");
        assert_eq!(breakers.ask(&shop, at(22_000)), Gate::Trial);
        breakers.record(&shop, Reach::Answered, at(22_500));
        assert_eq!(breakers.ask(&shop, at(22_500)), Gate::Closed, "back");
        breakers.record(&shop, Reach::Silent, at(22_600));
        assert_eq!(breakers.ask(&shop, at(22_600)), Gate::Closed, "the count began again");
    }

    #[test]
    fn a_trial_that_never_ends_is_followed_by_another() {
        let (breakers, shop) = failed(3);
        assert_eq!(breakers.ask(&shop, at(10_000)), Gate::Trial);
        assert_eq!(breakers.ask(&shop, at(19_999)), Gate::Open(at(20_000)));
        assert_eq!(breakers.ask(&shop, at(20_000)), Gate::Trial);
    }

    #[test]
    fn a_full_list_forgets_the_cluster_that_failed_first() {
        let breakers = Breakers::default();
        let cluster = |index: usize| named(&format!("cluster-{index}"));
        for index in 0..=CLUSTERS_MAX {
            let now = at(i64::try_from(index).unwrap());
            for _ in 0..FAILURES_MAX {
                breakers.record(&cluster(index), Reach::Silent, now);
            }
        }
        assert_eq!(breakers.lock().len(), CLUSTERS_MAX);
        assert_eq!(breakers.ask(&cluster(0), at(100)), Gate::Closed, "forgotten");
        assert_eq!(breakers.ask(&cluster(1), at(100)), Gate::Open(at(10_001)));
    }
}
