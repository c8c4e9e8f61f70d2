//! A right that is missing is told, also where its lack costs no more than time.

use crate::flow::{Flow, MINUTE};
use sandbox::kubernetes::Budget;
use serde_json::Value;
use std::io;
use std::sync::{Arc, Mutex};

/// What a subscriber wrote.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_denied_is_told_once_in_a_slice() {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    let logs = tracing::subscriber::set_default(subscriber);
    // Its budget holds the pod, so each slice waits for the budget, again and again.
    let past = Flow::of_one_pod(|pod| pod.pdb = Some(Budget::min_available(1)))
        .at(0, |world, _| {
            let right = ("watch".to_owned(), "poddisruptionbudgets".to_owned());
            world.kubernetes.denied.insert(right);
        })
        .for_at_most(MINUTE)
        .run()
        .await;
    drop(logs);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<&Value> = lines
        .iter()
        .filter(|line| line["fields"]["step"] == "watch pod disruption budgets")
        .collect();
    for line in &told {
        assert_eq!(line["level"], "WARN", "{line}");
        let message = line["fields"]["message"].as_str().unwrap();
        assert!(message.starts_with("a right is missing"), "{line}");
        let why = line["fields"]["error"].as_str().unwrap();
        assert!(why.contains(r#"cannot watch resource "poddisruptionbudgets""#), "{line}");
    }
    let slices = usize::try_from(past.world().invocations).unwrap();
    assert!((2..=slices).contains(&told.len()), "{} times in {slices} slices\n{text}", told.len());
    let closed = lines.iter().filter(|line| line["fields"]["message"] == "slice closed");
    let turns: u64 = closed.filter_map(|line| line["fields"]["turns"].as_u64()).sum();
    assert!(
        turns >= 2 * u64::try_from(told.len()).unwrap(),
        "it waits more often: {turns}\n{text}"
    );
}
