//! How this server comes to a broker: who it is, whom it trusts, and in words of its own what is in the way.
//!
//! No text from here has a password: the client is given URLs without.

use std::io;
use std::time::Duration;

use async_nats::rustls::RootCertStore;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::{ConnectErrorKind, ConnectOptions, Server};

use super::store::SUBJECT;
use super::{ClusterConfig, Login};
use crate::limits::CLUSTER_UNREAD_MESSAGES;

/// After what time a broker that does not answer is taken for gone: twice this.
const PING: Duration = Duration::from_secs(2);

/// Whether a broker can be told this, as the text of a file of credentials.
pub fn are_credentials(text: &str) -> bool {
    ConnectOptions::new().credentials(text).is_ok()
}

/// Whether this is PEM with certificates in it, one at least.
pub fn are_certificates(pem: &[u8]) -> bool {
    let mut store = RootCertStore::empty();
    let all_fit = CertificateDer::pem_slice_iter(pem).all(|found| found.is_ok_and(|found| store.add(found).is_ok()));
    all_fit && !store.is_empty()
}

/// Whether there is a private key in this PEM.
pub fn has_key(pem: &[u8]) -> bool {
    PrivateKeyDer::from_pem_slice(pem).is_ok()
}

/// What the client is to do.
///
/// # Errors
/// When the credentials are none.
pub(super) fn options(config: &ClusterConfig) -> io::Result<ConnectOptions> {
    // Brokers tell of others without a scheme, so that of one URL must hold for all.
    let has_files = config.ca.is_some() || config.certificate.is_some();
    let is_secret = has_files || config.servers.iter().any(|url| url.starts_with("tls://"));
    let mut options = ConnectOptions::new()
        .name(format!("cowchat {}", config.node))
        .retry_on_initial_connect()
        .no_echo()
        .subscription_capacity(CLUSTER_UNREAD_MESSAGES)
        .ping_interval(PING)
        .require_tls(is_secret);
    options = match config.login.clone() {
        Some(Login::User(user, password)) => options.user_and_password(user, password),
        Some(Login::Token(token)) => options.token(token),
        Some(Login::Credentials(text)) => options.credentials(&text)?,
        None => options,
    };
    if let Some(path) = &config.ca {
        options = options.add_root_certificates(path.clone());
    }
    if let Some(path) = &config.certificate {
        options = options.add_client_certificate(path.clone(), path.clone());
    }
    Ok(options)
}

/// What keeps this server from these brokers: the last error of each that has one.
pub(super) fn in_the_way(brokers: &[Server]) -> Option<String> {
    let told =
        |broker: &Server| Some(format!("{}: {}", broker.addr.as_url_str(), in_words(broker.last_error.as_ref()?)));
    let told: Vec<String> = brokers.iter().filter_map(told).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// The client counts no attempt whose name has no address, and tells its kind only.
pub(super) fn of_a_name(error: &str) -> Option<String> {
    (error == ConnectErrorKind::Dns.to_string()).then(|| "the name of a NATS server has no address".to_owned())
}

/// Whether a broker allows this server no messages, to its users or of them. With the store alone they would seem to be sent.
pub(super) fn forbids_messages(error: &str) -> bool {
    error.contains("Permissions Violation") && error.contains(&format!("\"{SUBJECT}"))
}

/// An error of the client, with what to do about it where that is known.
pub(super) fn in_words(error: &str) -> &str {
    let is_about = |what: &str| error.contains(what);
    match error {
        _ if is_about("UnknownIssuer") => "its certificate is not trusted: give that of its issuer by --cluster-ca",
        _ if is_about("CaUsedAsEndEntity") => {
            "its certificate is one of an issuer: give it one that an issuer has signed"
        }
        _ if is_about("certificate expired") => "its certificate has expired",
        _ if is_about("CertificateRequired") || is_about("BadCertificate") => {
            "it does not take this server's certificate, or wants one: give that by --cluster-certificate"
        }
        _ if is_about("InvalidContentType") => "it has no TLS, which tls:// and --cluster-ca ask for",
        _ if is_about("authorization violation") => {
            "it refuses the user, password, token or credentials, or wants some"
        }
        _ if is_about("jetstream unavailable") || is_about("error code 10039") => {
            "the NATS server has no JetStream: start it with -js, or enable it for this server's account"
        }
        _ if is_about("error code 10074") => {
            "one NATS server keeps one copy: leave out --cluster-replicas, or give it a cluster of NATS servers"
        }
        _ if is_about("error code 10005") => {
            "too few NATS servers for --cluster-replicas: give at most as many copies as there are of them"
        }
        _ => error.strip_prefix("IO error: ").unwrap_or(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_not_taken_for_one() {
        let header = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".as_slice();
        let key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".as_slice();
        for pem in [b"".as_slice(), b"moo", b"-----BEGIN CERTIFICATE-----\n", header, key] {
            assert!(!are_certificates(pem), "{}", String::from_utf8_lossy(pem));
            assert_eq!(has_key(pem), pem == key);
        }
        assert!(!are_credentials("") && !are_credentials("moo"));
    }
}
