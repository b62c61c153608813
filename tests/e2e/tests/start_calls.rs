//! What a start asks of the kernel, counted by strace: no wait for the disk, no thread, no program but the container's.

use holm_kit::{BUSYBOX, Leaks, Scratch, has_command, requires};

/// System calls of the command, its supervisor and the container's process up to the end of all three, the program's own
/// included. *Source*: SPECIFICATION.md; 717 were counted, most of them for mounts and for taking away, and 745 where the container
/// outlived the moment at which its supervisor begins to listen.
const MOST_CALLS: usize = 760;

/// A start's calls, one line each: `NAME(arguments…`.
fn calls_of_a_start(scratch: &Scratch) -> Vec<String> {
    let trace = scratch.path().join("trace");
    let strace = ["strace", "-f", "-s", "256", "-o"].map(std::ffi::OsString::from);
    let line = scratch.run(["--rm", "--network", "none", BUSYBOX, "true"]);
    line.through(strace.into_iter().chain([trace.clone().into_os_string()])).ok();
    let text = std::fs::read_to_string(trace).expect("read the trace");
    // `PID NAME(…`; what is resumed, signalled or ended is no call.
    let calls = text.lines().filter_map(|line| line.split_once(' ').map(|(_, rest)| rest.trim_start()));
    calls.filter(|call| call.starts_with(|c: char| c.is_ascii_lowercase())).map(str::to_owned).collect()
}

#[test]
fn start_waits_for_no_disk_starts_no_thread_and_runs_no_other_program() {
    requires!(has_command("strace"), "strace is not installed");
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    // The first one of a data root makes the folders.
    scratch.run(["--rm", "--network", "none", BUSYBOX, "true"]).ok();
    let calls = calls_of_a_start(&scratch);
    let name = |call: &str| call.split('(').next().unwrap_or_default().to_owned();
    for call in &calls {
        let syncs = ["fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"];
        assert!(!syncs.contains(&name(call).as_str()), "waits for the disk: {call}");
        assert!(!call.contains("CLONE_THREAD"), "starts a thread: {call}");
    }
    let executed: Vec<_> = calls.iter().filter(|call| name(call).starts_with("execve")).collect();
    let program = |call: &str| call.split('"').nth(1).unwrap_or_default().to_owned();
    let own = holm_kit::holm_binary().display().to_string();
    for call in &executed {
        let program = program(call);
        // By descriptor it executes itself again; the others are the places in which `true` is looked for.
        assert!(program == own || program.is_empty() || program.ends_with("/true"), "runs another program: {call}");
    }
    assert_eq!(executed.iter().filter(|call| program(call) == own).count(), 1, "{executed:#?}");
    assert!(executed.iter().filter(|call| program(call).is_empty()).count() <= 1, "{executed:#?}");
    assert!(calls.len() <= MOST_CALLS, "{} system calls, at most {MOST_CALLS} are promised", calls.len());
    leaks.assert_none();
}
