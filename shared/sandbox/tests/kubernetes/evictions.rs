//! The eviction subresource, as FACTS.md section 9 measured it.

use crate::{add_web, call, evict, evict_with, in_cluster, pass, pod_path, ready_pods, uid, web};
use sandbox::kubernetes::{Budget, Kubernetes, UnhealthyPods, scenario::Probe};
use sandbox::kubernetes::{Request, Workload, WorkloadKind, serve};
use serde_json::{Value, json};

fn guarded(replicas: u32, budget: Budget) -> Workload {
    let mut work = web(replicas);
    work.pdb = Some(budget);
    work
}

#[test]
fn a_granted_eviction_says_success_and_terminates_the_pod() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(2));
        let (status, body) = evict(world, &pods[0], &json!({"gracePeriodSeconds": 9}));
        assert_eq!(status, 201);
        assert_eq!(
            body,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "code": 201})
        );
        let pod = world.kubernetes.pod("shop", &pods[0]).expect("it terminates");
        assert_eq!(pod.meta.deletion.map(|deletion| deletion.grace), Some(9));
        let why = pod.condition("DisruptionTarget").expect("the reason is noted");
        assert_eq!(why["reason"], "EvictionByEvictionAPI");
    });
}

#[test]
fn a_budget_refuses_in_these_very_words() {
    in_cluster(1, |world| {
        let pods = add_web(world, guarded(1, Budget::max_unavailable(0)));
        let (status, body) = evict(world, &pods[0], &json!({}));
        assert_eq!(status, 429);
        assert_eq!(
            body,
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "Cannot evict pod as it would violate the pod's disruption budget.",
                "reason": "TooManyRequests",
                "details": {"causes": [{"reason": "DisruptionBudget",
                    "message": "The disruption budget web needs 1 healthy pods and has 1 currently"}]},
                "code": 429})
        );
        assert!(world.kubernetes.removals.is_empty());
        assert_eq!(ready_pods(world), pods);
    });
}

#[test]
fn the_budget_is_asked_before_the_uid() {
    in_cluster(1, |world| {
        let pods = add_web(world, guarded(2, Budget::min_available(1)));
        let wrong = json!({"preconditions": {"uid": "another"}});
        // One disruption is left, so the uid is what is refused, and the disruption is spent all
        // the same.
        let (status, body) = evict(world, &pods[0], &wrong);
        assert_eq!((status, &body["reason"]), (409, &json!("Conflict")));
        let found = uid(world, &pods[0]);
        assert_eq!(
            body["message"],
            format!(
                "Operation cannot be fulfilled on Pod \"{}\": the UID in the precondition (another) does not match the UID in record ({found}). The object might have been deleted and then recreated",
                pods[0]
            )
        );
        assert_eq!(evict(world, &pods[0], &wrong).0, 429);
        let right = json!({"preconditions": {"uid": uid(world, &pods[1])}});
        assert_eq!(evict(world, &pods[1], &right).0, 429);
        // The controller gives it back when the pod has not begun to terminate after two minutes.
        pass(world, 119_000);
        assert_eq!(evict(world, &pods[1], &right).0, 429);
        pass(world, 3_000);
        assert_eq!(evict(world, &pods[1], &right).0, 201);
    });
}

#[test]
fn a_conflict_is_held_back_where_the_real_server_tries_it_again() {
    in_cluster(1, |world| {
        let running = add_web(world, web(1));
        let mut lost = Workload::new(WorkloadKind::Bare, "shop", "lost", 1);
        lost.node_selector = [("zone".to_owned(), "nowhere".to_owned())].into();
        let pending = Kubernetes::add_workload(world, lost);
        let uid = json!({"uid": "another"});
        let version = json!({"uid": "another", "resourceVersion": "1"});
        for (pod, preconditions, held) in
            [(&running[0], &uid, 0), (&pending[0], &uid, 9_970), (&pending[0], &version, 0)]
        {
            let body = json!({"metadata": {"name": pod}, "deleteOptions": {"preconditions": preconditions}});
            let request = Request {
                method: "POST".to_owned(),
                path: format!("{}/eviction", pod_path(pod)),
                body: body.to_string().into_bytes(),
                ..Request::default()
            };
            let response = serve(world, 7, &request);
            assert_eq!((response.status, response.held_ms), (409, held), "{pod} {preconditions}");
        }
    });
}

#[test]
fn an_unknown_field_is_ignored_and_so_is_the_uid_in_it() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(1));
        let body = json!({"delete_options": {"preconditions": {"uid": "another"}}});
        assert_eq!(evict_with(world, &pods[0], "", &body).0, 201);
    });
}

#[test]
fn the_name_in_the_body_must_be_the_one_in_the_path() {
    in_cluster(1, |world| {
        let pods = add_web(world, web(1));
        let body = json!({"metadata": {"name": "another"}});
        let (status, body) = evict_with(world, &pods[0], "", &body);
        assert_eq!(status, 400);
        assert_eq!(body["message"], "name in URL does not match name in Eviction object");
    });
}

#[test]
fn a_pod_that_is_gone_is_not_found() {
    in_cluster(1, |world| {
        let (status, body) = evict(world, "web-0", &json!({}));
        assert_eq!(status, 404);
        assert_eq!(body["reason"], "NotFound");
        assert_eq!(body["message"], "pods \"web-0\" not found");
        assert_eq!(body["details"], json!({"name": "web-0", "kind": "pods"}));
    });
}

#[test]
fn terminating_finished_and_pending_pods_pass_without_a_budget() {
    in_cluster(1, |world| {
        let pods = add_web(world, guarded(2, Budget::min_available(1)));
        assert_eq!(evict(world, &pods[0], &json!({})).0, 201);
        // The budget is exhausted now, but this one terminates already.
        assert_eq!(evict(world, &pods[0], &json!({})).0, 201);
        assert_eq!(evict(world, &pods[1], &json!({})).0, 429);
        assert_eq!(world.kubernetes.removals.len(), 1);

        let mut job = Workload::new(WorkloadKind::Job { run_ms: 100 }, "shop", "job", 1);
        job.pdb = Some(Budget::max_unavailable(0));
        let done = Kubernetes::add_workload(world, job);
        assert_eq!(evict(world, &done[0], &json!({})).0, 429);
        pass(world, 5_000);
        let pod = world.kubernetes.pod("shop", &done[0]);
        assert!(pod.is_none_or(|pod| pod.status["phase"] == "Succeeded"));
        assert_eq!(evict(world, &done[0], &json!({})).0, 201);
        assert!(world.kubernetes.pod("shop", &done[0]).is_none(), "a finished pod goes at once");

        let mut big = Workload::new(WorkloadKind::Deployment, "shop", "big", 1);
        big.node_selector.insert("gpu".to_owned(), "yes".to_owned());
        big.pdb = Some(Budget::max_unavailable(0));
        let waiting = Kubernetes::add_workload(world, big);
        assert_eq!(evict(world, &waiting[0], &json!({})).0, 201);
        assert!(world.kubernetes.pod("shop", &waiting[0]).is_none(), "it runs nowhere");
    });
}

#[test]
fn two_budgets_over_one_pod_are_an_internal_error() {
    in_cluster(1, |world| {
        let pods = add_web(world, guarded(2, Budget::min_available(0)));
        let labels = [("app".to_owned(), "web".to_owned())].into();
        Kubernetes::add_budget(world, "shop", "second", &labels, Budget::min_available(0));
        let (status, body) = evict(world, &pods[0], &json!({}));
        assert_eq!(status, 500);
        assert_eq!(
            body["message"],
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        );
    });
}

#[test]
fn an_unready_pod_needs_the_budget_only_where_too_few_others_are_healthy() {
    for (policy, unready, status) in [
        (UnhealthyPods::IfHealthyBudget, 1, 201),
        (UnhealthyPods::IfHealthyBudget, 2, 429),
        (UnhealthyPods::AlwaysAllow, 2, 201),
    ] {
        in_cluster(1, |world| {
            let budget = Budget { unhealthy: policy, ..Budget::min_available(2) };
            let pods = add_web(world, guarded(3, budget));
            for pod in pods.iter().take(unready) {
                Kubernetes::set_ready(world, "shop", pod, Probe::Fails);
            }
            pass(world, 1_000);
            let healthy = 3 - unready;
            assert_eq!(evict(world, &pods[0], &json!({})).0, status, "{policy:?} {healthy}");
        });
    }
}

#[test]
fn a_dry_run_reserves_nothing() {
    in_cluster(1, |world| {
        let pods = add_web(world, guarded(10, Budget::max_unavailable(1)));
        for pod in pods.iter().take(5) {
            assert_eq!(evict_with(world, pod, "?dryRun=All", &json!({})).0, 201);
            assert_eq!(evict(world, pod, &json!({"dryRun": ["All"]})).0, 201);
        }
        assert_eq!(ready_pods(world).len(), 10);
        assert!(world.kubernetes.removals.is_empty());
        assert_eq!(evict(world, &pods[0], &json!({})).0, 201);
        assert_eq!(evict_with(world, &pods[1], "?dryRun=All", &json!({})).0, 429);
    });
}

#[test]
fn a_granted_eviction_takes_its_disruption_at_once() {
    in_cluster(1, |world| {
        let pods = add_web(world, guarded(3, Budget::max_unavailable(1)));
        assert_eq!(evict(world, &pods[0], &json!({})).0, 201);
        let path = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web";
        let budget = crate::get(world, path);
        assert_eq!(budget["status"]["disruptionsAllowed"], 0);
        assert!(budget["status"]["disruptedPods"][&pods[0]].is_string());
        assert_eq!(evict(world, &pods[1], &json!({})).0, 429);
        // The controller sees it terminate, and counts two.
        pass(world, 100);
        let budget = crate::get(world, path);
        assert_eq!(budget["status"]["currentHealthy"], 2);
        assert_eq!(budget["status"]["disruptedPods"], Value::Null);
        // Its replacement turns Ready.
        pass(world, 10_000);
        assert_eq!(evict(world, &pods[1], &json!({})).0, 201);
    });
}

#[test]
fn a_mirror_pod_comes_back() {
    in_cluster(1, |world| {
        let work = Workload::new(WorkloadKind::Static, "shop", "proxy", 0);
        let pods = Kubernetes::add_workload(world, work);
        assert_eq!(pods.len(), 3);
        let before = uid(world, &pods[0]);
        assert_eq!(evict(world, &pods[0], &json!({})).0, 201);
        pass(world, 1_000);
        let after = uid(world, &pods[0]);
        assert_ne!(before, after);
        assert!(world.kubernetes.pod_serving(&after));
        let pod = crate::get(world, &pod_path(&pods[0]));
        assert!(pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string());
        assert_eq!(call(world, "GET", &pod_path(&pods[0]), &Value::Null).0, 200);
    });
}
