//! The arguments and environment that others can read of this process, and taking them away.
//!
//! A process that was forked and not executed shows its parent's: in a container that would be the host's command line and
//! environment.

use std::io;

/// Where the kernel takes a process's arguments and environment from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Title {
    arguments: (usize, usize),
    environment: (usize, usize),
}

impl Title {
    /// Looks up where they are; the same holds in every process forked from this one. Reads `/proc/self/stat`.
    pub fn find() -> io::Result<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        // The name in the second field may hold anything, so fields are counted from its end. *Source*: proc_pid_stat(5).
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<usize> = fields.split_ascii_whitespace().skip(45).filter_map(|f| f.parse().ok()).collect();
        match fields[..] {
            [arg_start, arg_end, env_start, env_end, ..] => {
                Ok(Self { arguments: (arg_start, arg_end), environment: (env_start, env_end) })
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "/proc/self/stat has no place of the arguments")),
        }
    }

    /// Overwrites both, leaving `name` as the only argument.
    ///
    /// *Order*: nothing in this process reads its arguments or environment afterwards.
    pub fn replace(self, name: &str) {
        for (start, end) in [self.arguments, self.environment] {
            if start != 0 && end > start {
                // SAFETY: the kernel names the block on the first stack that it filled itself at exec, which stays
                // mapped and writable for the life of the process; the caller promises that nobody reads it any more.
                unsafe { std::ptr::write_bytes(start as *mut u8, 0, end - start) };
            }
        }
        let (start, end) = self.arguments;
        let length = name.len().min(end.saturating_sub(start).saturating_sub(1));
        if start != 0 {
            // SAFETY: as above; the length was cut to the block.
            unsafe { std::ptr::copy_nonoverlapping(name.as_ptr(), start as *mut u8, length) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_arguments_holds_the_arguments() {
        let title = Title::find().unwrap();
        let own = std::fs::read("/proc/self/cmdline").unwrap();
        assert_eq!(title.arguments.1 - title.arguments.0, own.len());
        assert!(title.environment.0 >= title.arguments.1);
    }
}
