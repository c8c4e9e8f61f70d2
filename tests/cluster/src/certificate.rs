//! Certificates: one authority signs what servers show, another whom clients claim to be.

use crate::error::StartError;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate with its key, both as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key, PKCS #8.
    pub key_pem: String,
}

/// Who signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Authority {
    /// A new one of this name, with a key of its own.
    pub fn new(name: &str) -> Result<Self, StartError> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().map_err(StartError::Certificate)?;
        let certificate = params.self_signed(&key).map_err(StartError::Certificate)?;
        let certificate_pem = certificate.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem })
    }

    /// Its own certificate, which others trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// What a server on loopback shows.
    pub fn server(&self) -> Result<Pair, StartError> {
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
        let params = CertificateParams::new(names).map_err(StartError::Certificate)?;
        self.sign(params, "kube-apiserver", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// What a client shows: the API server takes its common name for the user, its organizations for the groups.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Pair, StartError> {
        let mut params = CertificateParams::default();
        match groups {
            [] => {}
            [group] => params.distinguished_name.push(DnType::OrganizationName, *group),
            // A name holds one organization at most here, and nobody of ours needs two groups by certificate.
            _ => {
                let source = std::io::Error::other(format!("{user}: more than one group"));
                return Err(StartError::System { what: "make certificate".to_owned(), source });
            }
        }
        self.sign(params, user, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Pair, StartError> {
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(StartError::Certificate)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(StartError::Certificate)?;
        Ok(Pair { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}
