//! The one retry loop, above the limiter: reads are tried a few times, writes once.
//!
//! `cloud` and `cluster` make single attempts. Here each attempt first takes its token, then runs until the
//! deadline at the latest; a throttle slows the bucket down for everybody. A read whose failure is
//! passing is tried again after a short pause, since without it there is no decision. A write is not:
//! the next turn looks at what became of it and decides anew, and that is the retry.

use crate::clock::Clock;
use crate::limiter::{Bucket, NoTime};
use cloud::CloudError;
use cluster::ClusterError;
use decision::step::Class;
use decision::time::Timestamp;
use std::time::Duration;

/// The pauses before the second and the third try of a read; there is no fourth. Fixed, so that a turn
/// can be replayed. Doubled, half a second of a first receive's 0.7 s is slept away; halved, a dropped
/// connection is tried again before a load balancer has noticed.
pub const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];

/// An error that says how it failed.
pub trait Classed {
    /// How, as far as it matters for what comes next.
    fn class(&self) -> Class;
    /// The error and its causes, in words.
    fn why(&self) -> String;
    /// What was tried, without its subject, if a right for it is missing.
    fn denied(&self) -> Option<String>;
}

impl Classed for CloudError {
    fn class(&self) -> Class {
        self.class()
    }

    fn why(&self) -> String {
        self.why()
    }

    fn denied(&self) -> Option<String> {
        (self.class() == Class::Denied).then(|| self.operation().to_owned())
    }
}

impl Classed for ClusterError {
    fn class(&self) -> Class {
        self.class()
    }

    fn why(&self) -> String {
        self.why()
    }

    fn denied(&self) -> Option<String> {
        (self.class() == Class::Denied).then(|| self.operation().to_string())
    }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure<E> {
    /// It was not sent: no token in time, or no time at all.
    #[error(transparent)]
    NotSent(NoTime),
    /// It was sent, and the deadline came before its answer. What a write did is unknown.
    #[error("no answer before the deadline")]
    CutOff,
    /// It was answered with an error, or by silence.
    #[error(transparent)]
    Call(E),
}

impl<E: Classed> Classed for Failure<E> {
    fn class(&self) -> Class {
        match self {
            Self::NotSent(_) | Self::CutOff => Class::Again,
            Self::Call(error) => error.class(),
        }
    }

    fn why(&self) -> String {
        match self {
            Self::NotSent(no_time) => no_time.to_string(),
            Self::CutOff => "no answer before the deadline".to_owned(),
            Self::Call(error) => error.why(),
        }
    }

    fn denied(&self) -> Option<String> {
        match self {
            Self::NotSent(_) | Self::CutOff => None,
            Self::Call(error) => error.denied(),
        }
    }
}

/// Reads: at most three tries, each with a token of the bucket, and only while a failure is passing
/// ([`Class::Again`], [`Class::Throttled`]) and the pause ends before the deadline. Ends with the last
/// failure that a service was the cause of, if there was one.
pub async fn read<T, E: Classed>(
    deadline: Timestamp,
    clock: &Clock,
    bucket: Option<&Bucket>,
    call: impl AsyncFn() -> Result<T, E>,
) -> Result<T, Failure<E>> {
    // One place for the call, at every try: each kind of call is compiled for itself, and would be twice with two.
    let mut last: Option<Failure<E>> = None;
    for pause in [Duration::ZERO].into_iter().chain(PAUSES) {
        if let Some(failure) = &last {
            let Some(pause) = pause_after(failure, pause) else { break };
            if clock.now() + pause >= deadline {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        match once(deadline, clock, bucket, &call).await {
            Ok(value) => return Ok(value),
            Err(Failure::NotSent(_)) if last.is_some() => break,
            Err(failure) => last = Some(failure),
        }
    }
    Err(last.unwrap_or(Failure::CutOff))
}

/// Writes: one try, with one token. A second one could only guess what the first one did.
pub async fn write<T, E: Classed>(
    deadline: Timestamp,
    clock: &Clock,
    bucket: Option<&Bucket>,
    call: impl AsyncFn() -> Result<T, E>,
) -> Result<T, Failure<E>> {
    once(deadline, clock, bucket, &call).await
}

/// How long to wait before another try; `None` when there is none.
fn pause_after<E: Classed>(failure: &Failure<E>, pause: Duration) -> Option<Duration> {
    let Failure::Call(error) = failure else { return None };
    match error.class() {
        Class::Again => Some(pause),
        Class::Throttled(asked) => Some(asked.map_or(pause, |asked| asked.max(pause))),
        Class::Gone
        | Class::Conflict
        | Class::Mismatch
        | Class::Blocked
        | Class::Denied
        | Class::Final => None,
    }
}

async fn once<T, E: Classed>(
    deadline: Timestamp,
    clock: &Clock,
    bucket: Option<&Bucket>,
    call: impl AsyncFn() -> Result<T, E>,
) -> Result<T, Failure<E>> {
    if let Some(bucket) = bucket {
        bucket.take(1, deadline, clock).await.map_err(Failure::NotSent)?;
    }
    // A timeout polls once even when it is over, which would send the request.
    let left = clock.now().until(deadline);
    if left.is_zero() {
        return Err(Failure::NotSent(NoTime { wait: Duration::ZERO, left }));
    }
    let answer = tokio::time::timeout_at(clock.instant_of(deadline), call()).await;
    let result = answer.map_err(|_| Failure::CutOff)?;
    if let (Err(error), Some(bucket)) = (&result, bucket)
        && matches!(error.class(), Class::Throttled(_))
    {
        bucket.slow_down();
    }
    result.map_err(Failure::Call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Refused(Class);

    impl Classed for Refused {
        fn class(&self) -> Class {
            self.0
        }

        fn why(&self) -> String {
            format!("{:?}", self.0)
        }

        fn denied(&self) -> Option<String> {
            (self.0 == Class::Denied).then(|| "read".to_owned())
        }
    }

    const AGAIN: Result<u32, Class> = Err(Class::Again);
    const SLOW: Result<u32, Class> = Err(Class::Throttled(None));

    /// One run: the answers the service has ready, and what is expected of it.
    struct Row {
        name: &'static str,
        answers: &'static [Result<u32, Class>],
        deadline_ms: i64,
        result: Result<u32, Failure<Refused>>,
        /// When each try was made, and the end, in milliseconds.
        tries_ms: &'static [i64],
        end_ms: i64,
    }

    fn failed(class: Class) -> Result<u32, Failure<Refused>> {
        Err(Failure::Call(Refused(class)))
    }

    #[track_caller]
    fn check(row: &Row, result: &Result<u32, Failure<Refused>>, tries_ms: &[i64], end_ms: i64) {
        assert_eq!(*result, row.result, "{}", row.name);
        assert_eq!(tries_ms, row.tries_ms, "{}: when it was tried", row.name);
        assert_eq!(end_ms, row.end_ms, "{}: when it ended", row.name);
    }

    fn rows() -> [Row; 7] {
        const ASKED: Class = Class::Throttled(Some(Duration::from_secs(1)));
        [
            Row {
                name: "at once",
                answers: &[Ok(7)],
                deadline_ms: 9_000,
                result: Ok(7),
                tries_ms: &[0],
                end_ms: 0,
            },
            Row {
                name: "the second try",
                answers: &[AGAIN, Ok(7)],
                deadline_ms: 9_000,
                result: Ok(7),
                tries_ms: &[0, 50],
                end_ms: 50,
            },
            Row {
                name: "no sleep after the last",
                answers: &[AGAIN, SLOW, AGAIN],
                deadline_ms: 9_000,
                result: failed(Class::Again),
                tries_ms: &[0, 50, 250],
                end_ms: 250,
            },
            Row {
                name: "a pause that ends at the deadline",
                answers: &[AGAIN, AGAIN],
                deadline_ms: 250,
                result: failed(Class::Again),
                tries_ms: &[0, 50],
                end_ms: 50,
            },
            Row {
                name: "a pause that ends just before it",
                answers: &[AGAIN, AGAIN, Ok(7)],
                deadline_ms: 251,
                result: Ok(7),
                tries_ms: &[0, 50, 250],
                end_ms: 250,
            },
            Row {
                name: "as long as the service asked",
                answers: &[Err(ASKED), Ok(7)],
                deadline_ms: 1_001,
                result: Ok(7),
                tries_ms: &[0, 1_000],
                end_ms: 1_000,
            },
            Row {
                name: "longer than there is time",
                answers: &[Err(ASKED)],
                deadline_ms: 1_000,
                result: failed(ASKED),
                tries_ms: &[0],
                end_ms: 0,
            },
        ]
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_tried_while_its_failure_is_passing_and_there_is_time() {
        for row in rows() {
            let clock = Clock::starting(Timestamp::EPOCH);
            let tries = Mutex::new(Vec::new());
            let deadline = Timestamp::from_millis(row.deadline_ms);
            let result = read(deadline, &clock, None, async || {
                let mut tries = tries.lock().unwrap();
                tries.push(clock.now().millis());
                row.answers[tries.len() - 1].map_err(Refused)
            });
            let result = result.await;
            check(&row, &result, &tries.lock().unwrap(), clock.now().millis());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_passing_is_not_tried_again() {
        let classes = [
            Class::Gone,
            Class::Conflict,
            Class::Mismatch,
            Class::Blocked,
            Class::Denied,
            Class::Final,
        ];
        for class in classes {
            let clock = Clock::starting(Timestamp::EPOCH);
            let tries = Mutex::new(0);
            let result: Result<(), _> =
                read(Timestamp::from_seconds(9), &clock, None, async || {
                    *tries.lock().unwrap() += 1;
                    Err(Refused(class))
                })
                .await;
            assert_eq!(result, Err(Failure::Call(Refused(class))));
            assert_eq!(*tries.lock().unwrap(), 1, "{class:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_tried_once() {
        let clock = Clock::starting(Timestamp::EPOCH);
        let tries = Mutex::new(0);
        let result: Result<(), _> = write(Timestamp::from_seconds(9), &clock, None, async || {
            *tries.lock().unwrap() += 1;
            Err(Refused(Class::Again))
        })
        .await;
        assert_eq!(result, Err(Failure::Call(Refused(Class::Again))));
        assert_eq!(*tries.lock().unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_deadline() {
        let clock = Clock::starting(Timestamp::EPOCH);
        let silent = async || std::future::pending::<Result<(), Refused>>().await;
        let deadline = Timestamp::from_millis(700);
        let read = read(deadline, &clock, None, silent).await;
        assert_eq!(read, Err(Failure::CutOff));
        assert_eq!(clock.now(), deadline);
        let write = write(Timestamp::from_millis(900), &clock, None, silent).await;
        assert_eq!(write.unwrap_err().why(), "no answer before the deadline");
        assert_eq!(clock.now(), Timestamp::from_millis(900));
    }

    #[tokio::test(start_paused = true)]
    async fn each_try_takes_a_token_and_a_throttle_slows_the_bucket() {
        let clock = Clock::starting(Timestamp::EPOCH);
        let bucket = Bucket::new(10.0, 1.0);
        let tries = Mutex::new(Vec::new());
        let result: Result<(), _> =
            read(Timestamp::from_seconds(9), &clock, Some(&bucket), async || {
                tries.lock().unwrap().push(clock.now().millis());
                Err(Refused(Class::Throttled(None)))
            })
            .await;
        assert_eq!(result, Err(Failure::Call(Refused(Class::Throttled(None)))));
        assert_eq!(*tries.lock().unwrap(), [0, 2_000, 4_000], "half a token a second");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_token_in_time_nothing_is_sent() {
        let clock = Clock::starting(Timestamp::EPOCH);
        let bucket = Bucket::new(1.0, 1.0);
        let tries = Mutex::new(0);
        let deadline = Timestamp::from_millis(500);
        let call = async || {
            *tries.lock().unwrap() += 1;
            Err::<(), _>(Refused(Class::Again))
        };
        let first = read(deadline, &clock, Some(&bucket), call).await;
        assert_eq!(first, Err(Failure::Call(Refused(Class::Again))), "why the first try failed");
        assert_eq!(*tries.lock().unwrap(), 1, "there was no token for a second");
        let second = write(deadline, &clock, Some(&bucket), call).await.unwrap_err();
        assert_eq!(second.class(), Class::Again);
        let told = "no time: its turn to call comes in 950 ms, the deadline in 450 ms";
        assert_eq!(second.why(), told);
        assert_eq!(*tries.lock().unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_deadline_nothing_is_sent() {
        let clock = Clock::starting(Timestamp::EPOCH);
        let tries = Mutex::new(0);
        let call = async || {
            *tries.lock().unwrap() += 1;
            Ok::<_, Refused>(())
        };
        let none = NoTime { wait: Duration::ZERO, left: Duration::ZERO };
        assert_eq!(write(clock.now(), &clock, None, call).await, Err(Failure::NotSent(none)));
        assert_eq!(read(clock.now(), &clock, None, call).await, Err(Failure::NotSent(none)));
        assert_eq!(*tries.lock().unwrap(), 0);
    }
}
