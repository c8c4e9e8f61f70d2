//! EKS: where a cluster's API server is, and the token that it knows us by.

use crate::error::{AnswerError, Call, CloudError};
use aws_sdk_eks::Client;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use decision::id::ClusterName;
use std::sync::Arc;

mod token;

pub use token::{BearerToken, TOKEN_VALID, token};

/// What is needed to connect to a cluster's API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterAccess {
    /// Its name.
    pub name: ClusterName,
    /// The API server's URL, `https://…eks.amazonaws.com`.
    pub endpoint: String,
    /// The certificates that sign the API server's, PEM. Changes when they are rotated.
    pub certificate_authority_pem: Vec<u8>,
}

/// DescribeCluster: how to connect to the cluster; `None` when there is none of that name in this
/// account and region. One that is still being created has no endpoint, which is an error.
pub async fn cluster(
    client: &Client,
    name: &ClusterName,
) -> Result<Option<ClusterAccess>, CloudError> {
    let call = Call::new("describe cluster", name);
    let answer = match client.describe_cluster().name(name.as_str()).send().await {
        Ok(answer) => answer,
        Err(error) => {
            let error = call.failed(error);
            // The code, not the class: a 404 from something in between says nothing of the cluster.
            let code = error.refusal().map(|refusal| refusal.code.as_str());
            return if code == Some("ResourceNotFoundException") { Ok(None) } else { Err(error) };
        }
    };
    let missing = |field| call.unreadable(AnswerError::Missing(field));
    let cluster = answer.cluster().ok_or_else(|| missing("cluster"))?;
    let endpoint = cluster.endpoint().ok_or_else(|| missing("endpoint"))?;
    let authority = cluster.certificate_authority().and_then(|authority| authority.data());
    let authority = authority.ok_or_else(|| missing("certificateAuthority.data"))?;
    let pem = STANDARD.decode(authority.trim());
    Ok(Some(ClusterAccess {
        name: name.clone(),
        endpoint: endpoint.to_owned(),
        certificate_authority_pem: pem
            .map_err(|error| call.unreadable(AnswerError::Body(Arc::new(error))))?,
    }))
}
