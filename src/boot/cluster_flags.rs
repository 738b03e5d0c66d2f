//! The flags of a cluster, checked together, and the files that they name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{self, FileError};
use crate::bridge::{ClusterConfig, Login, access};
use crate::cli::ClusterArgs;
use crate::cluster::lease::Times;
use crate::limits::{CLUSTER_FILE_BYTES_MAX, CORES_MAX};

/// What is wrong with them; each says what to change.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum ClusterFlagsError {
    #[error("--{given} is given without --{lacking}: give both")]
    Lacking { given: &'static str, lacking: &'static str },
    #[error("--cluster-renew {renew:?} is too long for --cluster-ttl {ttl:?}: give at most a third of it")]
    RenewsTooSeldom { renew: Duration, ttl: Duration },
    #[error("--cluster needs the place of a core: give --cores {} at most", CORES_MAX - 1)]
    NoRoomForBridge,
    #[error("the URLs of --cluster have different users, passwords or tokens: give one in all of them")]
    SeveralLogins,
    #[error("there is a user or a token in the URLs of --cluster, and --cluster-credentials: give one of them")]
    TwoLogins,
    #[error("the file of --{flag}, {path}, {error}", path = .path.display())]
    File { flag: &'static str, path: PathBuf, error: UnfitError },
}

/// Why a file does not fit its flag; the text continues a sentence after its path.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each text says it")]
pub enum UnfitError {
    #[error(transparent)]
    Unread(#[from] FileError),
    #[error("has no certificates: give PEM, which begins with -----BEGIN CERTIFICATE-----")]
    NoCertificates,
    #[error("has no certificate with its key: give both as PEM, in any order")]
    NoKey,
    #[error("has no NATS credentials: give a file as nsc writes it, with -----BEGIN NATS USER JWT-----")]
    NoCredentials,
}

/// How this server is part of a cluster, if it is, with this many cores.
pub(super) fn cluster(args: &ClusterArgs, cores: usize) -> Result<Option<ClusterConfig>, ClusterFlagsError> {
    // Not by clap, which knows nothing of what a file sets.
    let files = [
        ("cluster-credentials", &args.cluster_credentials),
        ("cluster-ca", &args.cluster_ca),
        ("cluster-certificate", &args.cluster_certificate),
    ];
    if let Some((given, _)) = files.iter().find(|(_, file)| args.cluster.is_empty() && file.is_some()) {
        return Err(ClusterFlagsError::Lacking { given, lacking: "cluster" });
    }
    let node = match &args.node {
        Some(node) if !args.cluster.is_empty() => node.clone(),
        Some(_) => return Err(ClusterFlagsError::Lacking { given: "node", lacking: "cluster" }),
        None if !args.cluster.is_empty() => {
            return Err(ClusterFlagsError::Lacking { given: "cluster", lacking: "node" });
        }
        None => return Ok(None),
    };
    if cores >= CORES_MAX {
        return Err(ClusterFlagsError::NoRoomForBridge);
    }
    let times = Times { ttl: args.cluster_ttl, renew: args.cluster_renew };
    if times.renew > times.ttl / 3 {
        return Err(ClusterFlagsError::RenewsTooSeldom { renew: times.renew, ttl: times.ttl });
    }
    if let Some(path) = &args.cluster_ca {
        let are_fit = |pem: &[u8]| access::are_certificates(pem);
        check(path, are_fit, UnfitError::NoCertificates).map_err(|error| unfit("cluster-ca", path, error))?;
    }
    if let Some(path) = &args.cluster_certificate {
        let are_fit = |pem: &[u8]| access::are_certificates(pem) && access::has_key(pem);
        check(path, are_fit, UnfitError::NoKey).map_err(|error| unfit("cluster-certificate", path, error))?;
    }
    Ok(Some(ClusterConfig {
        servers: args.cluster.iter().map(|url| url.server.clone()).collect(),
        node,
        login: login(args)?,
        ca: args.cluster_ca.clone(),
        certificate: args.cluster_certificate.clone(),
        times,
        replicas: args.cluster_replicas,
    }))
}

/// Who this server is to all brokers: the client has one login for those of the URLs and those that they tell of.
fn login(args: &ClusterArgs) -> Result<Option<Login>, ClusterFlagsError> {
    let mut logins: Vec<_> = args.cluster.iter().map(|url| &url.login).collect();
    logins.dedup();
    let of_urls = match logins.as_slice() {
        [] | [None] => None,
        [Some((user, Some(password)))] => Some(Login::User(user.clone(), password.clone())),
        [Some((token, None))] => Some(Login::Token(token.clone())),
        _ => return Err(ClusterFlagsError::SeveralLogins),
    };
    let Some(path) = &args.cluster_credentials else { return Ok(of_urls) };
    if of_urls.is_some() {
        return Err(ClusterFlagsError::TwoLogins);
    }
    let text = read_credentials(path).map_err(|error| unfit("cluster-credentials", path, error))?;
    Ok(Some(Login::Credentials(text)))
}

fn check(path: &Path, is_fit: impl Fn(&[u8]) -> bool, unfit: UnfitError) -> Result<(), UnfitError> {
    let pem = files::read(path, CLUSTER_FILE_BYTES_MAX)?;
    if is_fit(&pem) { Ok(()) } else { Err(unfit) }
}

fn read_credentials(path: &Path) -> Result<String, UnfitError> {
    let text = String::from_utf8(files::read(path, CLUSTER_FILE_BYTES_MAX)?).ok();
    text.filter(|text| access::are_credentials(text)).ok_or(UnfitError::NoCredentials)
}

fn unfit(flag: &'static str, path: &Path, error: UnfitError) -> ClusterFlagsError {
    ClusterFlagsError::File { flag, path: path.to_owned(), error }
}
