//! The way to a cluster: DescribeCluster once, a client with a token that is always fresh, a breaker in front.

use crate::app::{App, Dial};
use crate::breaker::{Gate, Reach};
use crate::clock::Clock;
use crate::retry::{self, Classed as _};
use cloud::eks::{self, ClusterAccess};
use cloud::{Credentials, Region};
use cluster::{Bearer, BoxError, ClusterError, Endpoint};
use decision::id::ClusterName;
use decision::time::Timestamp;
use http::HeaderValue;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The age at which a token is made anew. It is valid for 15 minutes by the server's clock. Twice: it would be refused.
/// Half: twice the signing, some 0.1 ms each.
const TOKEN_RENEWED_AFTER: Duration = Duration::from_secs(10 * 60);

/// A refused token that is younger is handed out all the same: signatures count whole seconds, so another one would not
/// differ. Twice: one second more of requests that are refused. Half: the same token is signed again.
const TOKEN_KEPT_FOR: Duration = Duration::from_secs(1);

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
        if let Err(failure) = &access {
            self.kept.denied.read(Some(name), failure);
        }
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
        let tokens = Arc::new(tokens);
        let refused = Arc::clone(&tokens);
        let bearer = Bearer {
            header: Arc::new(move || tokens.header()),
            refused: Arc::new(move |header| refused.refuse(header)),
        };
        cluster::dial(&endpoint, bearer)
    })
}

/// Bearer tokens of one cluster, made offline.
struct Tokens {
    cluster: ClusterName,
    clock: Clock,
    region: Region,
    credentials: Credentials,
    sts_host: Option<String>,
    last: Mutex<Option<Token>>,
}

/// A token that was made.
struct Token {
    made_at: Timestamp,
    header: HeaderValue,
    /// The API server answered 401 to it.
    is_refused: bool,
}

impl Tokens {
    fn header(&self) -> Result<HeaderValue, BoxError> {
        let now = self.clock.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Token { made_at, header, is_refused }) = last.as_ref() {
            // By wall time, since an environment may have been frozen; a clock set back makes a new one too.
            let good_for = if *is_refused { TOKEN_KEPT_FOR } else { TOKEN_RENEWED_AFTER };
            if *made_at <= now && now.since(*made_at) < good_for {
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
        *last = Some(Token { made_at: now, header: header.clone(), is_refused: false });
        Ok(header)
    }

    /// The API server answered 401 to this header: the next request signs anew. Others that went out with it may be
    /// refused when a new one is in use already: that one stays.
    fn refuse(&self, refused: &HeaderValue) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = last.as_mut().filter(|token| token.header == *refused) {
            token.is_refused = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens of a cluster on tokio's paused clock.
    fn tokens() -> Tokens {
        Tokens {
            cluster: ClusterName::parse("shop").unwrap(),
            clock: Clock::starting(Timestamp::from_seconds(1_795_348_800)),
            region: Region::from_static("eu-west-1"),
            credentials: cloud::clients::credentials("AKIAEBBTIDE", "secret", None),
            sts_host: None,
            last: Mutex::new(None),
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_made_anew_after_ten_minutes() {
        let tokens = tokens();
        let first = tokens.header().unwrap();
        pass(599).await;
        assert_eq!(tokens.header().unwrap(), first);
        pass(1).await;
        assert_ne!(tokens.header().unwrap(), first);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_followed_by_one_new_one() {
        let tokens = tokens();
        let first = tokens.header().unwrap();
        pass(5).await;
        tokens.refuse(&first);
        let second = tokens.header().unwrap();
        assert_ne!(second, first);
        pass(5).await;
        tokens.refuse(&first);
        assert_eq!(tokens.header().unwrap(), second, "a late refusal is about the old one");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_always_refused_signs_once_a_second() {
        let tokens = tokens();
        let mut made = std::collections::BTreeSet::new();
        for _ in 0..30 {
            let header = tokens.header().unwrap();
            tokens.refuse(&header);
            made.insert(header.to_str().unwrap().to_owned());
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!(made.len(), 3, "in three seconds");
    }
}
