//! The HTTP client of production: hyper over rustls with ring, HTTP/1.1, the system's root certificates.
//!
//! Written out instead of taken from aws-smithy-http-client, which brings HTTP/2 that neither AWS's endpoints nor we
//! need: half a megabyte of binary. It is the same stack that `cluster` uses, so both link one copy of it.

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::Arc;
use std::time::Duration;

/// Builds the client; makes no connection. Connections are pooled in it, so build it once.
pub(crate) fn client(connect_timeout: Duration, pool_idle_timeout: Duration) -> SharedHttpClient {
    let mut tcp = Tcp::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_timeout));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(trust())
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(pool_idle_timeout)
        .build(https);
    let wire = SharedHttpConnector::new(Wire { client });
    http_client_fn(move |_, _| wire.clone())
}

/// A TLS configuration that trusts what the system trusts. Where nothing can be read it trusts nobody: each call then
/// fails by name, and one to a plain endpoint works.
fn trust() -> rustls::ClientConfig {
    let builder = || {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        rustls::ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .expect("ring has the suites of TLS 1.2 and 1.3")
    };
    let nobody = |_| builder().with_root_certificates(rustls::RootCertStore::empty());
    builder().with_native_roots().unwrap_or_else(nobody).with_no_client_auth()
}

/// hyper as the SDK calls it.
#[derive(Debug)]
struct Wire {
    client: Client<HttpsConnector<Tcp>, SdkBody>,
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.client.clone();
        HttpConnectorFuture::new(async move {
            let request =
                request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            // Whatever breaks on the way: nobody has answered, and another try may work.
            let answer =
                client.request(request).await.map_err(|error| ConnectorError::io(error.into()))?;
            let answer = answer.map(SdkBody::from_body_1_x);
            HttpResponse::try_from(answer)
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}
