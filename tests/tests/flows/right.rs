//! A right that is missing is told, also where its lack costs no more than time.

use crate::flow::{Flow, MINUTE};
use sandbox::kubernetes::Budget;
use serde_json::Value;
use std::cell::RefCell;
use std::io;

thread_local! {
    /// What was logged on this thread, since it began to listen.
    static HEARD: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Writes to where a thread listens. A subscriber of one thread alone would not do: tracing remembers of each log line
/// whether anybody wants it, and other tests would have it remember that nobody does.
struct Heard;

impl io::Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        HEARD.with_borrow_mut(|heard| {
            if let Some(text) = heard {
                text.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_denied_is_told_once_in_a_slice() {
    let subscriber = tracing_subscriber::fmt().json().without_time().with_writer(|| Heard).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    HEARD.set(Some(Vec::new()));
    // Its budget holds the pod, so each slice waits for the budget, again and again.
    Flow::of_one_pod(|pod| pod.pdb = Some(Budget::min_available(1)))
        .at(0, |world, _| {
            let right = ("watch".to_owned(), "poddisruptionbudgets".to_owned());
            world.kubernetes.denied.insert(right);
        })
        .for_at_most(MINUTE)
        .run()
        .await;
    let text = String::from_utf8(HEARD.take().unwrap()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_closing = |line: &&Value| line["fields"]["message"] == "slice closed";
    // Each closing line is the last of its slice.
    let slices: Vec<&[Value]> = lines.split_inclusive(|line| is_closing(&line)).collect();
    let mut waits = Vec::new();
    for slice in slices {
        let is_told = |line: &&Value| line["fields"]["step"] == "watch pod disruption budgets";
        let told: Vec<&Value> = slice.iter().filter(is_told).collect();
        assert!(told.len() <= 1, "{told:#?}");
        for line in told {
            assert_eq!(line["level"], "WARN", "{line}");
            let message = line["fields"]["message"].as_str().unwrap();
            assert!(message.starts_with("a right is missing"), "{line}");
            let why = line["fields"]["error"].as_str().unwrap();
            assert!(why.contains(r#"cannot watch resource "poddisruptionbudgets""#), "{line}");
            let closing = slice.iter().find(is_closing).unwrap();
            waits.push(closing["fields"]["turns"].as_u64().unwrap() - 1);
        }
    }
    assert!(waits.len() >= 2 && waits.iter().all(|waits| *waits >= 2), "{waits:?}\n{text}");
}
