use ebbtide::stage::{Deployment, function};
use sandbox::aws::autoscaling::*; use sandbox::aws::elbv2::*; use sandbox::aws::sqs::*; use sandbox::aws::events::*; use sandbox::aws::eks::Eks;
use sandbox::kubernetes::*;
use sandbox::traffic::{Entry, Route, Traffic};
use sandbox::Sandbox;
fn main() {
    let rt = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    rt.block_on(async {
        let s = Sandbox::new(7, 1_795_339_800_000);
        let (policy, web);
        {
            let mut w = s.world(); let w = &mut *w;
            Eks::add(w, "shop", "https://shop.example", "LS0tLS1CRUdJTi0tLS0t");
            web = Elb::add_target_group(w, TargetGroupSpec { name: "web".into(), port: 30080, deregistration_delay_seconds: 60, ..Default::default() });
            let api = Elb::add_target_group(w, TargetGroupSpec { name: "api".into(), port: 30081, deregistration_delay_seconds: 60, ..Default::default() });
            Autoscaling::add_group(w, AsgSpec { name: "workers".into(), desired: 3, tags: [("ebbtide.dev/managed".into(), "true".into()), ("kubernetes.io/cluster/shop".into(), "owned".into())].into(), target_groups: vec![web.clone()], hooks: vec![HookSpec{name:"ebbtide-terminate".into(), heartbeat_seconds: 300, ..Default::default()}], ..Default::default() });
            for i in 0..3 {
                let id = format!("i-0a1b2c3d4e5f6071{i}");
                Autoscaling::add_instance(w, "workers", &id, "eu-west-1a");
                let dns = w.aws.ec2.instances[&id].private_dns.clone();
                Kubernetes::add_node(w, NodeSpec::new(&dns, &id, "eu-west-1a"));
                Elb::add_healthy(w, &web, &id, 30080);
                Elb::add_healthy(w, &api, &id, 30081);
            }
            let mut web_w = Workload::new(WorkloadKind::Deployment, "shop", "web", 4);
            web_w.pdb = Some(Budget::max_unavailable(1));
            Kubernetes::add_workload(w, web_w);
            Kubernetes::add_workload(w, Workload::new(WorkloadKind::Deployment, "shop", "api", 6));
            Kubernetes::add_workload(w, Workload::new(WorkloadKind::DaemonSet, "kube-system", "aws-node", 1));
            Kubernetes::add_service(w, ServiceSpec::new("shop", "web", 30080));
            Kubernetes::add_service(w, ServiceSpec::new("shop", "api", 30081));
            for (g, n, p) in [("web","web",30080),("api","api",30081)] {
                Traffic::open(w, Route { group: g.into(), rate_per_second: 100.0, namespace: "shop".into(), service: n.into(), entry: Entry::Cluster, port: p, request_ms: 200 });
            }
            Sqs::add_queue(w, QueueSpec { name: "dlq".into(), visibility_seconds: 30, max_receives: 0, dead_letter: None, retention_seconds: 1_209_600 });
            Sqs::add_queue(w, QueueSpec { name: "q".into(), visibility_seconds: 90, max_receives: 1000, dead_letter: Some("dlq".into()), retention_seconds: 1_209_600 });
            EventBridge::add_rule(w, "q", &[]);
            let vars = std::collections::BTreeMap::from([("MODE", "act".to_owned()), ("TARGET_GROUPS", api.clone())]);
            policy = decision::policy::Policy::parse(|k| vars.get(k).cloned()).unwrap();
        }
        let d = Deployment { policy, queue: "q".into(), dead_letter: "dlq".into(), batch: 10, concurrency: 2 };
        let f = [function(&s, "lifecycle", &d)];
        if std::env::args().nth(1).is_some() { tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init(); }
        s.run_until(s.now() + 5_000).await;
        let start = s.now();
        Autoscaling::terminate(&mut s.world(), "i-0a1b2c3d4e5f60711", Capacity::Keep);
        sandbox::lambda::drive(&s, &f, s.now() + 600_000, |_| false).await;
        let w = s.world();
        for (at, line) in &w.story { println!("{:>7.1}s {line}", (*at - start) as f64 / 1000.0); }
        for c in &w.calls { println!("{:>8.2}s p{} {} {} {}", (c.at - start) as f64 / 1000.0, c.process, c.status, c.operation, c.subject); }
        for r in w.traffic.reports() { println!("{r:?}"); }
        println!("{:?}", w.violations); println!("{:?}", w.aws.autoscaling.actions);
    });
}
