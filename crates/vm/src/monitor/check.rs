//! What a guest says, made fit to be passed on: numbers that can be, text of bounded length without control characters.
//!
//! Owns no order of messages; that is `mux`.

use holm_spec::guest::{MAX_SOCKETS, Probed, ToHost};

use super::mux::Breach;

/// Most characters of a text that a person reads.
const MAX_TEXT: usize = 1000;
/// Most warnings of one answer.
const MAX_WARNINGS: usize = 16;
/// Most links of one machine.
const MAX_LINKS: usize = 256;
/// No guest is up for longer: ten years, nanoseconds.
const MAX_UPTIME_NS: u64 = 10 * 365 * 86_400 * 1_000_000_000;

/// The message as it may be passed on.
pub(super) fn message(message: ToHost) -> Result<ToHost, Breach> {
    Ok(match message {
        ToHost::Hello { version, kernel, uptime_ns } if uptime_ns <= MAX_UPTIME_NS => {
            ToHost::Hello { version, kernel: text(&kernel), uptime_ns }
        }
        ToHost::Hello { .. } => return Err(Breach::Value("an uptime that cannot be")),
        ToHost::Done { id, warnings } => {
            let warnings = warnings.iter().take(MAX_WARNINGS).map(|w| text(w)).collect();
            ToHost::Done { id, warnings }
        }
        ToHost::Started { pid, .. } if pid < 1 => return Err(Breach::Value("a PID that cannot be")),
        ToHost::Exited { code, .. } if !(0..=255).contains(&code) => {
            return Err(Breach::Value("an exit code that cannot be"));
        }
        ToHost::Failed { id, message, code } => {
            let code = if (125..=127).contains(&code) { code } else { 125 };
            ToHost::Failed { id, message: text(&message), code }
        }
        ToHost::Stats { ref stats, .. } if stats.links.len() > MAX_LINKS => {
            return Err(Breach::Value("more links than a machine has"));
        }
        ToHost::Sockets { ref sockets, .. } if sockets.len() > MAX_SOCKETS => {
            return Err(Breach::Value("more sockets than it may list"));
        }
        ToHost::Probed { outcome: Probed::Answered(ns) | Probed::Silence(ns), .. } if ns > MAX_UPTIME_NS => {
            return Err(Breach::Value("a time that cannot be"));
        }
        // The largest error number of the kernel's. Source: linux/err.h.
        ToHost::Probed { outcome: Probed::Refused(errno), .. } if !(1..4096).contains(&errno) => {
            return Err(Breach::Value("an error number that cannot be"));
        }
        other => other,
    })
}

/// Text for people, of which nothing can move their cursor.
pub(super) fn text(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
