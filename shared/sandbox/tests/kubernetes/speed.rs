use crate::*;
#[test]
fn speed() {
    let t = std::time::Instant::now();
    let n = 200;
    let (mut writes, mut calls, mut bytes) = (0, 0, 0usize);
    for seed in 0..n {
        in_cluster(seed, |world| {
            for k in 4..=6 { Kubernetes::add_node(world, NodeSpec::new(&format!("ip-10-0-1-{k}"), &format!("i-{k}"), "eu-west-1b")); }
            let mut pods = Vec::new();
            for i in 0..5 {
                let mut w = Workload::new(WorkloadKind::Deployment, "shop", &format!("w{i}"), 5);
                w.pdb = Some(sandbox::kubernetes::Budget::max_unavailable(1));
                pods.extend(Kubernetes::add_workload(world, w));
                Kubernetes::add_service(world, ServiceSpec::new("shop", &format!("w{i}"), 30080 + i));
            }
            Kubernetes::add_workload(world, Workload::new(WorkloadKind::DaemonSet, "kube-system", "ds", 0));
            Kubernetes::add_workload(world, Workload::new(WorkloadKind::Static, "kube-system", "proxy", 0));
            cordon(world, NODES[0]);
            cordon(world, NODES[1]);
            for _ in 0..35 {
                for node in [NODES[0], NODES[1]] {
                    let l = get(world, &format!("/api/v1/pods?fieldSelector=spec.nodeName={node}"));
                    bytes += l.to_string().len();
                    let p = l["items"].as_array().unwrap().iter().find(|p| p["metadata"]["namespace"] == "shop" && p["metadata"]["deletionTimestamp"].is_null()).map(|p| p["metadata"]["name"].as_str().unwrap().to_owned());
                    if let Some(p) = p { evict(world, &p, &json!({})); }
                }
                let _ = call(world, "GET", "/apis/policy/v1/poddisruptionbudgets", &Value::Null);
                pass(world, 2000);
            }
            writes += world.kubernetes.resource_version(); calls += world.calls.len();
        });
    }
    println!("{:?} per world, writes {} calls {} bytes {}", t.elapsed() / n as u32, writes / n, calls / n as usize, bytes / n as usize);
}
