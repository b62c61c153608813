//! The default profile.
//!
//! What Docker's means, with two differences: a call that this profile does not know fails with ENOSYS, so that a C
//! library newer than Holm falls back (Podman's choice), and the tests for socket families look at the 32 bits that the
//! kernel takes, so that a family with high bits set does not slip through.
//!
//! Every call of the tables stands in exactly one list below; a test holds that.

use holm_spec::oci::runtime::{Seccomp, SyscallArg, SyscallRule};

use super::arch::Arch;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;
/// The flags of `clone` that make namespaces. *Source*: linux/sched.h. CLONE_NEWTIME is not among them: `clone` takes
/// these bits for the exit signal.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// The bits of an `int` argument.
const INT: u64 = 0xffff_ffff;
/// Kernel crypto by sockets: its bugs reached the page cache, which containers share.
const AF_ALG: u64 = 38;
/// Sockets to the hypervisor, which know no namespaces.
const AF_VSOCK: u64 = 40;
/// `socketcall` number of `socket`.
const SYS_SOCKET: u64 = 1;
/// Values of `personality` that change no security: Linux, 32 bits, old version numbers, both, and asking.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Calls that a capability allows. Without it they fail with EPERM.
const CONDITIONAL: &[(&str, &[&str])] = &[
    ("BPF", &["bpf"]),
    ("DAC_READ_SEARCH", &["open_by_handle_at"]),
    ("PERFMON", &["perf_event_open"]),
    (
        "SYS_ADMIN",
        &[
            "bpf",
            "clone",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "open_tree_attr",
            "perf_event_open",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "syslog",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    ("SYS_BOOT", &["reboot"]),
    ("SYS_CHROOT", &["chroot"]),
    ("SYS_MODULE", &["delete_module", "finit_module", "init_module"]),
    ("SYS_NICE", &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    ("SYS_PACCT", &["acct"]),
    ("SYS_PTRACE", &["kcmp", "pidfd_getfd", "process_madvise"]),
    ("SYS_RAWIO", &["ioperm", "iopl"]),
    ("SYS_TIME", &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    ("SYS_TTY_CONFIG", &["vhangup"]),
    ("SYSLOG", &["syslog"]),
];

/// Calls that no capability allows; `--security-opt seccomp=…` does.
#[rustfmt::skip]
const DENIED: &[&str] = &[
    // Keyrings know no namespaces.
    "add_key", "keyctl", "request_key",
    // Their attack surface is great and their calls pass by filters like this one.
    "io_uring_enter", "io_uring_register", "io_uring_setup", "userfaultfd",
    // The whole machine's.
    "kexec_file_load", "kexec_load", "migrate_pages", "move_pages", "nfsservctl", "pivot_root", "swapoff", "swapon",
    // Obsolete, or never there.
    "_sysctl", "afs_syscall", "bdflush", "break", "create_module", "epoll_ctl_old", "epoll_wait_old", "ftime",
    "get_kernel_syms", "getpmsg", "gtty", "idle", "lock", "mpx", "oldfstat", "oldlstat", "oldolduname", "oldstat",
    "olduname", "pciconfig_iobase", "pciconfig_read", "pciconfig_write", "prof", "profil", "putpmsg", "query_module", "security",
    "stty", "sysfs", "tuxcall", "ulimit", "uselib", "ustat", "vm86", "vm86old", "vserver",
];

/// Calls with rules of their own.
#[cfg(test)]
pub(super) const SPECIAL: &[&str] = &["clone", "clone3", "personality", "socket", "socketcall"];

/// Calls that every container may make.
#[rustfmt::skip]
const ALLOWED: &[&str] = &[
    "_llseek", "_newselect", "accept", "accept4", "access", "adjtimex", "alarm", "arch_prctl", "arm_fadvise64_64",
    "arm_sync_file_range", "bind", "breakpoint", "brk", "cacheflush", "cachestat", "capget", "capset", "chdir",
    "chmod", "chown", "chown32", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64",
    "clock_gettime", "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "close", "close_range",
    "connect", "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "execve", "execveat", "exit", "exit_group",
    "faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate", "fanotify_mark", "fchdir", "fchmod",
    "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat", "fcntl", "fcntl64", "fdatasync", "fgetxattr",
    "file_getattr", "file_setattr", "flistxattr", "flock", "fork", "fremovexattr", "fsetxattr", "fstat", "fstat64",
    "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futex", "futex_requeue",
    "futex_time64", "futex_wait", "futex_waitv", "futex_wake", "futimesat", "get_robust_list", "get_thread_area",
    "get_tls", "getcpu", "getcwd", "getdents", "getdents64", "getegid", "getegid32", "geteuid", "geteuid32",
    "getgid", "getgid32", "getgroups", "getgroups32", "getitimer", "getpeername", "getpgid", "getpgrp", "getpid",
    "getppid", "getpriority", "getrandom", "getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit",
    "getrusage", "getsid", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid", "getuid32", "getxattr",
    "getxattrat", "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel",
    "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit", "ioctl",
    "ioprio_get", "ioprio_set", "ipc", "kill", "landlock_add_rule", "landlock_create_ruleset",
    "landlock_restrict_self", "lchown", "lchown32", "lgetxattr", "link", "linkat", "listen", "listmount",
    "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lsm_get_self_attr",
    "lsm_list_modules", "lsm_set_self_attr", "lstat", "lstat64", "madvise", "map_shadow_stack", "membarrier",
    "memfd_create", "memfd_secret", "mincore", "mkdir", "mkdirat", "mknod", "mknodat", "mlock", "mlock2",
    "mlockall", "mmap", "mmap2", "modify_ldt", "mprotect", "mq_getsetattr", "mq_notify", "mq_open",
    "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64", "mq_unlink", "mremap",
    "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall", "munmap",
    "name_to_handle_at", "nanosleep", "newfstatat", "nice", "open", "openat", "openat2", "pause", "pidfd_open",
    "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "poll", "ppoll",
    "ppoll_time64", "prctl", "pread64", "preadv", "preadv2", "prlimit64", "process_mrelease", "process_vm_readv",
    "process_vm_writev", "pselect6", "pselect6_time64", "ptrace", "pwrite64", "pwritev", "pwritev2", "read",
    "readahead", "readdir", "readlink", "readlinkat", "readv", "recv", "recvfrom", "recvmmsg", "recvmmsg_time64",
    "recvmsg", "remap_file_pages", "removexattr", "removexattrat", "rename", "renameat", "renameat2",
    "restart_syscall", "rmdir", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo",
    "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo",
    "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
    "sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64", "sched_setaffinity",
    "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl",
    "semget", "semop", "semtimedop", "semtimedop_time64", "send", "sendfile", "sendfile64", "sendmmsg", "sendmsg",
    "sendto", "set_robust_list", "set_thread_area", "set_tid_address", "set_tls", "setfsgid", "setfsgid32",
    "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setitimer", "setpgid",
    "setpriority", "setregid", "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid",
    "setreuid32", "setrlimit", "setsid", "setsockopt", "setuid", "setuid32", "setxattr", "setxattrat", "sgetmask",
    "shmat", "shmctl", "shmdt", "shmget", "shutdown", "sigaction", "sigaltstack", "signal", "signalfd",
    "signalfd4", "sigpending", "sigprocmask", "sigreturn", "sigsuspend", "socketpair", "splice", "ssetmask",
    "stat", "stat64", "statfs", "statfs64", "statmount", "statx", "symlink", "symlinkat", "sync",
    "sync_file_range", "sync_file_range2", "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create",
    "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64",
    "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times",
    "tkill", "truncate", "truncate64", "ugetrlimit", "umask", "uname", "unlink", "unlinkat", "uprobe", "uretprobe",
    "usr26", "usr32", "utime", "utimensat", "utimensat_time64", "utimes", "vfork", "vmsplice", "wait4", "waitid",
    "waitpid", "write", "writev",
];

/// The default profile for a process with these capabilities (with or without `CAP_`), for this machine.
pub fn default_profile(caps: &[impl AsRef<str>]) -> Seccomp {
    default_profile_for(caps, Arch::native())
}

/// The same for another architecture. x32 is not in it: kernels in use refuse it, and it would only add surface.
pub fn default_profile_for(caps: &[impl AsRef<str>], arch: Arch) -> Seccomp {
    let granted = |name: &str| caps.iter().any(|c| c.as_ref().strip_prefix("CAP_").unwrap_or(c.as_ref()) == name);
    let admin = granted("SYS_ADMIN");
    let mut syscalls = vec![rule(ALLOWED, "SCMP_ACT_ALLOW", None)];
    for (capability, names) in CONDITIONAL {
        if granted(capability) {
            syscalls.push(rule(names, "SCMP_ACT_ALLOW", None));
        }
    }
    if admin {
        syscalls.push(rule(&["clone3"], "SCMP_ACT_ALLOW", None));
    } else {
        let plain = argument(0, "SCMP_CMP_MASKED_EQ", CLONE_NAMESPACES, 0);
        syscalls.push(SyscallRule { args: vec![plain], ..rule(&["clone"], "SCMP_ACT_ALLOW", None) });
        // Its flags are in memory, where no filter looks; on ENOSYS libraries use `clone`.
        syscalls.push(rule(&["clone3"], "SCMP_ACT_ERRNO", Some(ENOSYS)));
    }
    for value in PERSONALITIES {
        let args = vec![argument(0, "SCMP_CMP_MASKED_EQ", INT, value)];
        syscalls.push(SyscallRule { args, ..rule(&["personality"], "SCMP_ACT_ALLOW", None) });
    }
    for family in [AF_ALG, AF_VSOCK] {
        let args = vec![argument(0, "SCMP_CMP_MASKED_EQ", INT, family)];
        syscalls.push(SyscallRule { args, ..rule(&["socket"], "SCMP_ACT_ERRNO", Some(EAFNOSUPPORT)) });
    }
    // `socketcall` of 32-bit programs has its family in memory: it may not make sockets at all, or any 64-bit program
    // would get round the rule above by it.
    let args = vec![argument(0, "SCMP_CMP_MASKED_EQ", INT, SYS_SOCKET)];
    syscalls.push(SyscallRule { args, ..rule(&["socketcall"], "SCMP_ACT_ERRNO", Some(ENOSYS)) });
    syscalls.push(rule(&["socket", "socketcall"], "SCMP_ACT_ALLOW", None));
    // After the rules that allow: the first one without conditions is the one that holds.
    for (_, names) in CONDITIONAL {
        syscalls.push(rule(names, "SCMP_ACT_ERRNO", Some(EPERM)));
    }
    syscalls.push(rule(&["personality"], "SCMP_ACT_ERRNO", Some(EPERM)));
    syscalls.push(rule(DENIED, "SCMP_ACT_ERRNO", Some(EPERM)));
    let companion = if arch == Arch::Aarch64 { Arch::Arm } else { Arch::X86 };
    Seccomp {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        default_errno_ret: Some(ENOSYS),
        architectures: vec![arch.oci_name().to_owned(), companion.oci_name().to_owned()],
        // Kernels before 5.16 would otherwise slow the process down against a leak it does not have.
        flags: vec!["SECCOMP_FILTER_FLAG_SPEC_ALLOW".to_owned()],
        syscalls,
        ..Seccomp::default()
    }
}

fn rule(names: &[&str], action: &str, errno_ret: Option<u32>) -> SyscallRule {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    SyscallRule { names, action: action.to_owned(), errno_ret, args: Vec::new() }
}

fn argument(index: u32, op: &str, value: u64, value_two: u64) -> SyscallArg {
    SyscallArg { index, value, value_two, op: op.to_owned() }
}

/// Each list by name, for the test that nothing is missing or doubled.
#[cfg(test)]
pub(super) fn lists() -> [Vec<&'static str>; 4] {
    let conditional = CONDITIONAL.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    [ALLOWED.to_vec(), conditional, DENIED.to_vec(), SPECIAL.to_vec()]
}
