//! What the tests start from: a store, options that wait for nothing, images of pseudo-random content.

use std::time::Duration;

use holm_image::progress::Silent;
use holm_image::pull::platform::host_platform;
use holm_image::pull::{PullError, pull};
use holm_image::reference::Resolver;
use holm_image::registry::ClientOptions;
use holm_image::store::{Image as Stored, Store};
use holm_kit::{Entry, Image, Layer, Tar};

pub struct Place {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub options: ClientOptions,
    pub resolver: Resolver,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let store = Store::open(folder.path()).expect("store");
        let options = ClientOptions {
            backoff: Duration::from_millis(1),
            backoff_max: Duration::from_millis(50),
            max_attempts: 4,
            idle_timeout: Duration::from_secs(20),
            ..ClientOptions::default()
        };
        Self { folder, store, options, resolver: Resolver::default() }
    }

    pub fn pull(&self, reference: &str) -> Result<Stored, PullError> {
        pull(&self.store, &self.resolver, &self.options, reference, &host_platform(), &Silent)
    }

    /// Nothing of a failed pull may be visible.
    pub fn is_empty(&self) -> bool {
        self.store.list().expect("list").is_empty()
    }
}

/// An image of `count` gzip layers, each with one file of `size` bytes that do not compress.
pub fn image(count: usize, size: usize) -> Image {
    Image::new((0..count).map(|n| {
        let name = format!("file-{n}");
        Layer::gzip(&Tar::new().with(Entry::file(&name, noise(n as u64, size))).finish())
    }))
}

/// Bytes that do not compress and are the same every time.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..size).map(step).collect()
}

/// The whole story of an error: itself and its causes.
pub fn story(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += ": ";
        text += &cause.to_string();
        source = cause.source();
    }
    text
}

/// The content of file `n` in the unpacked layer `n`.
pub fn content(stored: &Stored, n: usize) -> Vec<u8> {
    std::fs::read(stored.layers[n].join(format!("file-{n}"))).expect("unpacked file")
}
