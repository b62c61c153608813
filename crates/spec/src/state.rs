//! What became of a container: the record that the supervisor replaces at every change.

use serde::{Deserialize, Serialize};

/// Where a container stands. Legal changes are those of [`Status::may_become`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made and never started.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// It ended and waits to be started again.
    Restarting,
    /// It ended.
    Exited,
    /// It is being removed.
    Removing,
    /// A removal failed half-way; `rm` tries again.
    Dead,
}

impl Status {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
        }
    }

    /// Whether a supervisor is responsible for it.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }

    /// Whether the change to `next` is legal.
    pub fn may_become(self, next: Status) -> bool {
        use Status::*;
        matches!(
            (self, next),
            (Created | Exited | Restarting, Running)
                | (Running, Paused)
                | (Paused, Running)
                | (Running | Paused | Restarting | Created, Exited)
                | (Running | Exited, Restarting)
                | (Created | Exited | Dead | Removing, Removing)
                | (Removing, Dead)
        )
    }
}

/// The state record of one container. Times are nanoseconds since the Unix epoch, 0 meaning never.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct ContainerState {
    /// Where it stands.
    pub status: Status,
    /// PID of its init on the host; 0 when there is none.
    pub pid: i32,
    /// Start time of that PID in clock ticks since boot (`/proc/PID/stat`, field 22), so a reused PID is noticed.
    pub pid_start_ticks: u64,
    /// PID of the supervisor; 0 when there is none.
    pub supervisor_pid: i32,
    /// Start time of the supervisor in clock ticks since boot.
    pub supervisor_start_ticks: u64,
    /// The boot in which the above hold (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Exit code as docker gives it.
    pub exit_code: i32,
    /// The kernel killed it for memory.
    pub oom_killed: bool,
    /// Why it could not be started.
    pub error: String,
    /// Last start.
    pub started_at_ns: u64,
    /// Last end.
    pub finished_at_ns: u64,
    /// Starts by the restart policy.
    pub restart_count: u32,
    /// The user stopped it.
    pub stopped_by_user: bool,
    /// Control groups, relative to their hierarchies.
    pub cgroup_path: String,
    /// Result of the health checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Its virtual machine of the last start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineState>,
}

/// What a virtual machine turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct MachineState {
    /// The program that runs it, with its version.
    pub hypervisor: String,
    /// `kvm` or `tcg`.
    pub accelerator: String,
    /// Its instructions are emulated: it is no boundary for security.
    pub emulated: bool,
    /// Why KVM is not used, where it is not.
    pub reason: String,
    /// `microvm` or `q35`.
    pub profile: String,
    /// Release of its kernel.
    pub kernel: String,
    /// It was started from a template.
    pub from_template: bool,
    /// Processors.
    pub cpus: u32,
    /// Memory, bytes.
    pub memory_bytes: u64,
}

/// Result of the health checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last five checks.
    pub log: Vec<HealthResult>,
}

/// One health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct HealthResult {
    /// Start, nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// End, nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// Exit code; -1 for one that took too long.
    pub exit_code: i32,
    /// Its output, at most 4096 bytes.
    pub output: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_transitions_are_those_of_the_table() {
        assert!(Status::Created.may_become(Status::Running));
        assert!(Status::Exited.may_become(Status::Running));
        assert!(!Status::Running.may_become(Status::Removing));
        assert!(!Status::Removing.may_become(Status::Running));
        assert!(!Status::Paused.may_become(Status::Restarting));
    }
}
