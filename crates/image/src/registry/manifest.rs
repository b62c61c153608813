//! Manifests and tags at a registry: raw bytes in, raw bytes out, digests checked. What they say is for `pull`.

use holm_spec::Digest;
use holm_spec::oci::image::media_type;
use serde::Deserialize;
use sha2::{Digest as _, Sha256, Sha512};

use super::error::{RegistryError, shown};
use super::session::{Session, Task};
use super::wire::{Payload, Reply};

/// *Units*: bytes. *Source*: the limit of docker, containerd and distribution.
pub const MANIFEST_MAX_BYTES: u64 = 4 << 20;
/// *Units*: bytes, of one page of tags.
const TAGS_MAX_BYTES: u64 = 8 << 20;
/// More tags than any person pulls at once.
const TAGS_MAX: usize = 100_000;

/// A manifest or index as the registry sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteManifest {
    /// The digest of `bytes`, by the algorithm that was asked for.
    pub digest: Digest,
    /// The `Content-Type`, without parameters; empty where there is none.
    pub media_type: String,
    /// The raw bytes.
    pub bytes: Vec<u8>,
}

#[derive(Deserialize)]
struct TagPage {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Session<'_> {
    /// Fetches a manifest by tag or digest and checks its digest over the raw bytes.
    pub fn manifest(&self, tag_or_digest: &str) -> Result<RemoteManifest, RegistryError> {
        let object = self.object(tag_or_digest);
        let address = self.address(&format!("manifests/{tag_or_digest}"));
        let headers = [("accept", accept())];
        let task = Task {
            verb: "pull",
            object: &object,
            method: "GET",
            address: &address,
            headers: &headers,
            payload: Payload::None,
            repeat: true,
        };
        let mut attempt = 0;
        let (reply_type, stated, bytes) = loop {
            let reply = self.perform(&task)?;
            if reply.status != 200 {
                return Err(self.status_error(&task, reply));
            }
            let (reply_type, stated) = (content_type(&reply), stated_digest(&reply));
            match reply.read_to_vec(MANIFEST_MAX_BYTES) {
                Ok(Some(bytes)) => break (reply_type, stated, bytes),
                Ok(None) => {
                    let why = format!("sends a manifest of over {MANIFEST_MAX_BYTES} bytes");
                    return Err(self.protocol(task.verb, &object, why));
                }
                Err(error) => {
                    attempt += 1;
                    if attempt >= self.options().max_attempts || self.is_aborted() {
                        return Err(self.broken(task.verb, &object, error));
                    }
                    self.pause(self.backoff(attempt, None))?;
                }
            }
        };
        let wanted = tag_or_digest.parse::<Digest>().ok().or(stated);
        let digest = digest_like(wanted.as_ref(), &bytes);
        match wanted {
            Some(expected) if expected != digest => {
                Err(RegistryError::Digest { object, registry: self.registry().to_owned(), expected, actual: digest })
            }
            _ => Ok(RemoteManifest { digest, media_type: reply_type, bytes }),
        }
    }

    /// Uploads a manifest under a tag or digest, with its own media type.
    pub fn put_manifest(&self, tag_or_digest: &str, media_type: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let object = self.object(tag_or_digest);
        let address = self.address(&format!("manifests/{tag_or_digest}"));
        let headers = [("content-type", media_type.to_owned())];
        let task = Task {
            verb: "push",
            object: &object,
            method: "PUT",
            address: &address,
            headers: &headers,
            payload: Payload::Bytes(bytes),
            repeat: true,
        };
        let reply = self.perform(&task)?;
        if matches!(reply.status, 200..=202) { Ok(()) } else { Err(self.status_error(&task, reply)) }
    }

    /// All tags of the repository, in the registry's order.
    pub fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let object = self.object("");
        let mut address = self.address("tags/list?n=1000");
        let mut tags: Vec<String> = Vec::new();
        loop {
            let task = Task {
                verb: "list the tags of",
                object: &object,
                method: "GET",
                address: &address,
                headers: &[],
                payload: Payload::None,
                repeat: true,
            };
            let reply = self.perform(&task)?;
            if reply.status != 200 {
                return Err(self.status_error(&task, reply));
            }
            let next = next_page(&reply);
            let body = reply.read_to_vec(TAGS_MAX_BYTES).map_err(|error| self.broken(task.verb, &object, error))?;
            let page: TagPage = body
                .and_then(|body| serde_json::from_slice(&body).ok())
                .ok_or_else(|| self.protocol(task.verb, &object, "sends a list of tags that is malformed".into()))?;
            let found = page.tags.unwrap_or_default();
            let progressed = !found.is_empty();
            tags.extend(found);
            if tags.len() > TAGS_MAX {
                let why = format!("lists over {TAGS_MAX} tags");
                return Err(self.protocol(task.verb, &object, why));
            }
            match next.filter(|_| progressed) {
                Some(next) => address = self.same_origin(&address, &next, &task)?,
                None => return Ok(tags),
            }
        }
    }

    /// `registry/repository[:tag|@digest]`, for errors.
    pub(super) fn object(&self, tag_or_digest: &str) -> String {
        let name = format!("{}/{}", self.registry(), self.repository());
        match tag_or_digest {
            "" => name,
            digest if digest.contains(':') => format!("{name}@{digest}"),
            tag => format!("{name}:{tag}"),
        }
    }

    fn same_origin(&self, base: &str, next: &str, task: &Task<'_>) -> Result<String, RegistryError> {
        let resolved = super::wire::resolve_location(base, next);
        let same = resolved.filter(|next| super::wire::Origin::of(next) == super::wire::Origin::of(base));
        let why = || format!("continues its list of tags at `{}`", shown(next));
        same.ok_or_else(|| self.protocol(task.verb, task.object, why()))
    }
}

fn accept() -> String {
    [media_type::OCI_INDEX, media_type::OCI_MANIFEST, media_type::DOCKER_INDEX, media_type::DOCKER_MANIFEST].join(", ")
}

fn content_type(reply: &Reply) -> String {
    reply.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default().trim().to_owned()
}

fn stated_digest(reply: &Reply) -> Option<Digest> {
    reply.header("docker-content-digest").and_then(|value| value.parse().ok())
}

/// The target of `Link: <…>; rel="next"`.
fn next_page(reply: &Reply) -> Option<String> {
    let link = reply.header("link")?;
    let (target, rest) = link.trim_start().strip_prefix('<')?.split_once('>')?;
    rest.contains("next").then(|| target.to_owned())
}

/// The digest of `bytes` by the algorithm of `like`, else SHA-256.
pub(crate) fn digest_like(like: Option<&Digest>, bytes: &[u8]) -> Digest {
    match like.map(Digest::algorithm) {
        Some(holm_spec::digest::Algorithm::Sha512) => Digest::sha512(&Sha512::digest(bytes).into()),
        _ => Digest::sha256(&Sha256::digest(bytes).into()),
    }
}
