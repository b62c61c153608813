//! The processes of a container, read from the host's `/proc`. Nothing of the image is run or even looked at
//! (CVE-2022-1227).

use std::path::Path;

use holm_container::cgroup::{Cgroup, Hierarchy};
use holm_spec::ContainerId;
use holm_spec::state::Status;

use super::Engine;
use crate::layout::now_ns;
use crate::{Error, Top};

/// Docker's columns, those of `ps -ef`.
const DEFAULT: [&str; 8] = ["uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd"];
/// Clock ticks of a second in `/proc`, fixed by the kernel's user-space interface.
const TICKS: u64 = 100;

struct Row {
    pid: i32,
    ppid: i32,
    uid: u32,
    state: char,
    tty: i32,
    cpu_ticks: u64,
    start_ticks: u64,
    rss_kib: u64,
    vsz_kib: u64,
    threads: u64,
    nice: i64,
    name: String,
    command: String,
}

impl Engine {
    /// Its processes, read from the host's /proc; nothing of the image is run. `columns` are ps names (`pid`, `args`, …),
    /// docker's default set where empty.
    pub fn top(&self, id: &ContainerId, columns: &[String]) -> Result<Top, Error> {
        let record = self.roots.read_record(id)?;
        let state = self.roots.read_state(id)?;
        if !matches!(state.status, Status::Running | Status::Paused) {
            return Err(self.not_running(id, "list the processes of", record.spec.name.to_string()));
        }
        let wanted: Vec<String> = match columns {
            [] => DEFAULT.map(str::to_owned).to_vec(),
            given => given.iter().map(|c| c.to_ascii_lowercase()).collect(),
        };
        let titles = wanted.iter().map(|c| title(c)).collect::<Result<Vec<_>, _>>()?;
        if record.spec.sandbox.isolation.machine().is_some() {
            let rows = self.guest_processes(id)?;
            let rows: Vec<Row> = rows.into_iter().filter_map(of_guest).collect();
            return Ok(table(&wanted, titles, rows));
        }
        let pids = if state.cgroup_path.is_empty() {
            vec![state.pid]
        } else {
            let failed = |e: holm_container::cgroup::CgroupError| {
                let cause = std::io::Error::other(crate::error::chain(&e));
                Error::io("list the processes of", record.spec.name.as_str(), cause)
            };
            let hierarchy = Hierarchy::discover(Path::new("/sys/fs/cgroup")).map_err(failed)?;
            Cgroup::open(&hierarchy, &state.cgroup_path).and_then(|g| g.procs()).map_err(failed)?
        };
        Ok(table(&wanted, titles, pids.into_iter().filter_map(row).collect()))
    }
}

fn table(wanted: &[String], titles: Vec<&'static str>, mut rows: Vec<Row>) -> Top {
    rows.sort_by_key(|r| (r.start_ticks, r.pid));
    let boot_s = boot_time();
    let rows = rows.iter().map(|r| wanted.iter().map(|c| cell(r, c, boot_s)).collect()).collect();
    Top { titles: titles.into_iter().map(str::to_owned).collect(), rows }
}

/// A process of a virtual machine, as its agent tells of it.
fn of_guest(told: holm_spec::guest::ProcessRow) -> Option<Row> {
    read(told.pid, told.uid, told.stat.as_bytes(), told.command)
}

fn title(column: &str) -> Result<&'static str, Error> {
    Ok(match column {
        "uid" => "UID",
        "user" | "euser" => "USER",
        "pid" => "PID",
        "ppid" => "PPID",
        "c" => "C",
        "%cpu" | "pcpu" => "%CPU",
        "%mem" | "pmem" => "%MEM",
        "stime" | "start" => "STIME",
        "tty" | "tt" | "tname" => "TTY",
        "time" | "cputime" => "TIME",
        "etime" => "ELAPSED",
        "cmd" => "CMD",
        "args" | "command" => "COMMAND",
        "comm" | "ucmd" => "COMMAND",
        "stat" | "state" | "s" => "S",
        "rss" | "rssize" => "RSS",
        "vsz" | "vsize" => "VSZ",
        "nlwp" | "thcount" => "NLWP",
        "ni" | "nice" => "NI",
        other => {
            let known =
                "uid, pid, ppid, c, pcpu, pmem, stime, tty, time, etime, cmd, args, comm, stat, rss, vsz, nlwp, ni";
            return Err(Error::invalid(format!("column `{}`", other.escape_default()), format!("known are {known}")));
        }
    })
}

/// Reads one process; `None` when it is gone. *Source*: proc_pid_stat(5).
fn row(pid: i32) -> Option<Row> {
    let folder = format!("/proc/{pid}");
    let stat = std::fs::read(format!("{folder}/stat")).ok()?;
    let line = std::fs::read(format!("{folder}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|b| *b == 0).filter(|w| !w.is_empty()).map(String::from_utf8_lossy).collect();
    use std::os::unix::fs::MetadataExt;
    read(pid, std::fs::metadata(&folder).ok()?.uid(), &stat, words.join(" "))
}

fn read(pid: i32, uid: u32, stat: &[u8], command: String) -> Option<Row> {
    let (open, close) = (stat.iter().position(|b| *b == b'(')?, stat.iter().rposition(|b| *b == b')')?);
    let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let rest = String::from_utf8_lossy(stat.get(close + 1..)?).into_owned();
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3).and_then(|t| t.parse::<i64>().ok()).unwrap_or(0);
    let unsigned = |field: usize| u64::try_from(number(field)).unwrap_or(0);
    let command = if command.is_empty() { format!("[{name}]") } else { command };
    Some(Row {
        pid,
        ppid: i32::try_from(number(4)).unwrap_or(0),
        uid,
        state: fields.first().and_then(|s| s.chars().next()).unwrap_or('?'),
        tty: i32::try_from(number(7)).unwrap_or(0),
        cpu_ticks: unsigned(14) + unsigned(15),
        start_ticks: unsigned(22),
        rss_kib: unsigned(24) * (rustix::param::page_size() as u64 / 1024),
        vsz_kib: unsigned(23) / 1024,
        threads: unsigned(20),
        nice: number(19),
        name,
        command,
    })
}

fn boot_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|l| l.strip_prefix("btime "));
    line.and_then(|t| t.trim().parse().ok()).unwrap_or(0)
}

fn cell(row: &Row, column: &str, boot_s: u64) -> String {
    let now_s = now_ns() / 1_000_000_000;
    let start_s = boot_s + row.start_ticks / TICKS;
    let lived_s = now_s.saturating_sub(start_s);
    let cpu_s = row.cpu_ticks / TICKS;
    let clock = |s: u64| format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
    let percent = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    match column {
        "uid" | "user" | "euser" => user_name(row.uid),
        "pid" => row.pid.to_string(),
        "ppid" => row.ppid.to_string(),
        "c" => format!("{:.0}", percent(cpu_s, lived_s).min(99.0)),
        "%cpu" | "pcpu" => format!("{:.1}", percent(cpu_s, lived_s)),
        "%mem" | "pmem" => {
            let total = rustix::system::sysinfo();
            format!("{:.1}", percent(row.rss_kib * 1024, total.totalram as u64 * u64::from(total.mem_unit)))
        }
        "stime" | "start" => clock(start_s % 86_400)[..5].to_owned(),
        "tty" | "tt" | "tname" if row.tty == 0 => "?".to_owned(),
        "tty" | "tt" | "tname" => format!("pts/{}", row.tty & 0xff),
        "time" | "cputime" => clock(cpu_s),
        "etime" => clock(lived_s),
        "stat" | "state" | "s" => row.state.to_string(),
        "rss" | "rssize" => row.rss_kib.to_string(),
        "vsz" | "vsize" => row.vsz_kib.to_string(),
        "nlwp" | "thcount" => row.threads.to_string(),
        "ni" | "nice" => row.nice.to_string(),
        "comm" | "ucmd" => row.name.clone(),
        _ => row.command.clone(),
    }
}

/// The host's name for an id, as `ps` on the host shows it.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| uid.to_string())
}
