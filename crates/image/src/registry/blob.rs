//! Fetching one blob: resumed where it broke off, never longer than announced. Digests are the sink's to check.
//!
//! ```text
//! GET, Range: bytes=OFFSET-     206 with the same range -> goes on at OFFSET
//!                               200                     -> from the start; what is there already is passed over
//!                               anything odd            -> once more without Range
//! cut before the end            -> waits, resumes; the count of failures starts anew after REFILL_BYTES of progress
//! ```

use std::io::{self, Read};

use holm_spec::Digest;

use super::error::RegistryError;
use super::session::{Session, Task};
use super::wire::{Payload, Reply};

/// *Units*: bytes. A connection that brings less than this before it breaks counts against the attempts.
const REFILL_BYTES: u64 = 8 << 20;
/// *Units*: bytes, of one read.
const BUFFER_BYTES: usize = 128 << 10;

/// Takes the bytes of a blob in order.
pub trait BlobSink {
    /// How many bytes are there already.
    fn offset(&self) -> u64;

    /// Takes the next bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Session<'_> {
    /// Fetches the blob `digest` of `size_bytes` from where `sink` stands to its end.
    pub fn fetch_blob(&self, digest: &Digest, size_bytes: u64, sink: &mut dyn BlobSink) -> Result<(), RegistryError> {
        let object = self.object(digest.as_str());
        let address = self.address(&format!("blobs/{digest}"));
        let mut failures = 0;
        let mut use_range = true;
        let mut refill_at = sink.offset().saturating_add(REFILL_BYTES);
        while sink.offset() < size_bytes {
            let offset = sink.offset();
            let ranged = use_range && offset > 0;
            let mut headers = vec![("accept-encoding", "identity".to_owned())];
            if ranged {
                headers.push(("range", format!("bytes={offset}-")));
            }
            let task = Task {
                verb: "pull",
                object: &object,
                method: "GET",
                address: &address,
                headers: &headers,
                payload: Payload::None,
                repeat: true,
            };
            let reply = self.perform(&task)?;
            let skip = match reply.status {
                200 => offset,
                206 if ranged && is_range(&reply, offset, size_bytes) => 0,
                206 | 416 if ranged => {
                    use_range = false;
                    continue;
                }
                206 => return Err(self.protocol(task.verb, &object, "answers with a part nobody asked for".into())),
                _ => return Err(self.status_error(&task, reply)),
            };
            self.check_length(&task, &reply, size_bytes - offset + skip)?;
            let broken = match self.receive(&task, reply, skip, size_bytes, sink) {
                Ok(()) => return Ok(()),
                Err(Received::Broken(error)) => error,
                Err(Received::Failed(error)) => return Err(error),
            };
            if sink.offset() >= refill_at {
                failures = 0;
            }
            refill_at = sink.offset().saturating_add(REFILL_BYTES);
            failures += 1;
            if failures >= self.options().max_attempts || self.is_aborted() {
                return Err(self.broken(task.verb, &object, broken));
            }
            self.pause(self.backoff(failures, None))?;
        }
        Ok(())
    }

    fn check_length(&self, task: &Task<'_>, reply: &Reply, expected: u64) -> Result<(), RegistryError> {
        match reply.header("content-length").map(str::parse::<u64>) {
            Some(Ok(length)) if length != expected => {
                let why = format!("announces {length} bytes where the manifest says {expected}");
                Err(self.protocol(task.verb, task.object, why))
            }
            _ => Ok(()),
        }
    }

    /// Copies the body into `sink`, passing over its first `skip` bytes.
    fn receive(
        &self,
        task: &Task<'_>,
        reply: Reply,
        mut skip: u64,
        size_bytes: u64,
        sink: &mut dyn BlobSink,
    ) -> Result<(), Received> {
        let mut body = reply.body.into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let n = match body.read(&mut buffer) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Received::Broken(error)),
            };
            if n == 0 {
                let have = sink.offset();
                if have == size_bytes {
                    return Ok(());
                }
                let why = format!("the connection closed after {have} of {size_bytes} bytes");
                return Err(Received::Broken(io::Error::new(io::ErrorKind::UnexpectedEof, why)));
            }
            let passed = usize::try_from(skip).unwrap_or(usize::MAX).min(n);
            skip -= passed as u64;
            let fresh = &buffer[passed..n];
            if fresh.len() as u64 > size_bytes - sink.offset() {
                let why = format!("sends more than the {size_bytes} bytes that the manifest says");
                return Err(Received::Failed(self.protocol(task.verb, task.object, why)));
            }
            if !fresh.is_empty() {
                sink.write(fresh).map_err(|source| {
                    Received::Failed(RegistryError::Local { verb: task.verb, object: task.object.to_owned(), source })
                })?;
            }
        }
    }
}

enum Received {
    /// The connection broke: may be resumed.
    Broken(io::Error),
    /// No use going on.
    Failed(RegistryError),
}

/// Whether `Content-Range` is exactly what was asked for: `bytes OFFSET-LAST/SIZE`.
fn is_range(reply: &Reply, offset: u64, size_bytes: u64) -> bool {
    reply.header("content-range").and_then(|value| parse_content_range(value, size_bytes)) == Some(offset)
}

/// The first byte of a range that reaches to the end of `size_bytes`.
fn parse_content_range(value: &str, size_bytes: u64) -> Option<u64> {
    let (range, size) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let fits = last.trim().parse::<u64>().ok()?.checked_add(1)? == size_bytes
        && (size.trim() == "*" || size.trim().parse::<u64>().ok()? == size_bytes);
    fits.then(|| first.trim().parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_must_reach_the_end() {
        for (value, expected) in [
            ("bytes 10-99/100", Some(10)),
            ("bytes 10-99/*", Some(10)),
            ("bytes 0-99/100", Some(0)),
            ("bytes 10-98/100", None),
            ("bytes 10-99/101", None),
            ("bytes */100", None),
            ("items 10-99/100", None),
            ("bytes -1-99/100", None),
            ("bytes 10-18446744073709551615/100", None),
            ("", None),
        ] {
            assert_eq!(parse_content_range(value, 100), expected, "{value}");
        }
    }
}
