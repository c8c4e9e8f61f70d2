//! Requests to the API server as plain JSON, by somebody who may do everything.

use crate::error::SystemError;
use http::{Method, Request};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long it takes until it is asked again.
const LOOK: Duration = Duration::from_millis(200);

/// A client that may do everything. It belongs to the runtime that it is used in first.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Api")
    }
}

impl Api {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// Reads an object or a list.
    pub async fn get(&self, path: &str) -> Result<Value, SystemError> {
        self.ask((Method::GET, path), ("application/json", Vec::new())).await
    }

    /// Creates an object.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, SystemError> {
        self.ask((Method::POST, path), ("application/json", body.to_string().into_bytes())).await
    }

    /// Creates an object that is written as YAML.
    pub async fn post_yaml(&self, path: &str, body: &str) -> Result<Value, SystemError> {
        self.ask((Method::POST, path), ("application/yaml", body.as_bytes().to_vec())).await
    }

    /// Replaces an object.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, SystemError> {
        self.ask((Method::PUT, path), ("application/json", body.to_string().into_bytes())).await
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value, SystemError> {
        let kind = "application/merge-patch+json";
        self.ask((Method::PATCH, path), (kind, body.to_string().into_bytes())).await
    }

    /// Deletes an object.
    pub async fn delete(&self, path: &str) -> Result<Value, SystemError> {
        self.ask((Method::DELETE, path), ("application/json", Vec::new())).await
    }

    /// Looks until it is so; what was seen last is in the error.
    pub async fn until(
        &self,
        path: &str,
        within: Duration,
        so: impl Fn(&Value) -> bool,
    ) -> Result<Value, SystemError> {
        let by = Instant::now() + within;
        loop {
            let found = self.get(path).await;
            match found {
                Ok(found) if so(&found) => return Ok(found),
                found if Instant::now() >= by => {
                    let seen = found.map_or_else(|why| why.to_string(), |seen| seen.to_string());
                    return Err(SystemError::Late(format!(
                        "{path}: not within {within:?}: {seen}"
                    )));
                }
                _ => sleep(LOOK).await,
            }
        }
    }

    async fn ask(
        &self,
        (method, path): (Method, &str),
        (kind, body): (&str, Vec<u8>),
    ) -> Result<Value, SystemError> {
        let what = format!("{method} {path}");
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let answer = self.client.request(request.body(body)?).await;
        answer.map_err(|source| SystemError::Refused { what, source: Box::new(source) })
    }
}
