//! What can go wrong with a registry, in words for the person who has to act.

use std::path::PathBuf;

use holm_spec::Digest;

use super::CredentialError;

/// Cause of an error, of whatever crate.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection, or it broke.
    #[error("cannot {verb} `{object}`: the connection to registry `{registry}` failed")]
    Connection {
        /// What was being done.
        verb: &'static str,
        /// To what.
        object: String,
        /// The registry.
        registry: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// The registry's certificate is not trusted.
    #[error("cannot trust registry `{registry}`: its certificate is not valid")]
    Certificate {
        /// The registry.
        registry: String,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// A file of authorities or client certificates cannot be used.
    #[error("cannot use certificate file `{}`", path.display())]
    CertificateFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// The registry wants other or any credentials.
    #[error("cannot {verb} `{object}`: registry `{registry}` refuses access ({status}){detail}")]
    Refused {
        /// What was being done.
        verb: &'static str,
        /// To what.
        object: String,
        /// The registry.
        registry: String,
        /// 401 or 403.
        status: u16,
        /// The registry's own words, with `: ` before them.
        detail: String,
        /// Whether credentials were sent.
        logged_in: bool,
    },
    /// There is nothing by that name.
    #[error("cannot {verb} `{object}`: registry `{registry}` has no such thing (404){detail}")]
    NotFound {
        /// What was being done.
        verb: &'static str,
        /// To what.
        object: String,
        /// The registry.
        registry: String,
        /// The registry's own words, with `: ` before them.
        detail: String,
    },
    /// Any other status.
    #[error("cannot {verb} `{object}`: registry `{registry}` answered {status}{detail}")]
    Status {
        /// What was being done.
        verb: &'static str,
        /// To what.
        object: String,
        /// The registry.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// The registry's own words, with `: ` before them.
        detail: String,
    },
    /// An answer that the protocol does not allow.
    #[error("cannot {verb} `{object}`: registry `{registry}` {why}")]
    Protocol {
        /// What was being done.
        verb: &'static str,
        /// To what.
        object: String,
        /// The registry.
        registry: String,
        /// What it did.
        why: String,
    },
    /// Content that is not what its digest says.
    #[error("cannot use `{object}` from registry `{registry}`: its digest is `{actual}`, not `{expected}`")]
    Digest {
        /// What was fetched.
        object: String,
        /// The registry.
        registry: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// What was received could not be written, or what was to be sent could not be read.
    #[error("cannot {verb} `{object}`: local input or output failed")]
    Local {
        /// What was being done.
        verb: &'static str,
        /// To what.
        object: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Stored credentials cannot be read or written.
    #[error("cannot use the stored credentials for registry `{registry}`")]
    Credential {
        /// The registry.
        registry: String,
        /// The cause.
        #[source]
        source: CredentialError,
    },
    /// Another part of the same operation failed, so this one was stopped.
    #[error("cannot go on: the operation was stopped")]
    Aborted,
}

impl RegistryError {
    /// What the person may do about it, as one line, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            // Many registries, Docker Hub first, answer so for what does not exist.
            Self::Refused { registry, verb: "pull", logged_in: false, .. } => {
                Some(format!("check the name and tag; if the repository is private: holm login {registry}"))
            }
            Self::Refused { registry, logged_in: false, .. } => Some(format!("holm login {registry}")),
            Self::Refused { registry, status: 401, .. } => {
                Some(format!("the stored credentials are not accepted; holm login {registry}"))
            }
            Self::Refused { .. } => Some("the account has no right to this repository".to_owned()),
            Self::NotFound { registry, .. } => {
                Some(format!("check the name and tag; if the repository is private: holm login {registry}"))
            }
            Self::Certificate { registry, .. } => Some(format!(
                "put the registry's CA into /etc/containers/certs.d/{registry}/ca.crt, or give --tls-verify=false"
            )),
            Self::Connection { registry, source, .. } if source.to_string().contains("speaks plain HTTP") => {
                Some(format!("if `{registry}` is meant to be plain HTTP: --tls-verify=false"))
            }
            Self::Status { status: 429, registry, .. } => {
                Some(format!("the registry limits the rate; wait, or holm login {registry}"))
            }
            _ => None,
        }
    }

    /// Whether another mirror or search registry may still have what was asked for.
    pub fn is_about_this_registry(&self) -> bool {
        !matches!(self, Self::Aborted | Self::Local { .. })
    }
}

/// Text of a registry made fit for an error line: escaped, at most some 300 characters.
pub(super) fn shown(text: &str) -> String {
    text.escape_default().take(300).collect::<String>().replace("\\\"", "\"").replace("\\'", "'")
}
