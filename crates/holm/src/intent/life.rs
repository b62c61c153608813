//! Restart policy, health check and log options.

use holm_spec::container::{LogDriver, LogSpec, RestartPolicy};
use holm_spec::oci::image::Healthcheck;
use holm_spec::quantity::parse_duration;

use super::{environment, limit};
use crate::args::create::LifeFlags;
use crate::error::{CODE_HOLM, Failure};

/// A restart policy: `no`, `always`, `on-failure[:N]` or `unless-stopped`.
pub fn restart(text: Option<&str>) -> Result<RestartPolicy, Failure> {
    let Some(text) = text else { return Ok(RestartPolicy::No) };
    let bad = |why: &str| {
        Failure::flag("--restart", text, why).with_hint("--restart no, always, on-failure[:N] or unless-stopped")
    };
    match text.split_once(':').map_or((text, None), |(name, count)| (name, Some(count))) {
        ("" | "no", None) => Ok(RestartPolicy::No),
        ("always", None) => Ok(RestartPolicy::Always),
        ("unless-stopped", None) => Ok(RestartPolicy::UnlessStopped),
        ("on-failure", None) => Ok(RestartPolicy::OnFailure { maximum_retry_count: 0 }),
        ("on-failure", Some(count)) => {
            let maximum_retry_count = count.parse().map_err(|_| bad("the count must be a number"))?;
            Ok(RestartPolicy::OnFailure { maximum_retry_count })
        }
        (_, Some(_)) => Err(bad("only on-failure takes a count")),
        _ => Err(bad("there is no such policy")),
    }
}

/// `--stop-timeout`
pub fn stop_timeout(seconds: Option<i64>) -> Result<Option<i64>, Failure> {
    match seconds {
        Some(n) if n < -1 => {
            Err(Failure::flag("--stop-timeout", &n.to_string(), "it must be 0 or more, or -1 to wait for ever"))
        }
        other => Ok(other),
    }
}

/// The health check of the flags; `None` where they say nothing of it.
pub fn healthcheck(flags: &LifeFlags) -> Result<Option<Healthcheck>, Failure> {
    let nanos = |flag: &str, text: &Option<String>| match text.as_deref() {
        None => Ok(0),
        Some(text) => match parse_duration(text) {
            Ok(time) if time.is_zero() || time.as_micros() >= 1000 => {
                Ok(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
            }
            Ok(_) => Err(Failure::flag(flag, text, "it must be 1ms or more")),
            Err(error) => Err(Failure::flag(flag, text, error.to_string()).with_hint(format!("{flag} 30s"))),
        },
    };
    let check = Healthcheck {
        test: flags.health_cmd.as_ref().map(|command| match command.as_str() {
            "none" => vec!["NONE".to_owned()],
            _ => vec!["CMD-SHELL".to_owned(), command.clone()],
        }),
        interval: nanos("--health-interval", &flags.health_interval)?,
        timeout: nanos("--health-timeout", &flags.health_timeout)?,
        start_period: nanos("--health-start-period", &flags.health_start_period)?,
        start_interval: nanos("--health-start-interval", &flags.health_start_interval)?,
        retries: flags.health_retries.unwrap_or(0),
    };
    let asked = check != Healthcheck::default();
    match (flags.no_healthcheck, asked) {
        (true, true) => {
            Err(Failure::new("cannot use --no-healthcheck together with other --health flags").with_code(CODE_HOLM))
        }
        (true, false) => Ok(Some(Healthcheck { test: Some(vec!["NONE".to_owned()]), ..Healthcheck::default() })),
        (false, true) => Ok(Some(check)),
        (false, false) => Ok(None),
    }
}

/// `--log-driver` and `--log-opt`.
pub fn log(flags: &LifeFlags) -> Result<LogSpec, Failure> {
    let mut log = LogSpec::default();
    match flags.log_driver.as_deref() {
        None | Some("json-file") => {}
        Some("local") => (log.max_size_bytes, log.max_files) = (20 << 20, 5),
        Some("none") => log.driver = LogDriver::None,
        Some(other) => {
            return Err(Failure::flag("--log-driver", other, "there is no such driver")
                .with_hint("--log-driver json-file, local or none"));
        }
    }
    for option in &flags.log_opt {
        let (key, value) = environment::pair("--log-opt", option)?;
        match key {
            "max-size" if value == "-1" => log.max_size_bytes = 0,
            "max-size" => log.max_size_bytes = limit::size("--log-opt max-size", value)?,
            "max-file" => {
                let bad = || Failure::flag("--log-opt", option, "max-file must be from 1 to 1000");
                log.max_files = value.parse().ok().filter(|n| (1..=1000).contains(n)).ok_or_else(bad)?;
            }
            // What is kept is not compressed, and whether writing may block is not a choice here.
            "compress" | "mode" | "max-buffer-size" => {}
            _ => {
                return Err(Failure::flag("--log-opt", option, format!("there is no option `{key}`"))
                    .with_hint("--log-opt max-size=10m --log-opt max-file=3"));
            }
        }
    }
    Ok(log)
}
