//! etcd and kube-apiserver, and what else runs beside them.

use crate::certificate::{Authority, Pair};
use crate::client::{Credential, dial};
use crate::error::StartError;
use crate::process::{Folder, Process, free_ports};
use crate::tools::{Tools, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use rcgen::KeyPair;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a program may take to be ready: seconds on an idle machine. Halved, a busy one with two cores fails.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How long until it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How long one question may take, so that a port that accepts and says nothing does not end the asking.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How often a start is tried in all: a port that was free a moment ago may be somebody else's by then.
const STARTS_MAX: usize = 3;

/// A user whom the API server knows by a fixed token.
#[derive(Clone, Debug)]
pub struct TokenUser {
    /// The bearer token.
    pub token: String,
    /// Its user.
    pub name: String,
    /// The user's groups.
    pub groups: Vec<String>,
}

/// What kind of control plane is wanted.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Of which minor version.
    pub version: Version,
    /// Who may come with a token. (Certificates can be had at any time: [`ControlPlane::user`].)
    pub tokens: Vec<TokenUser>,
    /// The URL (`http://` or `https://`) of an authentication webhook, which other tokens are shown to as TokenReviews.
    pub webhook: Option<String>,
    /// More flags for kube-apiserver, as `--name=value`.
    pub flags: Vec<String>,
}

impl Setup {
    /// A control plane of this version with nothing special.
    pub fn new(version: Version) -> Self {
        Self { version, tokens: Vec::new(), webhook: None, flags: Vec::new() }
    }
}

/// A running control plane. Dropping it ends it.
#[derive(Debug)]
pub struct ControlPlane {
    // Processes before the folder: they are dropped first, and their files are still there.
    others: Mutex<Vec<Process>>,
    api: Mutex<Option<Process>>,
    etcd: Mutex<Process>,
    etcd_url: String,
    port: u16,
    pub(crate) tools: Tools,
    setup: Setup,
    servers: Authority,
    clients: Authority,
    arguments: Vec<String>,
    pub(crate) files: Folder,
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver, and returns when the latter says that it is ready.
    pub async fn start(tools: &Tools, setup: Setup) -> Result<Self, StartError> {
        for _ in 1..STARTS_MAX {
            match Self::start_once(tools, setup.clone()).await {
                Err(StartError::Ended { log, .. }) if log.contains("address already in use") => {}
                result => return result,
            }
        }
        Self::start_once(tools, setup).await
    }

    async fn start_once(tools: &Tools, setup: Setup) -> Result<Self, StartError> {
        let folder = Folder::new()?;
        let [port, client, peer] = free_ports()?;
        let (etcd_url, peer_url) =
            (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let etcd = etcd(tools, &folder, &etcd_url, &peer_url)?;
        let mut control = Self {
            others: Mutex::default(),
            api: Mutex::default(),
            etcd: Mutex::new(etcd),
            etcd_url,
            port,
            tools: tools.clone(),
            setup,
            servers: Authority::new("kubernetes")?,
            clients: Authority::new("clients")?,
            arguments: Vec::new(),
            files: folder,
        };
        control.arguments = control.write_files()?;
        control.start_api().await?;
        Ok(control)
    }

    /// `https://127.0.0.1:34567`; stays the same when it is started again.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate that the server's own is signed by, as EKS hands it out.
    pub fn ca_pem(&self) -> &str {
        self.servers.certificate_pem()
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Result<kube::Client, StartError> {
        self.user("admin", "system:masters")
    }

    /// A client of this user in this group; `system:authenticated` is added by the server.
    pub fn user(&self, name: &str, group: &str) -> Result<kube::Client, StartError> {
        let pair = self.clients.client(name, &[group])?;
        dial(&self.url(), self.ca_pem(), &Credential::Certificate(pair))
    }

    /// A client that shows this token.
    pub fn bearer(&self, token: &str) -> Result<kube::Client, StartError> {
        dial(&self.url(), self.ca_pem(), &Credential::Token(token.to_owned()))
    }

    /// Stops kube-apiserver, as an upgrade does; its connections break.
    pub fn stop_api(&self) {
        let running = self.api().take();
        if let Some(api) = running {
            api.stop();
        }
    }

    /// Starts kube-apiserver (again) at the same port with the same data.
    pub async fn start_api(&self) -> Result<(), StartError> {
        self.stop_api();
        let program = self.tools.kubernetes(self.setup.version, "kube-apiserver");
        let api = Process::start("kube-apiserver", &program, &self.arguments, self.files.path())?;
        *self.api() = Some(api);
        self.until_ready().await
    }

    /// Another authority signs what the server shows from now on, as after a rotation in EKS. Whoever trusts the former
    /// [`ControlPlane::ca_pem`] fails in TLS; the server runs on, and so do open connections. Controllers, scheduler and kwok
    /// trust what was there when they were started.
    pub async fn rotate(&mut self) -> Result<(), StartError> {
        self.servers = Authority::new("kubernetes")?;
        self.write_server_files()?;
        self.until_ready().await
    }

    /// etcd forgets all versions but the latest, as it does every five minutes.
    ///
    /// What kube-apiserver has in its own cache it still serves: [`ControlPlane::start_api`] empties that.
    pub async fn compact(&self) -> Result<(), StartError> {
        let key = STANDARD.encode("/");
        let answer = self.ask_etcd("/v3/kv/range", &json!({"key": key, "keys_only": true})).await?;
        let revision = answer["header"]["revision"].clone();
        let body = json!({"revision": revision, "physical": true});
        self.ask_etcd("/v3/kv/compaction", &body).await.map(drop)
    }

    /// Where its logs, keys and data are; gone with it.
    pub fn folder(&self) -> &Path {
        self.files.path()
    }

    /// Fails when one of its programs has ended by itself.
    pub fn check(&self) -> Result<(), StartError> {
        self.etcd().check()?;
        self.others().iter_mut().try_for_each(Process::check)?;
        self.api().as_mut().map_or(Ok(()), Process::check)
    }

    /// The last lines of kube-apiserver's log.
    pub fn log_tail(&self) -> String {
        self.api().as_ref().map(Process::tail).unwrap_or_default()
    }

    /// Starts kube-controller-manager with these controllers (`disruption`, …; `*` for the default ones).
    pub fn start_controllers(&self, controllers: &[&str]) -> Result<(), StartError> {
        let [port] = free_ports()?;
        // One user for all controllers: each with an account of its own, they would need the controller of accounts.
        let config = self.kubeconfig("kube-controller-manager", "system:masters")?;
        let ca = self.files.write("root-ca.crt", self.ca_pem())?;
        let key = self.files.path().join("accounts.key").display().to_string();
        let arguments = [
            format!("--kubeconfig={config}"),
            format!("--controllers={}", controllers.join(",")),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
            // By default 20 a second: two thousand pods would be made for minutes.
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
            "--use-service-account-credentials=false".to_owned(),
            format!("--root-ca-file={ca}"),
            format!("--service-account-private-key-file={key}"),
        ];
        let program = self.tools.kubernetes(self.setup.version, "kube-controller-manager");
        self.beside(Process::start(
            "kube-controller-manager",
            &program,
            &arguments,
            self.files.path(),
        )?);
        Ok(())
    }

    /// Starts kube-scheduler.
    pub fn start_scheduler(&self) -> Result<(), StartError> {
        let [port] = free_ports()?;
        let config = self.kubeconfig("system:kube-scheduler", "")?;
        let arguments = [
            format!("--kubeconfig={config}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ];
        let program = self.tools.kubernetes(self.setup.version, "kube-scheduler");
        let folder = self.files.path();
        self.beside(Process::start("kube-scheduler", &program, &arguments, folder)?);
        Ok(())
    }

    /// Keeps a process for as long as the control plane.
    pub(crate) fn beside(&self, process: Process) {
        self.others().push(process);
    }

    /// Writes a kubeconfig for this user (no group if empty) and returns its path. YAML reads JSON.
    pub fn kubeconfig(&self, user: &str, group: &str) -> Result<String, StartError> {
        let groups: &[&str] = if group.is_empty() { &[] } else { &[group] };
        let Pair { certificate_pem, key_pem } = self.clients.client(user, groups)?;
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.url(),
                "certificate-authority-data": STANDARD.encode(self.ca_pem())}}],
            "users": [{"name": "u", "user": {
                "client-certificate-data": STANDARD.encode(certificate_pem),
                "client-key-data": STANDARD.encode(key_pem)}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
        self.files.write(&format!("{}.kubeconfig", user.replace(':', "-")), &config.to_string())
    }

    /// Waits until the server says that it is ready, under the present authority's certificate.
    async fn until_ready(&self) -> Result<(), StartError> {
        let by = Instant::now() + READY_WITHIN;
        let mut last = String::new();
        while Instant::now() < by {
            self.check()?;
            // Each time anew: a connection that is open would not show a new certificate.
            let client = self.admin()?;
            let asked = Request::get("/readyz").body(Vec::new());
            let asked = asked.map_err(|error| StartError::Tls(Box::new(error)))?;
            match tokio::time::timeout(ANSWER_WITHIN, client.request_text(asked)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => "no answer".clone_into(&mut last),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Err(self
            .api()
            .as_ref()
            .map_or_else(|| self.etcd().late(last.clone()), |api| api.late(last.clone())))
    }

    // Whoever panicked with one of these in hand left it whole.
    fn api(&self) -> MutexGuard<'_, Option<Process>> {
        self.api.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others(&self) -> MutexGuard<'_, Vec<Process>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn etcd(&self) -> MutexGuard<'_, Process> {
        self.etcd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask_etcd(&self, path: &str, body: &Value) -> Result<Value, StartError> {
        let http =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                .build_http();
        let client = kube::Client::new(http, "default");
        let request = Request::post(format!("{}{path}", self.etcd_url))
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|error| StartError::Tls(Box::new(error)))?;
        client.request(request).await.map_err(StartError::refused(format!("ask etcd for {path}")))
    }

    fn write_server_files(&self) -> Result<[String; 2], StartError> {
        let pair = self.servers.server()?;
        // The server reads both again until they fit each other.
        Ok([
            self.files.write("server.crt", &pair.certificate_pem)?,
            self.files.write("server.key", &pair.key_pem)?,
        ])
    }

    /// Writes what kube-apiserver reads and returns its arguments.
    fn write_files(&self) -> Result<Vec<String>, StartError> {
        let [certificate, key] = self.write_server_files()?;
        let accounts = KeyPair::generate().map_err(StartError::Certificate)?;
        let accounts_key = self.files.write("accounts.key", &accounts.serialize_pem())?;
        let accounts_public = self.files.write("accounts.pub", &accounts.public_key_pem())?;
        let clients = self.files.write("clients.crt", self.clients.certificate_pem())?;
        let mut arguments = vec![
            format!("--etcd-servers={}", self.etcd_url),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            // There is no address but loopback, which may not stand in the Endpoints of `kubernetes`.
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--tls-cert-file={certificate}"),
            format!("--tls-private-key-file={key}"),
            format!("--client-ca-file={clients}"),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-signing-key-file={accounts_key}"),
            format!("--service-account-key-file={accounts_public}"),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--allow-privileged=true".to_owned(),
        ];
        if !self.setup.tokens.is_empty() {
            let lines: Vec<String> = self.setup.tokens.iter().map(token_line).collect();
            let path = self.files.write("tokens.csv", &lines.join("\n"))?;
            arguments.push(format!("--token-auth-file={path}"));
        }
        if let Some(url) = &self.setup.webhook {
            let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "w",
                "clusters": [{"name": "w", "cluster": {"server": url}}],
                "users": [{"name": "w", "user": {}}],
                "contexts": [{"name": "w", "context": {"cluster": "w", "user": "w"}}]});
            let path = self.files.write("webhook.kubeconfig", &config.to_string())?;
            arguments.push(format!("--authentication-token-webhook-config-file={path}"));
            arguments.push("--authentication-token-webhook-version=v1".to_owned());
        }
        arguments.extend(self.setup.flags.iter().cloned());
        Ok(arguments)
    }
}

/// A line of the token file; the groups are one quoted field.
fn token_line(user: &TokenUser) -> String {
    let TokenUser { token, name, groups } = user;
    format!("{token},{name},{name},\"{}\"", groups.join(","))
}

fn etcd(tools: &Tools, folder: &Folder, url: &str, peer_url: &str) -> Result<Process, StartError> {
    let arguments = [
        format!("--data-dir={}", folder.path().join("etcd").display()),
        // Nothing here must survive a power cut, and on slow disks this is most of the time.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peer_url}"),
        format!("--initial-advertise-peer-urls={peer_url}"),
        format!("--initial-cluster=default={peer_url}"),
    ];
    Process::start("etcd", &tools.etcd(), &arguments, folder.path())
}
