//! A small HTTP server whose every answer is up to the test. It notes what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use holm_kit::Image;

/// One request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// With its query.
    pub path: String,
    /// The `Host` header: this server as the client calls it.
    pub host: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
    pub content_range: Option<String>,
    pub body: Vec<u8>,
    /// How many times this method and path were asked for before.
    pub nth: usize,
}

/// One answer.
pub enum Reply {
    /// Status, headers, body; the length is added unless given.
    Full(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// As `Full`, but the connection closes after this many bytes of the body.
    Cut(u16, Vec<(&'static str, String)>, Vec<u8>, usize),
    /// A body without announced length, ended by closing.
    Unannounced(Vec<u8>),
    /// A body that never ends.
    Endless,
    /// Any bytes, then closing.
    Raw(Vec<u8>),
    /// Nothing at all until the client gives up.
    Silence,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::Full(status, Vec::new(), br#"{"errors":[{"code":"TEST","message":"spoilt"}]}"#.to_vec())
    }

    pub fn json(text: impl Into<String>) -> Self {
        Self::Full(200, vec![("Content-Type", "application/json".to_owned())], text.into().into_bytes())
    }

    pub fn redirect(status: u16, location: impl Into<String>) -> Self {
        Self::Full(status, vec![("Location", location.into())], Vec::new())
    }
}

type Handler = dyn Fn(&Seen) -> Reply + Send + Sync;

/// Runs until dropped.
pub struct Server {
    pub port: u16,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind");
        let port = listener.local_addr().expect("address").port();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(handler);
        let (stopping, noting) = (stop.clone(), seen.clone());
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let (handler, noting) = (handler.clone(), noting.clone());
                std::thread::spawn(move || converse(&stream, &*handler, &noting));
            }
        });
        Self { port, stop, seen, acceptor: Some(acceptor) }
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// All requests so far, without the first probe.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|seen| seen.path != "/v2/").cloned().collect()
    }

    /// How many requests had this text in their path.
    pub fn count(&self, text: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path.contains(text)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn converse(stream: &TcpStream, handler: &Handler, noting: &Mutex<Vec<Seen>>) {
    let mut reader = BufReader::new(stream);
    // A TLS greeting begins with this byte; this server has no TLS.
    if reader.fill_buf().map_or(true, |bytes| bytes.first() == Some(&0x16)) {
        return;
    }
    while let Some(mut seen) = read_request(&mut reader) {
        {
            let mut all = noting.lock().unwrap_or_else(PoisonError::into_inner);
            seen.nth = all.iter().filter(|old| old.path == seen.path && old.method == seen.method).count();
            all.push(seen.clone());
        }
        if !answer(stream, &seen, handler(&seen)) {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (authorization, range, content_range) = (None, None, None);
    let host = String::new();
    let mut seen = Seen { method, path, host, authorization, range, content_range, body: Vec::new(), nth: 0 };
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|n| *n > 0)?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        let value = value.trim().to_owned();
        match name.to_ascii_lowercase().as_str() {
            "host" => seen.host = value,
            "authorization" => seen.authorization = Some(value),
            "range" => seen.range = Some(value),
            "content-range" => seen.content_range = Some(value),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    seen.body.resize(length, 0);
    reader.read_exact(&mut seen.body).ok()?;
    Some(seen)
}

/// False where the connection is over.
fn answer(mut stream: &TcpStream, seen: &Seen, reply: Reply) -> bool {
    let (status, headers, body, end) = match reply {
        Reply::Full(status, headers, body) => {
            let end = body.len();
            (status, headers, body, end)
        }
        Reply::Cut(status, headers, body, end) => (status, headers, body, end),
        Reply::Unannounced(body) => {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                .and_then(|()| stream.write_all(&body));
            return false;
        }
        Reply::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while stream.write_all(&[b' '; 65536]).is_ok() {}
            return false;
        }
        Reply::Raw(bytes) => {
            let _ = stream.write_all(&bytes);
            return false;
        }
        Reply::Silence => {
            let _ = stream.read(&mut [0]);
            return false;
        }
    };
    let mut head = format!("HTTP/1.1 {status} Answer\r\n");
    if !headers.iter().any(|(name, _)| *name == "Content-Length") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in &headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let part = if seen.method == "HEAD" { &[] } else { &body[..end] };
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(part)).is_ok() && end == body.len()
}

/// What a good registry answers for `image`, under any repository and tag; ranges are honoured.
pub fn honest(image: &Image, seen: &Seen) -> Reply {
    if seen.path == "/v2/" {
        return Reply::json("{}");
    }
    let last = seen.path.rsplit('/').next().unwrap_or_default();
    let manifest = image.manifest();
    let blob = if seen.path.contains("/manifests/") && !last.starts_with("sha256:") {
        Some(manifest)
    } else {
        image.blobs().into_iter().find(|blob| blob.digest() == last)
    };
    let Some(blob) = blob else { return Reply::status(404) };
    let mut headers = vec![("Content-Type", blob.media_type.clone()), ("Docker-Content-Digest", blob.digest())];
    match start_of(seen) {
        Some(start) if start > 0 && start < blob.bytes.len() => {
            headers.push(("Content-Range", format!("bytes {start}-{}/{}", blob.bytes.len() - 1, blob.bytes.len())));
            Reply::Full(206, headers, blob.bytes[start..].to_vec())
        }
        _ => Reply::Full(200, headers, blob.bytes),
    }
}

/// Where the asked range begins.
pub fn start_of(seen: &Seen) -> Option<usize> {
    seen.range.as_deref()?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}
