//! The bearer token of an EKS cluster: a presigned request to STS, wrapped.
//!
//! The API server (aws-iam-authenticator in it) unwraps the URL, checks its form, and sends it to STS,
//! which tells whose signature it is. So no call is made here and no permission is needed: a token is
//! made offline, and a wrong one is found out only when the API server answers 401.

use crate::error::{Call, CloudError};
use crate::partition::dns_suffix;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use aws_types::region::Region;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use decision::id::ClusterName;
use std::fmt;
use std::time::{Duration, SystemTime};

/// How long the API server takes a token, from the moment it was made: 15 minutes, whatever
/// `X-Amz-Expires` says. Renew it a minute earlier.
pub const TOKEN_VALID: Duration = Duration::from_secs(15 * 60);

/// `X-Amz-Expires` as aws-iam-authenticator's own client sends it. The server takes 0 to 900 s and
/// does not use it.
const EXPIRES: Duration = Duration::from_secs(60);

/// The header that binds a token to one cluster; it must be signed.
const CLUSTER_HEADER: &str = "x-k8s-aws-id";

/// A token for one cluster. Secret: Debug shows only the length.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

impl BearerToken {
    /// The token itself, for the `Authorization` header and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "BearerToken({} characters)", self.0.len())
    }
}

/// Makes a token for a cluster, valid from `now` (to the second) for [`TOKEN_VALID`]. `sts_host` is the
/// host to name in place of the region's, such as a FIPS one; the API server refuses hosts that are
/// not STS's.
pub fn token(
    cluster: &ClusterName,
    region: &Region,
    credentials: &Credentials,
    now: SystemTime,
    sts_host: Option<&str>,
) -> Result<BearerToken, CloudError> {
    let call = Call::new("sign token for cluster", cluster);
    let host = match sts_host {
        Some(host) => host.to_owned(),
        None => format!("sts.{region}.{}", dns_suffix(region.as_ref())),
    };
    let url = format!("https://{host}/?Action=GetCallerIdentity&Version=2011-06-15");

    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(EXPIRES);
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region.as_ref())
        .name("sts")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| call.unsent(error))?
        .into();
    let headers = [(CLUSTER_HEADER, cluster.as_str())].into_iter();
    let request = SignableRequest::new("GET", &url, headers, SignableBody::empty());
    let signed = sign(request.map_err(|error| call.unsent(error))?, &params);
    let (instructions, _) = signed.map_err(|error| call.unsent(error))?.into_parts();

    let mut request = http::Request::get(&url).body(()).map_err(|error| call.unsent(error))?;
    instructions.apply_to_request_http1x(&mut request);
    let url = request.uri().to_string();
    Ok(BearerToken(format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(url))))
}
