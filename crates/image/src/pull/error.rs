//! Why a pull failed, and what the person may do about it.

use crate::document::DocumentError;
use crate::reference::{ReferenceError, RegistriesError};
use crate::registry::RegistryError;
use crate::store::StoreError;

/// Why an image was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Not a policy.
    #[error("cannot use pull policy `{0}`: it is one of always, missing, newer, never")]
    Policy(String),
    /// The reference is malformed.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// registries.conf does not allow or cannot place it.
    #[error(transparent)]
    Resolve(#[from] RegistriesError),
    /// The registry did not give it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The store did not take it.
    #[error("cannot store image `{0}`")]
    Store(String, #[source] Box<StoreError>),
    /// A document of the registry is refused.
    #[error("cannot use `{0}`")]
    Document(String, #[source] DocumentError),
    /// No manifest fits.
    #[error("cannot pull `{reference}` for {wanted}: it is there for {available}")]
    NoPlatform {
        /// What was asked for.
        reference: String,
        /// The platform.
        wanted: String,
        /// Those that it is made for.
        available: String,
    },
    /// A manifest has another size than its index says.
    #[error("cannot use `{0}`: it has {1} bytes where its index says {2}")]
    Size(String, u64, u64),
    /// The policy forbids to ask a registry and the store has nothing.
    #[error("cannot find image `{0}` in the store, and the pull policy is never")]
    NotPresent(String),
    /// Several places were asked and none had it.
    #[error("cannot pull `{reference}`: {} places were tried:{}", .attempts.len(), listed(.attempts))]
    Everywhere {
        /// What was asked for.
        reference: String,
        /// Where, and why not.
        attempts: Vec<(String, PullError)>,
    },
    /// No thread could be started.
    #[error("cannot start a thread to pull `{0}`")]
    Thread(String, #[source] std::io::Error),
}

impl PullError {
    /// What the person may do about it, as one line, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::NoPlatform { .. } => Some("choose one with --platform os/architecture".to_owned()),
            Self::Document(_, DocumentError::SchemaVersion(1)) => {
                Some("the image is in docker's format of before 2017; push it again with a current tool".to_owned())
            }
            Self::NotPresent(_) => Some("give --pull=missing, or pull the image first".to_owned()),
            Self::Everywhere { attempts, .. } => attempts.iter().rev().find_map(|(_, error)| error.hint()),
            _ => None,
        }
    }

    /// Whether another place may do better.
    pub(super) fn is_about_the_place(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_about_this_registry(),
            Self::Document(..) | Self::NoPlatform { .. } | Self::Size(..) => true,
            Self::Store(_, error) => matches!(
                **error,
                StoreError::DigestMismatch { .. } | StoreError::DiffIdMismatch { .. } | StoreError::Document { .. }
            ),
            Self::Resolve(RegistriesError::Blocked(..)) => true,
            _ => false,
        }
    }

    pub(super) fn is_unreachable(&self) -> bool {
        match self {
            Self::Registry(RegistryError::Connection { .. } | RegistryError::Certificate { .. }) => true,
            Self::Registry(RegistryError::Status { status, .. }) => matches!(status, 429 | 500..=599),
            Self::Everywhere { attempts, .. } => attempts.iter().all(|(_, error)| error.is_unreachable()),
            _ => false,
        }
    }
}

fn listed(attempts: &[(String, PullError)]) -> String {
    let mut text = String::new();
    for (_, error) in attempts {
        text.push_str("\n  ");
        text.push_str(&error.to_string());
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
    }
    text
}
