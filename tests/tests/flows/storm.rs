//! All targets of a group at once: it keeps its floor as long as there is time, and is never empty while a target lives.

use crate::flow::{Flow, HOUR, MINUTE, SECOND};
use crate::sight::least;
use sandbox::aws::ec2::Purchase;
use sandbox::scenario::{Front, Host, Incident, Owner};

const NODES: usize = 12;

#[tokio::test(start_paused = true)]
async fn a_group_whose_targets_are_all_warned_at_once_keeps_its_floor_to_the_last_moment() {
    for owner in [Owner::Asg, Owner::Script] {
        let mut flow = Flow::interrupted()
            .with(|scenario| {
                scenario.hosts =
                    (0..NODES).map(|at| Host::in_zone(["a", "b", "c"][at % 3])).collect();
                scenario.fronts = vec![Front::new("web", 30_080, owner)];
                scenario.fronts[0].target_group.deregistration_delay_seconds = 20;
                let web = scenario.workloads.iter_mut().find(|work| work.name == "web");
                let web = web.unwrap();
                (web.replicas, web.pdb) =
                    (24, Some(sandbox::kubernetes::Budget::max_unavailable(6)));
                scenario.workloads.retain(|work| work.name == "web");
            })
            .group(|group| group.purchase = Purchase::Spot)
            .for_at_most(HOUR);
        for host in 0..NODES {
            flow = flow.befalls(host, SECOND, Incident::Spot).befalls(
                host,
                SECOND,
                Incident::ScaleOut,
            );
        }
        let past = flow.run().await;
        let group = &past.place.groups[0];
        let ends_at = (0..NODES).map(|host| past.died_at(host)).min().unwrap();
        assert!(ends_at >= 2 * MINUTE, "{ends_at}");
        // The settle time, the margin and what the pods need.
        let last_moment = SECOND + 2 * MINUTE - 70 * SECOND;
        let healthy = &past.seen.sight.healthy[group];
        let floor = least(healthy, (0, last_moment));
        assert!(floor >= NODES / 2, "{owner:?} {floor}\n{}", past.transcript());
        let fewest = least(healthy, (0, HOUR));
        assert!(fewest >= 1, "{owner:?}\n{}", past.transcript());
        past.nothing_was_dropped();
        past.no_message_is_left();
    }
}
