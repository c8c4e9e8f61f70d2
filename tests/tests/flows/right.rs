//! A right that is missing is told, also where its lack costs no more than time.

use crate::flow::{Flow, MINUTE};
use sandbox::kubernetes::Budget;
use serde_json::Value;
use std::cell::RefCell;
use std::io;
use std::sync::Once;

thread_local! {
    /// What was logged on this thread, since it began to listen.
    static HEARD: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// The node of the instance that comes in place of the one that leaves.
const REPLACEMENT: &str = "ip-10-0-0-5.";

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

/// All that a flow of one pod logged, whose function lacks this right: slice by slice.
async fn slices(verb: &str, resource: &str, pdb: Option<Budget>) -> Vec<Vec<Value>> {
    static LISTENS: Once = Once::new();
    LISTENS.call_once(|| {
        let format = tracing_subscriber::fmt().json().without_time();
        let subscriber = format.with_writer(|| Heard).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    HEARD.set(Some(Vec::new()));
    let right = (verb.to_owned(), resource.to_owned());
    Flow::of_one_pod(|pod| pod.pdb = pdb)
        .at(0, move |world, _| {
            world.kubernetes.denied.insert(right.clone());
        })
        .for_at_most(MINUTE)
        .run()
        .await;
    let text = String::from_utf8(HEARD.take().unwrap()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Each closing line is the last of its slice.
    lines.split_inclusive(is_closing).map(<[Value]>::to_vec).collect()
}

fn is_closing(line: &Value) -> bool {
    line["fields"]["message"] == "slice closed"
}

/// Holds the lines about this step to what is to be said: at most one in a slice, with the reason. Returns how many turns
/// each slice had that has one.
fn told(slices: &[Vec<Value>], (step, level): (&str, &str), why: &str) -> Vec<u64> {
    let mut turns = Vec::new();
    for slice in slices {
        let told: Vec<&Value> = slice
            .iter()
            .filter(|line| line["fields"]["step"] == step)
            // Its replacement arrives meanwhile, in another process.
            .filter(|line| !line["fields"]["error"].as_str().unwrap().contains(REPLACEMENT))
            .collect();
        assert!(told.len() <= 1, "{told:#?}");
        for line in told {
            assert_eq!(line["level"], level, "{line}");
            let message = line["fields"]["message"].as_str().unwrap();
            assert!(message.starts_with("a right is missing"), "{line}");
            assert!(line["fields"]["error"].as_str().unwrap().contains(why), "{line}");
            let closing = slice.iter().find(|line| is_closing(line)).unwrap();
            turns.push(closing["fields"]["turns"].as_u64().unwrap());
        }
    }
    turns
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_denied_is_told_once_in_a_slice() {
    // Its budget holds the pod, so each slice waits for the budget, again and again.
    let budget = Some(Budget::min_available(1));
    let slices = slices("watch", "poddisruptionbudgets", budget).await;
    let step = ("watch pod disruption budgets", "WARN");
    let turns = told(&slices, step, r#"cannot watch resource "poddisruptionbudgets""#);
    assert!(turns.len() >= 2 && turns.iter().all(|turns| *turns >= 3), "{turns:?}\n{slices:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_denied_is_told_once_in_a_slice() {
    for (verb, resource, step) in [("list", "pods", "list pods"), ("get", "nodes", "get node")] {
        let slices = slices(verb, resource, None).await;
        let turns =
            told(&slices, (step, "ERROR"), &format!(r#"cannot {verb} resource "{resource}""#));
        let many = turns.iter().filter(|turns| **turns >= 2).count();
        assert!(turns.len() >= 2 && many >= 2, "{step}: {turns:?}\n{slices:#?}");
    }
}
