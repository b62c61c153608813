//! A registry that misbehaves: it serves one image over plain HTTP on loopback and spoils what it is told to spoil.
//!
//! Owns just enough HTTP/1.1 for that. What behaves is tested against [`crate::Registry`].

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::image::{Blob, Image};

/// What it answers to one request.
#[derive(Clone)]
pub enum Answer {
    /// What a registry should.
    Honest,
    /// This status, these headers, this body.
    Status(u16, Vec<(String, String)>, Vec<u8>),
    /// The honest answer, cut off after this many bytes of body.
    CutAfter(usize),
    /// These bytes instead of any HTTP.
    Raw(Vec<u8>),
    /// The honest headers with another body of the same length or not.
    Body(Vec<u8>),
}

impl Answer {
    /// A bare status.
    pub fn status(code: u16) -> Self {
        Self::Status(code, Vec::new(), br#"{"errors":[{"code":"TEST","message":"spoilt"}]}"#.to_vec())
    }
}

type Rule = dyn Fn(&str, usize) -> Answer + Send + Sync;

/// A registry that misbehaves.
pub struct FakeRegistry {
    port: u16,
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<String>>>,
    acceptor: Option<std::thread::JoinHandle<()>>,
}

struct Site {
    manifests: Vec<(String, Blob)>,
    blobs: Vec<Blob>,
    rule: Box<Rule>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeRegistry {
    /// Serves `image` under any name and tag. `rule` is asked for each request with its path and how many times that path
    /// was asked for before.
    ///
    /// # Panics
    /// If no port can be bound.
    pub fn start(image: &Image, rule: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(image.manifest(), image.blobs(), rule)
    }

    /// Serves this manifest and these blobs, whatever they are.
    ///
    /// # Panics
    /// If no port can be bound.
    pub fn serve(
        manifest: Blob,
        blobs: Vec<Blob>,
        rule: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind a port");
        let port = listener.local_addr().expect("its address").port();
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let site = Arc::new(Site {
            manifests: vec![(manifest.digest(), manifest)],
            blobs,
            rule: Box::new(rule),
            requests: requests.clone(),
        });
        let stopping = stop.clone();
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopping.load(Ordering::SeqCst) {
                    break;
                }
                let site = site.clone();
                std::thread::spawn(move || site.converse(stream));
            }
        });
        Self { port, stop, requests, acceptor: Some(acceptor) }
    }

    /// `localhost:PORT/NAME`.
    pub fn reference(&self, name: &str) -> String {
        format!("localhost:{}/{name}", self.port)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it was asked: method, path and `Authorization` header of each request.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("requests").clone()
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

struct Request {
    method: String,
    path: String,
    range_start: Option<usize>,
    authorization: String,
}

impl Site {
    fn converse(&self, stream: TcpStream) {
        let Ok(reading) = stream.try_clone() else { return };
        let mut reader = BufReader::new(reading);
        let mut stream = stream;
        while let Some(request) = read_request(&mut reader) {
            let line = format!("{} {} {}", request.method, request.path, request.authorization);
            let before = {
                let mut requests = self.requests.lock().expect("requests");
                let key = format!(" {} ", request.path);
                let before = requests.iter().filter(|line| line.contains(&key)).count();
                requests.push(line);
                before
            };
            if !self.answer(&mut stream, &request, (self.rule)(&request.path, before)) {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
    }

    /// Answers one request; false where the connection is over.
    fn answer(&self, stream: &mut TcpStream, request: &Request, answer: Answer) -> bool {
        let (status, mut headers, body) = self.honest(request);
        let send_body = request.method != "HEAD";
        match answer {
            Answer::Honest => respond(stream, status, &headers, &body, body.len(), send_body),
            Answer::Status(code, more, text) => respond(stream, code, &more, &text, text.len(), send_body),
            Answer::Body(other) => {
                headers.retain(|(name, _)| name != "Docker-Content-Digest");
                respond(stream, status, &headers, &other, other.len(), send_body)
            }
            Answer::CutAfter(count) => {
                let part = &body[..count.min(body.len())];
                respond(stream, status, &headers, part, body.len(), send_body) && part.len() == body.len()
            }
            Answer::Raw(bytes) => {
                let _ = stream.write_all(&bytes);
                false
            }
        }
    }

    fn honest(&self, request: &Request) -> (u16, Vec<(String, String)>, Vec<u8>) {
        if request.path == "/v2/" || request.path == "/v2" {
            return (200, Vec::new(), b"{}".to_vec());
        }
        let last = request.path.rsplit('/').next().unwrap_or_default();
        let kind = |blob: &Blob| {
            vec![
                ("Content-Type".to_owned(), blob.media_type.clone()),
                ("Docker-Content-Digest".to_owned(), blob.digest()),
            ]
        };
        if request.path.contains("/manifests/") {
            let found = self.manifests.iter().find(|(digest, _)| !last.starts_with("sha256:") || digest == last);
            return match found {
                Some((_, blob)) => (200, kind(blob), blob.bytes.clone()),
                None => (404, Vec::new(), b"{}".to_vec()),
            };
        }
        match self.blobs.iter().find(|blob| blob.digest() == last) {
            Some(blob) => match request.range_start {
                Some(start @ 1..) if start < blob.bytes.len() => {
                    let length = blob.bytes.len();
                    let range = format!("bytes {start}-{}/{length}", length - 1);
                    (206, vec![("Content-Range".to_owned(), range)], blob.bytes[start..].to_vec())
                }
                _ => (200, kind(blob), blob.bytes.clone()),
            },
            None => (404, Vec::new(), b"{}".to_vec()),
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request { method, path, range_start: None, authorization: String::new() };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|length| *length > 0)?;
        let Some((name, value)) = header.trim().split_once(':') else { return Some(request) };
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                request.range_start = value.trim().strip_prefix("bytes=").and_then(|range| {
                    let (start, _) = range.split_once('-')?;
                    start.parse().ok()
                });
            }
            "authorization" => request.authorization = value.trim().to_owned(),
            _ => {}
        }
    }
}

fn respond(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(String, String)],
    body: &[u8],
    length: usize,
    send_body: bool,
) -> bool {
    let mut head = format!("HTTP/1.1 {status} Answer\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let body = if send_body { body } else { &[] };
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_ok()
}
