//! The sandbox over HTTP and the mapping, on loopback and on real time: real clients, real processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod aws;
mod mapping;
mod token_review;

use std::thread;
use std::time::Duration;

/// Waiting for a process or a socket is waiting for an event, with a deadline: this many looks.
const LOOKS_MAX: u32 = 1_000;
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `done` says something.
#[track_caller]
fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS_MAX {
        if let Some(result) = done() {
            return result;
        }
        thread::sleep(LOOK);
    }
    panic!("{what}: not within {:?}", LOOK * LOOKS_MAX);
}
