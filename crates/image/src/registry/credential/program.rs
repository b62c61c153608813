//! Credential programs, `docker-credential-NAME`: one short-lived child per question.
//!
//! ```text
//! get    stdin: server            stdout: {"ServerURL", "Username", "Secret"}
//! store  stdin: the same JSON     erase  stdin: server
//! ```
//!
//! *Source*: docker/docker-credential-helpers, README.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use super::{Credential, CredentialError};

/// *Units*: bytes. Real answers have a few KiB.
const ANSWER_MAX_BYTES: u64 = 64 << 10;
/// How long a program may take; some ask the person to unlock a key ring.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The user name by which a program says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// Asks program `name` for `server`; `None` where it has nothing or is not installed.
pub(super) fn get(name: &str, server: &str) -> Result<Option<Credential>, CredentialError> {
    let answer = match run(name, "get", server.as_bytes()) {
        Ok(answer) => answer,
        Err(CredentialError::Program(_, error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(CredentialError::ProgramAnswer(_, why)) if why.contains("credentials not found") => return Ok(None),
        Err(error) => return Err(error),
    };
    let garbage = || CredentialError::ProgramAnswer(program_name(name), "its answer is malformed".to_owned());
    let answer: serde_json::Value = serde_json::from_slice(&answer).map_err(|_| garbage())?;
    let text = |key: &str| answer.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
    let (username, secret) = text("Username").zip(text("Secret")).ok_or_else(garbage)?;
    Ok(Some(match username.as_str() {
        TOKEN_USER => Credential::IdentityToken(secret),
        _ => Credential::Password { username, password: secret },
    }))
}

/// Gives `credential` to program `name`.
pub(super) fn store(name: &str, server: &str, credential: &Credential) -> Result<(), CredentialError> {
    let (username, secret) = match credential {
        Credential::Password { username, password } => (username.as_str(), password),
        Credential::IdentityToken(token) | Credential::RegistryToken(token) => (TOKEN_USER, token),
    };
    let input = json!({ "ServerURL": server, "Username": username, "Secret": secret }).to_string();
    run(name, "store", input.as_bytes()).map(|_| ())
}

/// Makes program `name` forget `server`.
pub(super) fn erase(name: &str, server: &str) -> Result<(), CredentialError> {
    match run(name, "erase", server.as_bytes()) {
        Err(CredentialError::ProgramAnswer(_, why)) if why.contains("credentials not found") => Ok(()),
        other => other.map(|_| ()),
    }
}

fn program_name(name: &str) -> String {
    format!("docker-credential-{}", name.escape_default().take(100).collect::<String>())
}

fn run(name: &str, action: &str, input: &[u8]) -> Result<Vec<u8>, CredentialError> {
    let program = program_name(name);
    let failed = |error| CredentialError::Program(program.clone(), error);
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "the name has characters that no program has")));
    }
    let mut command = Command::new(&program);
    command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    let result = converse(&mut child, input);
    if result.is_err() {
        // It may have ended by itself; either way it is reaped below.
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    let answer = result.map_err(failed)?;
    if status.success() {
        return Ok(answer);
    }
    let words: String = String::from_utf8_lossy(&answer).trim().escape_default().take(300).collect();
    Err(CredentialError::ProgramAnswer(program, format!("it failed ({status}): {words}")))
}

/// Writes the question and reads the answer to its end, within the time and size allowed.
fn converse(child: &mut Child, input: &[u8]) -> io::Result<Vec<u8>> {
    let end = Instant::now() + TIMEOUT;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            // A program may answer without reading the question.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let Some(mut stdout) = child.stdout.take() else { return Ok(Vec::new()) };
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        if poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&timeout))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match stdout.read(&mut buffer)? {
            0 => return Ok(answer),
            n => answer.extend_from_slice(&buffer[..n]),
        }
        if answer.len() as u64 > ANSWER_MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is too long"));
        }
    }
}
