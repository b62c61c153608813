//! The layers of one image: some at once, each written and unpacked at the same time.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use holm_spec::Digest;
use holm_spec::oci::image::{Descriptor, ImageConfig, Manifest};

use super::{Job, PullError};
use crate::registry::{BlobSink, RegistryError, Session};
use crate::store::{BlobWriter, Ingest, StoreError};

/// How many pieces may wait between download and unpacking: with pieces of at most 128 KiB, 4 MiB.
const PIPE_PIECES: usize = 32;

/// One layer to be brought.
struct Work<'a> {
    layer: &'a Descriptor,
    diff_id: &'a Digest,
}

/// Brings all layers of `manifest` into the store, blobs and unpacked folders.
pub(super) fn fetch_all(
    job: &Job<'_>,
    session: &Session<'_>,
    manifest: &Manifest,
    config: &ImageConfig,
) -> Result<(), PullError> {
    let mut seen = HashSet::new();
    let pairs = manifest.layers.iter().zip(&config.rootfs.diff_ids);
    let work: VecDeque<Work<'_>> = pairs
        .filter(|(layer, diff_id)| seen.insert((&layer.digest, *diff_id)))
        .map(|(layer, diff_id)| Work { layer, diff_id })
        .collect();
    let threads = job.options.parallel_layers.clamp(1, 16).min(work.len());
    let queue = Mutex::new(work);
    let failure: Mutex<Option<PullError>> = Mutex::new(None);
    // The lock must not be held while the work is done.
    let next = || lock(&queue).pop_front();
    let worker = || {
        while let Some(work) = next() {
            if let Err(error) = fetch_one(job, session, &work) {
                let mut first = lock(&failure);
                if first.is_none() {
                    *first = Some(error);
                }
                drop(first);
                lock(&queue).clear();
                session.abort();
            }
        }
    };
    thread::scope(|scope| {
        // Where no thread can be had, those that there are do the work.
        let start = |_| thread::Builder::new().name("pull".to_owned()).spawn_scoped(scope, worker).ok();
        let others: Vec<_> = (1..threads).filter_map(start).collect();
        worker();
        // The scope alone would return a moment before the threads are gone from the process.
        for other in others {
            if let Err(panic) = other.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brings one layer and tells of it.
fn fetch_one(job: &Job<'_>, session: &Session<'_>, work: &Work<'_>) -> Result<(), PullError> {
    let id = &work.layer.digest.hex()[..12];
    job.progress.start(id, "layer", Some(work.layer.size));
    let result = match bring(job, session, work, id) {
        // What an earlier process left behind may be damaged: the store has thrown it away, so once more.
        Err((error, true)) if is_damage(&error) && !session.is_aborted() => bring(job, session, work, id),
        other => other,
    };
    job.progress.done(id, result.as_ref().map_or("failed", |status| status));
    result.map(|_| ()).map_err(|(error, _)| error)
}

fn is_damage(error: &PullError) -> bool {
    matches!(error, PullError::Store(_, error) if matches!(**error, StoreError::DigestMismatch { .. }))
}

/// One try. The error comes with whether a left-over of an earlier process was used.
fn bring(job: &Job<'_>, session: &Session<'_>, work: &Work<'_>, id: &str) -> Result<&'static str, (PullError, bool)> {
    let (digest, size_bytes) = (&work.layer.digest, work.layer.size);
    let fresh = |error: StoreError| (job.stored(error), false);
    let unpacked = job.store.has_layer(work.diff_id);
    let writer = match job.store.ingest(digest, size_bytes).map_err(fresh)? {
        Ingest::AlreadyThere if unpacked => return Ok("already there"),
        Ingest::AlreadyThere => {
            unpack_stored(job, work).map_err(fresh)?;
            return Ok("unpacked");
        }
        Ingest::Writer(writer) => writer,
    };
    let resumed = writer.offset();
    job.progress.advance(id, resumed);
    if unpacked || resumed > 0 {
        // What is there was not unpacked while it came; the whole is read from the store after.
        let mut sink = Sink { job, id, writer, pipe: None, unpack_failed: None };
        session.fetch_blob(digest, size_bytes, &mut sink).map_err(|error| (error.into(), resumed > 0))?;
        sink.writer.commit().map_err(|error| (job.stored(error), resumed > 0))?;
        unpack_stored(job, work).map_err(|error| (job.stored(error), resumed > 0))?;
        return Ok("done");
    }
    fetch_and_unpack(job, session, work, id, writer).map_err(|error| (error, false))?;
    Ok("done")
}

fn unpack_stored(job: &Job<'_>, work: &Work<'_>) -> Result<(), StoreError> {
    let mut blob = job.store.open_blob(&work.layer.digest)?;
    job.store.unpack_layer(work.diff_id, &work.layer.media_type, &mut blob)
}

/// Downloads in this thread and unpacks in another, which ends before this returns.
fn fetch_and_unpack(
    job: &Job<'_>,
    session: &Session<'_>,
    work: &Work<'_>,
    id: &str,
    writer: BlobWriter,
) -> Result<(), PullError> {
    let (digest, size_bytes) = (&work.layer.digest, work.layer.size);
    let unpack_failed = AtomicBool::new(false);
    let (sender, receiver) = sync_channel(PIPE_PIECES);
    thread::scope(|scope| {
        let unpack = || {
            let mut reader = PipeReader { receiver, piece: Vec::new(), at: 0, ended: false };
            let result = job.store.unpack_layer(work.diff_id, &work.layer.media_type, &mut reader);
            // Before the pipe closes, so that the other side knows why it did.
            unpack_failed.store(result.is_err(), Ordering::SeqCst);
            drop(reader);
            result
        };
        let unpacker = thread::Builder::new()
            .name("unpack".to_owned())
            .spawn_scoped(scope, unpack)
            .map_err(|error| PullError::Thread(job.reference.familiar(), error))?;
        let mut sink = Sink { job, id, writer, pipe: Some(sender), unpack_failed: Some(&unpack_failed) };
        let fetched = session.fetch_blob(digest, size_bytes, &mut sink);
        let Sink { writer, pipe, .. } = sink;
        if let (Ok(()), Some(pipe)) = (&fetched, &pipe) {
            // Fails only where unpacking has ended already.
            let _ = pipe.send(Piece::End);
        }
        drop(pipe);
        let committed = match &fetched {
            Ok(()) => writer.commit(),
            Err(_) => {
                drop(writer);
                Ok(())
            }
        };
        let unpacked = match unpacker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        match (fetched, committed, unpacked) {
            // A download that broke also breaks the unpacking; the download is the cause, unless it stopped because
            // the unpacking had failed.
            (Err(RegistryError::Local { .. }), _, Err(error)) => Err(job.stored(error)),
            (Err(error), _, _) => Err(error.into()),
            (Ok(()), Err(error), _) | (Ok(()), Ok(()), Err(error)) => Err(job.stored(error)),
            (Ok(()), Ok(()), Ok(())) => Ok(()),
        }
    })
}

enum Piece {
    Bytes(Vec<u8>),
    End,
}

/// Writes to the blob file, and into the pipe while there is one.
struct Sink<'a> {
    job: &'a Job<'a>,
    id: &'a str,
    writer: BlobWriter,
    pipe: Option<SyncSender<Piece>>,
    unpack_failed: Option<&'a AtomicBool>,
}

impl BlobSink for Sink<'_> {
    fn offset(&self) -> u64 {
        self.writer.offset()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)?;
        self.job.progress.advance(self.id, bytes.len() as u64);
        let Some(pipe) = &self.pipe else { return Ok(()) };
        if pipe.send(Piece::Bytes(bytes.to_vec())).is_err() {
            self.pipe = None;
            if self.unpack_failed.is_some_and(|failed| failed.load(Ordering::SeqCst)) {
                return Err(io::Error::other("the layer cannot be unpacked"));
            }
        }
        Ok(())
    }
}

/// The reading end of the pipe. Only a stream that was ended on purpose ends; one that broke is an error.
struct PipeReader {
    receiver: Receiver<Piece>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() && !self.ended {
            match self.receiver.recv() {
                Ok(Piece::Bytes(bytes)) => (self.piece, self.at) = (bytes, 0),
                Ok(Piece::End) => self.ended = true,
                Err(_) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download stopped")),
            }
        }
        let n = buffer.len().min(self.piece.len() - self.at);
        buffer[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
