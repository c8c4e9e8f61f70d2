//! Our own events: whoever asked for them hears of each departure's beginning, of what blocks it, and of its end.

use crate::flow::{Flow, HOUR, MINUTE, SECOND};
use crate::past::Past;
use sandbox::fault::{Fault, Scope};
use sandbox::kubernetes::{Budget, Workload, WorkloadKind};
use sandbox::scenario::Incident;
use serde_json::Value;

const BUS: &str = "ebbtide-news";

/// Titles and details of what was told about host 0.
fn told(past: &Past) -> Vec<(String, Value)> {
    let all = past.told(BUS);
    assert!(all.iter().all(|put| put.refused.is_none() && put.source == "ebbtide"), "{all:#?}");
    let read = all
        .iter()
        .map(|put| (put.detail_type.clone(), serde_json::from_str::<Value>(&put.detail).unwrap()));
    let about = &past.machine(0).instance;
    read.filter(|(_, detail)| detail["instance"] == about.as_str()).collect()
}

fn titles(told: &[(String, Value)]) -> Vec<&str> {
    told.iter().map(|(title, _)| title.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_departure_is_told_when_it_begins_and_when_it_ends() {
    let past = Flow::interrupted()
        .telling(BUS)
        .befalls(0, SECOND, Incident::Spot)
        .for_at_most(2 * HOUR)
        .run()
        .await;
    let told = told(&past);
    let titles = titles(&told);
    assert_eq!(titles.first(), Some(&"Departure Begun"), "{titles:?}");
    assert!(titles.contains(&"Departure Ended"), "{titles:?}");
    assert_eq!(titles.iter().filter(|title| **title == "Departure Begun").count(), 1, "{titles:?}");
    assert!(!titles.contains(&"Departure Blocked"), "{titles:?}");
    let (_, begun) = &told[0];
    assert_eq!(begun["node"], past.machine(0).node.as_str(), "{begun:#}");
    assert!(begun["deadline"].is_string() || begun["deadline"].is_number(), "{begun:#}");
}

#[tokio::test(start_paused = true)]
async fn what_blocks_a_departure_is_told_with_its_page() {
    let past = Flow::without_fronts()
        .telling(BUS)
        .with(|scenario| {
            scenario.hosts.truncate(1);
            let pdb = Some(Budget::max_unavailable(0));
            let lone = Workload::new(WorkloadKind::Deployment, "default", "lone", 1);
            scenario.workloads = vec![Workload { pdb, ..lone }];
        })
        .replaces([0])
        .for_at_most(20 * MINUTE)
        .run()
        .await;
    let told = told(&past);
    let blocked = told.iter().find(|(title, _)| title == "Departure Blocked");
    let (_, detail) = blocked.unwrap_or_else(|| panic!("{told:#?}"));
    let page = detail["page"].as_str().unwrap();
    assert!(page.contains("BLOCKED") && page.contains("default/lone"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_in_observe_nor_without_a_bus() {
    let spot = || Flow::interrupted().befalls(0, SECOND, Incident::Spot).for_at_most(HOUR);
    for flow in [spot().telling(BUS).setting("MODE", "observe"), spot()] {
        let past = flow.run().await;
        let told = &past.world().aws.events.put;
        assert!(told.is_empty(), "{told:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_refuses_costs_the_departure_nothing() {
    let past = Flow::interrupted()
        .telling(BUS)
        .outage(Scope::operation("PutEvents"), (0, HOUR), Fault::ServerError)
        .befalls(0, SECOND, Incident::Spot)
        .for_at_most(HOUR)
        .run()
        .await;
    past.all_pods_were_removed(0);
    past.nothing_was_dropped();
    past.no_message_is_left();
}
