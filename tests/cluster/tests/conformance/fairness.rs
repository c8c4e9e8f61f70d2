//! API Priority and Fairness: at which level our requests wait. Only a real API server has it.

use crate::side::{Case, Of, On, Side};
use http::Request;
use kube::client::Body;

pub(crate) const CASES: &[Case] = &[Case {
    name: "our_user_is_in_global_default",
    on: On::Real,
    run: |side| Box::pin(level(side)),
}];

/// A user of EKS's access entries is no service account and in no group of the system's.
async fn level(side: &Side<'_>) {
    let Of::Real(control, _) = &side.of else { panic!("this is for real API servers") };
    let client = control.user("ebbtide", "ebbtide-drainers").expect("a client can be made");
    let request = Request::get("/api/v1/pods?limit=1").body(Body::empty()).expect("it is a path");
    let response = client.send(request).await.expect("the server answers");
    for (header, path) in [
        ("x-kubernetes-pf-flowschema-uid", "flowschemas"),
        ("x-kubernetes-pf-prioritylevel-uid", "prioritylevelconfigurations"),
    ] {
        let object = format!("/apis/flowcontrol.apiserver.k8s.io/v1/{path}/global-default");
        let uid = side.raw(&object).await["metadata"]["uid"].as_str().expect(path).to_owned();
        let found = response.headers().get(header).map(|value| value.to_str().unwrap_or_default());
        assert_eq!(found, Some(uid.as_str()), "{header}");
    }
}
