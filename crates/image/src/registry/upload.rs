//! Uploading one blob: asked for first, mounted where another repository has it, else sent whole or in chunks.
//!
//! ```text
//! HEAD blobs/DIGEST                       200 -> already there
//! POST blobs/uploads/?mount=DIGEST&from=R 201 -> mounted; 202 -> goes on at Location
//! POST blobs/uploads/                     202 -> Location
//! PUT  Location&digest=DIGEST (the bytes) 201 -> sent;    405, 411, 413, 416, 501 -> in chunks:
//! PATCH Location (a chunk) …, PUT Location&digest=DIGEST
//! ```
//!
//! *Source*: OCI distribution-spec, "Pushing blobs".

use std::cell::Cell;
use std::fs::File;

use holm_spec::Digest;

use super::error::RegistryError;
use super::session::{Session, Task, is_transient};
use super::token::push_pair;
use super::wire::{Payload, Reply};

/// *Units*: bytes. Above every registry's smallest chunk and below the body limits of the proxies before them.
const CHUNK_BYTES: u64 = 32 << 20;
/// *Units*: bytes. A registry that wants chunks larger than this has to do without.
const CHUNK_MAX_BYTES: u64 = 1 << 30;

/// A blob to be sent.
#[derive(Debug)]
pub struct BlobSource<'a> {
    /// Its digest.
    pub digest: &'a Digest,
    /// Its size.
    pub size_bytes: u64,
    /// Its bytes, from the start of the file.
    pub file: &'a File,
}

/// How a blob came to be at the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// It was there.
    AlreadyThere,
    /// It was mounted from this other repository.
    Mounted(String),
    /// It was sent.
    Sent,
}

impl Session<'_> {
    /// Brings a blob to the repository. `sent` is told of bytes as they go out, each only once.
    pub fn push_blob(
        &self,
        source: &BlobSource<'_>,
        mount_from: &[String],
        sent: &dyn Fn(u64),
    ) -> Result<Uploaded, RegistryError> {
        let object = self.object(source.digest.as_str());
        if self.has_remote_blob(source.digest, &object)? {
            return Ok(Uploaded::AlreadyThere);
        }
        let high_water = Cell::new(0);
        let mut location = None;
        for from in mount_from {
            let mut query = String::new();
            push_pair(&mut query, "mount", source.digest.as_str());
            push_pair(&mut query, "from", from);
            let reply = self.post_upload(&object, &query)?;
            match reply.status {
                201 => return Ok(Uploaded::Mounted(from.clone())),
                202 => {
                    location = Some(self.location("push", &object, &reply)?);
                    break;
                }
                // Registries that cannot mount, or may not, say so in many ways.
                _ => {}
            }
        }
        let mut failures = 0;
        let mut chunked = None;
        loop {
            let attempt = match (location.take(), chunked) {
                (Some(location), None) => self.send_whole(source, &object, &location, sent, &high_water),
                (_, None) => match self.begin(&object)? {
                    (location, Some(least)) if least > 0 && source.size_bytes > CHUNK_BYTES => {
                        chunked = Some(least);
                        self.send_chunks(source, &object, location, least, sent, &high_water)
                    }
                    (location, _) => self.send_whole(source, &object, &location, sent, &high_water),
                },
                (_, Some(least)) => {
                    let (location, _) = self.begin(&object)?;
                    self.send_chunks(source, &object, location, least, sent, &high_water)
                }
            };
            let error = match attempt {
                Ok(()) => return Ok(Uploaded::Sent),
                Err(RegistryError::Status { status: 405 | 411 | 413 | 416 | 501, .. }) if chunked.is_none() => {
                    chunked = Some(0);
                    continue;
                }
                Err(error) => error,
            };
            failures += 1;
            if failures >= self.options().max_attempts || !is_worth_repeating(&error) {
                return Err(error);
            }
            self.pause(self.backoff(failures, None))?;
        }
    }

    fn has_remote_blob(&self, digest: &Digest, object: &str) -> Result<bool, RegistryError> {
        let address = self.address(&format!("blobs/{digest}"));
        let task = Task {
            verb: "look up",
            object,
            method: "HEAD",
            address: &address,
            headers: &[],
            payload: Payload::None,
            repeat: true,
        };
        let reply = self.perform(&task)?;
        match reply.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(self.status_error(&task, reply)),
        }
    }

    fn post_upload(&self, object: &str, query: &str) -> Result<Reply, RegistryError> {
        let mut address = self.address("blobs/uploads/");
        if !query.is_empty() {
            address.push('?');
            address.push_str(query);
        }
        let task = Task {
            verb: "push",
            object,
            method: "POST",
            address: &address,
            headers: &[],
            payload: Payload::Bytes(&[]),
            repeat: true,
        };
        let reply = self.perform(&task)?;
        // With a query the caller falls back on any refusal; without one a refusal is the answer.
        let refused = query.is_empty() && reply.status != 202;
        if refused { Err(self.status_error(&task, reply)) } else { Ok(reply) }
    }

    /// Opens an upload: its location, and the smallest chunk where the registry names one.
    fn begin(&self, object: &str) -> Result<(String, Option<u64>), RegistryError> {
        let reply = self.post_upload(object, "")?;
        let least = reply.header("oci-chunk-min-length").and_then(|value| value.parse().ok());
        Ok((self.location("push", object, &reply)?, least))
    }

    fn send_whole(
        &self,
        source: &BlobSource<'_>,
        object: &str,
        location: &str,
        sent: &dyn Fn(u64),
        high_water: &Cell<u64>,
    ) -> Result<(), RegistryError> {
        let done = Cell::new(0);
        let count = |n: u64| report(&done, high_water, sent, n);
        let payload = Payload::File { file: source.file, offset: 0, len: source.size_bytes, sent: &count };
        self.finish(source, object, location, payload)
    }

    fn send_chunks(
        &self,
        source: &BlobSource<'_>,
        object: &str,
        mut location: String,
        least: u64,
        sent: &dyn Fn(u64),
        high_water: &Cell<u64>,
    ) -> Result<(), RegistryError> {
        let chunk_bytes = least.clamp(CHUNK_BYTES, CHUNK_MAX_BYTES);
        let done = Cell::new(0);
        let count = |n: u64| report(&done, high_water, sent, n);
        let mut offset = 0;
        while offset < source.size_bytes {
            let len = chunk_bytes.min(source.size_bytes - offset);
            let headers = [
                ("content-type", "application/octet-stream".to_owned()),
                ("content-range", format!("{offset}-{}", offset + len - 1)),
            ];
            let task = Task {
                verb: "push",
                object,
                method: "PATCH",
                address: &location,
                headers: &headers,
                payload: Payload::File { file: source.file, offset, len, sent: &count },
                repeat: false,
            };
            let reply = self.perform(&task)?;
            if !matches!(reply.status, 201 | 202 | 204) {
                return Err(self.status_error(&task, reply));
            }
            location = self.location("push", object, &reply)?;
            offset += len;
        }
        self.finish(source, object, &location, Payload::Bytes(&[]))
    }

    fn finish(
        &self,
        source: &BlobSource<'_>,
        object: &str,
        location: &str,
        payload: Payload<'_>,
    ) -> Result<(), RegistryError> {
        let mut query = String::new();
        push_pair(&mut query, "digest", source.digest.as_str());
        let joint = if location.contains('?') { '&' } else { '?' };
        let address = format!("{location}{joint}{query}");
        let headers = [("content-type", "application/octet-stream".to_owned())];
        let task =
            Task { verb: "push", object, method: "PUT", address: &address, headers: &headers, payload, repeat: false };
        let reply = self.perform(&task)?;
        if matches!(reply.status, 201 | 204) { Ok(()) } else { Err(self.status_error(&task, reply)) }
    }
}

/// Tells of `n` more bytes, unless an earlier attempt already did.
fn report(done: &Cell<u64>, high_water: &Cell<u64>, sent: &dyn Fn(u64), n: u64) {
    done.set(done.get() + n);
    if done.get() > high_water.get() {
        sent(done.get() - high_water.get());
        high_water.set(done.get());
    }
}

fn is_worth_repeating(error: &RegistryError) -> bool {
    match error {
        RegistryError::Connection { .. } => true,
        RegistryError::Status { status, .. } => is_transient(*status),
        // The upload may have been forgotten by a registry that restarted.
        RegistryError::NotFound { .. } => true,
        _ => false,
    }
}
