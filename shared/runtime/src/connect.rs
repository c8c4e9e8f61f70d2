//! The way to a cluster: DescribeCluster once, a client with a token that is always fresh, a breaker in front.

use crate::app::{App, Dial};
use crate::breaker::{Gate, Reach};
use crate::clock::Clock;
use crate::retry::{self, Classed as _};
use cloud::eks::{self, ClusterAccess};
use cloud::{Credentials, Region};
use cluster::{BoxError, ClusterError, Endpoint};
use decision::id::ClusterName;
use decision::time::Timestamp;
use http::HeaderValue;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The age at which a token is made anew. It is valid for 15 minutes by the server's clock. Twice: it would be refused.
/// Half: twice the signing, some 0.1 ms each.
const TOKEN_RENEWED_AFTER: Duration = Duration::from_secs(10 * 60);

/// What came of dialing a cluster; `Ok(None)` when EKS knows no such cluster.
pub(crate) type Dialed = Result<Option<kube::Client>, String>;

impl App {
    /// A client for the cluster; `Ok(None)` when EKS knows no such cluster; the reason when it can't be reached.
    pub(crate) async fn client(&self, name: &ClusterName, until: Timestamp) -> Dialed {
        if let Gate::Open(at) = self.kept.breakers.ask(name, self.clock.now()) {
            return Err(format!("it did not answer lately; tried again at {at}"));
        }
        if let Some(client) = self.kept.clients.get(name, self.clock.now()) {
            return Ok(Some(client));
        }
        // Once for all who ask at the same time, however it ends.
        let dialed = self.kept.dialing.get(name, self.dialed(name, until)).await;
        self.kept.dialing.forget(name);
        if let Ok(Some(client)) = &dialed {
            self.kept.clients.put(name.clone(), client.clone(), self.clock.now());
        }
        dialed
    }

    async fn dialed(&self, name: &ClusterName, until: Timestamp) -> Dialed {
        let call = || eks::cluster(&self.aws.eks, name);
        let access = retry::read(until, &self.clock, None, call).await;
        let Some(access) = access.map_err(|error| error.why())? else { return Ok(None) };
        (self.dial)(&access).map(Some).map_err(|error| error.why())
    }

    /// Tells the breaker what a call says about the way to its cluster. A TLS failure may mean a new CA: the cluster is
    /// described anew.
    pub(crate) fn note_reach<T>(&self, name: &ClusterName, answer: &Result<T, ClusterError>) {
        self.kept.breakers.record(name, Reach::of(answer), self.clock.now());
        if answer.as_ref().is_err_and(ClusterError::is_tls) {
            self.kept.clients.forget(name);
        }
    }
}

/// Dials over TLS with an EKS token that is renewed in time.
pub fn dial_eks(
    clock: Clock,
    region: Region,
    credentials: Credentials,
    sts_host: Option<String>,
) -> Dial {
    Arc::new(move |access: &ClusterAccess| {
        let endpoint = Endpoint {
            url: access.endpoint.clone(),
            ca_pem: access.certificate_authority_pem.clone(),
        };
        let tokens = Tokens {
            cluster: access.name.clone(),
            clock: clock.clone(),
            region: region.clone(),
            credentials: credentials.clone(),
            sts_host: sts_host.clone(),
            last: Mutex::new(None),
        };
        cluster::dial(&endpoint, Arc::new(move || tokens.header()))
    })
}

/// Bearer tokens of one cluster, made offline.
struct Tokens {
    cluster: ClusterName,
    clock: Clock,
    region: Region,
    credentials: Credentials,
    sts_host: Option<String>,
    last: Mutex<Option<(Timestamp, HeaderValue)>>,
}

impl Tokens {
    fn header(&self) -> Result<HeaderValue, BoxError> {
        let now = self.clock.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_at, header)) = last.as_ref() {
            // By wall time, since an environment may have been frozen; a clock set back makes a new one too.
            if *made_at <= now && now.since(*made_at) < TOKEN_RENEWED_AFTER {
                return Ok(header.clone());
            }
        }
        let host = self.sts_host.as_deref();
        let token = eks::token(
            &self.cluster,
            &self.region,
            &self.credentials,
            self.clock.system_time(),
            host,
        )?;
        let mut header = HeaderValue::try_from(format!("Bearer {}", token.expose()))?;
        header.set_sensitive(true);
        *last = Some((now, header.clone()));
        Ok(header)
    }
}
