//! A client for any user. Unlike the product's own it has no limit on how long an answer takes: some of the real
//! server's answers take ten seconds, and tests look at those too.

use crate::certificate::Pair;
use crate::error::StartError;
use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::rt::TokioExecutor;
use kube::client::Body;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// Who a client says it is.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The user and the group of a client certificate.
    Certificate(Pair),
    /// Whoever the server knows by this bearer token.
    Token(String),
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A client for the server at `url` (`https://127.0.0.1:6443`) that trusts `ca_pem` alone. It belongs to the runtime
/// that it is used in first.
pub fn dial(url: &str, ca_pem: &str, who: &Credential) -> Result<kube::Client, StartError> {
    let base: Uri = url.parse().map_err(|error| StartError::Tls(Box::new(error)))?;
    let token = match who {
        Credential::Certificate(_) => None,
        Credential::Token(token) => Some(bearer(token).map_err(StartError::Tls)?),
    };
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(trust(ca_pem, who).map_err(StartError::Tls)?)
        .https_only()
        .enable_http1()
        .build();
    let http =
        hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(https);
    let service = tower::service_fn(move |mut request: Request<Body>| {
        let (http, base, token) = (http.clone(), base.clone(), token.clone());
        async move {
            let path = request.uri().path_and_query().cloned();
            let mut parts = base.into_parts();
            parts.path_and_query = path.or(Some(PathAndQuery::from_static("/")));
            *request.uri_mut() = Uri::from_parts(parts)?;
            if let Some(token) = token {
                request.headers_mut().insert(AUTHORIZATION, token);
            }
            http.request(request).await.map_err(Failed::from)
        }
    });
    Ok(kube::Client::new(service, "default"))
}

fn bearer(token: &str) -> Result<HeaderValue, Failed> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn trust(ca_pem: &str, who: &Credential) -> Result<ClientConfig, Failed> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(match who {
        Credential::Token(_) => config.with_no_client_auth(),
        Credential::Certificate(pair) => {
            let chain = CertificateDer::pem_slice_iter(pair.certificate_pem.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes())?;
            config.with_client_auth_cert(chain.collect::<Result<_, _>>()?, key)?
        }
    })
}
