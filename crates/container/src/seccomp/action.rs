//! Actions and flags, from their names to the kernel's numbers.

use holm_sys::seccomp as sys;

use super::error::SeccompError;

/// `SECCOMP_RET_*`. *Source*: linux/seccomp.h.
pub const KILL_PROCESS: u32 = 0x8000_0000;
/// Ends the thread.
pub const KILL_THREAD: u32 = 0;
/// SIGSYS.
pub const TRAP: u32 = 0x0003_0000;
/// Fails with the number in the low half.
pub const ERRNO: u32 = 0x0005_0000;
/// Asks the listener.
pub const NOTIFY: u32 = 0x7fc0_0000;
/// Tells the tracer the number in the low half.
pub const TRACE: u32 = 0x7ff0_0000;
/// Allows and logs.
pub const LOG: u32 = 0x7ffc_0000;
/// Allows.
pub const ALLOW: u32 = 0x7fff_0000;
/// The part that is not data.
pub const ACTION_MASK: u32 = 0xffff_0000;

/// The kernel turns greater ones into this.
const MAX_ERRNO: u32 = 4095;
const EPERM: u32 = 1;
/// Fails as a system call that does not exist does.
pub const NO_SUCH_CALL: u32 = ERRNO | 38;

/// The kernel's number of an action.
pub fn parse(name: &str, errno: Option<u32>) -> Result<u32, SeccompError> {
    let with_data = |base: u32, max: u32| {
        let errno = errno.unwrap_or(EPERM);
        if errno > max { Err(SeccompError::Errno { errno, max }) } else { Ok(base | errno) }
    };
    let plain = match name {
        "SCMP_ACT_ERRNO" => return with_data(ERRNO, MAX_ERRNO),
        "SCMP_ACT_TRACE" => return with_data(TRACE, 0xffff),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_TRAP" => TRAP,
        "SCMP_ACT_LOG" => LOG,
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_NOTIFY" => NOTIFY,
        other => return Err(SeccompError::Unknown { kind: "action", name: shortened(other) }),
    };
    Ok(plain)
}

/// The kernel's bits of the flags of a profile.
pub fn parse_flags(names: &[String]) -> Result<u32, SeccompError> {
    names.iter().try_fold(0, |bits, name| match name.as_str() {
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(bits | sys::FLAG_TSYNC),
        "SECCOMP_FILTER_FLAG_LOG" => Ok(bits | sys::FLAG_LOG),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(bits | sys::FLAG_SPEC_ALLOW),
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => Ok(bits | sys::FLAG_WAIT_KILLABLE_RECV),
        other => Err(SeccompError::Unknown { kind: "flag", name: shortened(other) }),
    })
}

/// A word of a profile for a message.
pub fn shortened(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
