//! What the agent says to nobody in particular: a line in the kernel's log, and its last words on the console.

use std::fs::File;
use std::io::Write;

use rustix::fs::{Mode, OFlags};
use rustix::system::RebootCommand;

/// Writes an error to the kernel's log, which a quiet console shows too.
pub(crate) fn error(text: &str) {
    // *Source*: sys-kernel-dev-kmsg: a leading number is the level, 3 an error; a line has room for some 900 bytes.
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(800).collect();
    if let Ok(mut log) = File::options().write(true).open("/dev/kmsg") {
        let _ = log.write_all(format!("<3>holm: {line}\n").as_bytes());
    }
}

/// Writes why the machine cannot go on to its console, and switches it off.
pub(crate) fn fatal(text: &str) -> ! {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(4000).collect();
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    if let Ok(console) = rustix::fs::open("/dev/console", flags, Mode::empty()) {
        let mut console = File::from(console);
        let _ = console.write_all(format!("holm-guest: {line}\n").as_bytes());
        // Out of the machine before it is gone.
        let _ = rustix::termios::tcdrain(&console);
    }
    power_off()
}

/// Writes out what is in memory and switches the machine off.
pub(crate) fn power_off() -> ! {
    rustix::fs::sync();
    let _ = rustix::system::reboot(RebootCommand::PowerOff);
    // No driver for that: what ends PID 1 ends the machine.
    std::process::exit(1)
}
