//! `holm system boot`: what is started after the machine was, and the systemd unit that asks for it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use holm_pod::StartIo;

use crate::args::system::SystemBoot;
use crate::commands::context::Context;
use crate::commands::{Outcome, for_each};
use crate::error::Failure;
use crate::output;
use crate::settings::SYSTEM_FILE;

/// `holm system boot`
pub fn boot(context: &Context, flags: &SystemBoot) -> Outcome {
    if flags.print_unit {
        output::print(&unit(&program()?, &context.settings.all(), &context.roots().data))?;
        return Ok(0);
    }
    let engine = context.engine()?;
    let due = engine.due_after_boot().map_err(Failure::from)?;
    let names: Vec<String> = due.into_iter().map(|container| container.spec.name.to_string()).collect();
    for_each(&names, true, &|name| {
        let id = context.find(&engine, name)?;
        match engine.start(&id, StartIo::default()) {
            // Somebody was faster.
            Err(holm_pod::Error::WrongState { status: "running", .. }) => Ok(()),
            other => {
                let started = other.map_err(Failure::from)?;
                started.warnings.iter().for_each(|text| crate::log::warn_administrator(text));
                Ok(())
            }
        }
    })
}

/// Where this program is. It may run from a mount without a path, so the word that started it is followed instead.
fn program() -> Result<PathBuf, Failure> {
    let word = PathBuf::from(std::env::args_os().next().unwrap_or_default());
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let candidates: Vec<PathBuf> = match word.components().count() {
        1 => std::env::split_paths(&folders).map(|folder| folder.join(&word)).collect(),
        _ => vec![word.clone()],
    };
    candidates.into_iter().find_map(|path| path.canonicalize().ok().filter(|path| path.is_file())).ok_or_else(|| {
        Failure::new(format!("cannot find the program `{}`", word.display()))
            .with_hint("call it by its whole path, as /usr/local/bin/holm")
    })
}

/// The unit. Settings that are not in the system's file become part of it.
///
/// A failure of one container must not end the unit (hence the `-`): systemd would end all that it had started. The
/// supervisors stay in the unit's group and end with it, in order, each giving its container the time that it is due.
fn unit(program: &Path, settings: &[(&'static str, String, String)], data: &Path) -> String {
    let mut text = format!(
        "[Unit]\n\
         Description=Containers of Holm that a restart policy wants running\n\
         Wants=network-online.target\n\
         After=network-online.target local-fs.target remote-fs.target\n\
         RequiresMountsFor={}\n\n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=-{} system boot\n\
         TimeoutStartSec=infinity\n\
         TimeoutStopSec=5min\n\
         TasksMax=infinity\n\
         OOMPolicy=continue\n",
        quoted(&data.display().to_string()),
        quoted(&program.display().to_string()),
    );
    let mut config = None;
    for (name, value, origin) in settings {
        if origin.starts_with(['$', '-']) {
            let variable = format!("HOLM_{}={value}", name.to_ascii_uppercase().replace('-', "_"));
            let _ = writeln!(text, "Environment={}", quoted(&variable));
        } else if origin.starts_with('/') && origin != SYSTEM_FILE {
            config = Some(origin);
        }
    }
    if let Some(path) = config {
        let _ = writeln!(text, "Environment={}", quoted(&format!("HOLM_CONFIG={path}")));
    }
    text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    text
}

/// A word as unit files want it. *Source*: systemd.syntax(7), "Quoting", and systemd.unit(5), "Specifiers".
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.,:=+@".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_carries_the_settings_that_no_system_file_has() {
        let row = |name, value: &str, origin: &str| (name, value.to_owned(), origin.to_owned());
        let settings = [
            row("data-root", "/srv/my data", "--data-root"),
            row("run-root", "/run/holm", "default"),
            row("cgroup-driver", "systemd", "$HOLM_CGROUP_DRIVER"),
            row("log-level", "info", SYSTEM_FILE),
            row("pull", "never", "/home/me/c.toml"),
        ];
        let text = unit(Path::new("/opt/100% holm/holm"), &settings, Path::new("/srv/my data"));
        for line in [
            "ExecStart=-\"/opt/100%% holm/holm\" system boot",
            "RequiresMountsFor=\"/srv/my data\"",
            "Environment=\"HOLM_DATA_ROOT=/srv/my data\"",
            "Environment=HOLM_CGROUP_DRIVER=systemd",
            "Environment=HOLM_CONFIG=/home/me/c.toml",
            "WantedBy=multi-user.target",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("HOLM_RUN_ROOT") && !text.contains("HOLM_LOG_LEVEL"), "{text}");
    }
}
