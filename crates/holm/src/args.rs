//! The command line: every flag of every command, and how an argument vector becomes a [`Command`].
//!
//! Parsing has no side effects and looks at nothing but its arguments; [`crate::intent`] resolves what was typed. Only
//! the wanted command's flags are built, since building all of them costs a start more than parsing one.

pub mod container;
pub mod create;
pub mod image;
pub mod lifecycle;
pub mod network;
pub mod network_path;
pub mod system;
mod table;
pub mod vm;
pub mod volume;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, ArgMatches, Args, FromArgMatches};

pub use table::{Command, Entry, Topic, entries};

/// Flags that every command takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Settings file, instead of the system's and the user's.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub config: Option<PathBuf>,
    /// Folder of images, containers and volumes.
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub data_root: Option<PathBuf>,
    /// Folder of what lives until the next boot.
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub run_root: Option<PathBuf>,
    /// What is told on standard error: error, warn, info or debug.
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Global options",
          value_parser = ["error", "warn", "info", "debug"], hide_possible_values = true)]
    pub log_level: Option<String>,
}

/// A parsed command line.
#[derive(Debug)]
pub struct Invocation {
    /// Flags that every command takes.
    pub globals: Globals,
    /// The command and its flags.
    pub command: Command,
}

/// Why there is no invocation: a text to print and the code to exit with.
#[derive(Debug)]
pub struct Refusal {
    /// Help (for standard output) or a complaint with usage (for standard error).
    pub text: String,
    /// Whether the text is what was asked for.
    pub wanted: bool,
    /// Exit code.
    pub code: u8,
}

/// Parses the arguments behind the program's name.
pub fn parse(arguments: &[OsString]) -> Result<Invocation, Refusal> {
    if let Some((first, rest)) = arguments.split_first()
        && first == "help"
    {
        // `holm help run` is what fingers type for `holm run --help`.
        let asked: Vec<OsString> = rest.iter().cloned().chain(["--help".into()]).collect();
        return parse(&asked);
    }
    let path = wanted_path(arguments);
    if path.is_empty() && !arguments.iter().any(|a| a.to_str().is_some_and(|a| a.starts_with('-'))) {
        return match arguments.first() {
            None => Err(Refusal { text: table::top_help(), wanted: true, code: 0 }),
            Some(word) => Err(unknown_command(word)),
        };
    }
    if path.is_empty() && arguments.iter().any(|a| a == "--help" || a == "-h") {
        return Err(Refusal { text: table::top_help(), wanted: true, code: 0 });
    }
    let mut command = root(&path);
    if arguments.iter().any(is_boolean_assignment) {
        command = with_boolean_values(command);
    }
    let argv = std::iter::once(OsString::from("holm")).chain(arguments.iter().cloned());
    let mut matches = command.try_get_matches_from(argv).map_err(|error| refusal(&error, &path))?;
    let globals = Globals::from_arg_matches(&matches).map_err(|error| refusal(&error, &path))?;
    let command = read(&mut matches, entries()).map_err(|error| refusal(&error, &path))?;
    Ok(Invocation { globals, command })
}

/// The whole tree, for completions and man pages.
pub fn full_tree() -> clap::Command {
    table::add_all(bare_root(), entries())
}

fn bare_root() -> clap::Command {
    let root = clap::Command::new("holm")
        .about("Run OCI images as containers, without a daemon")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .args_override_self(true)
        .arg(clap::Arg::new("version").short('v').long("version").action(ArgAction::Version).help("Print the version"));
    Globals::augment_args(root)
}

fn root(path: &[&'static Entry]) -> clap::Command {
    match path.split_first() {
        Some((first, rest)) => bare_root().subcommand(table::build_path(first, rest)),
        None => bare_root().override_help(table::top_help()),
    }
}

/// The entries that the arguments name, outermost first, without parsing flags: the first words that are neither flags
/// nor values of global flags.
pub fn wanted_path(arguments: &[OsString]) -> Vec<&'static Entry> {
    const VALUED: [&str; 4] = ["--config", "--data-root", "--run-root", "--log-level"];
    let mut path: Vec<&'static Entry> = Vec::new();
    let mut level = entries();
    let mut skip = false;
    for argument in arguments {
        let Some(text) = argument.to_str() else { break };
        if std::mem::take(&mut skip) {
            continue;
        }
        if text.starts_with('-') {
            skip = VALUED.contains(&text);
            continue;
        }
        let Some(entry) = table::find(level, text) else { break };
        path.push(entry);
        level = entry.children();
        if level.is_empty() {
            break;
        }
    }
    path
}

fn read(matches: &mut ArgMatches, level: &'static [Entry]) -> Result<Command, clap::Error> {
    let missing = || clap::Error::new(clap::error::ErrorKind::MissingSubcommand);
    let (name, mut inner) = matches.remove_subcommand().ok_or_else(missing)?;
    let entry = table::find(level, &name).ok_or_else(missing)?;
    match entry.reader() {
        Some(reader) => reader(&mut inner),
        None => read(&mut inner, entry.children()),
    }
}

fn unknown_command(word: &OsString) -> Refusal {
    let word = crate::error::printable(&word.to_string_lossy());
    let near = table::nearest(&word).map(|name| format!("hint: did you mean `holm {name}`?\n")).unwrap_or_default();
    let text =
        format!("error: there is no command `{word}`\n{near}\nUsage: holm COMMAND\nSee `holm --help` for the list.\n");
    Refusal { text, wanted: false, code: crate::error::CODE_USAGE }
}

fn refusal(error: &clap::Error, path: &[&'static Entry]) -> Refusal {
    use clap::error::ErrorKind;
    let wanted = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let runs = path.last().is_some_and(|entry| entry.runs_programs());
    let code = match (wanted, runs) {
        (true, _) => 0,
        (false, true) => crate::error::CODE_HOLM,
        (false, false) => crate::error::CODE_USAGE,
    };
    let text = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand || path.is_empty() && !wanted {
        format!("{}\nSee `holm --help`.\n", error.render().to_string().trim_end())
    } else {
        error.render().to_string()
    };
    Refusal { text, wanted, code }
}

/// Whether an argument has the form `--flag=true` that docker takes for its boolean flags.
fn is_boolean_assignment(argument: &OsString) -> bool {
    let Some((flag, value)) = argument.to_str().and_then(|text| text.split_once('=')) else { return false };
    flag.starts_with('-') && go_bool(value).is_ok()
}

/// A boolean as Go's `strconv.ParseBool` reads it.
pub fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("use true or false".to_owned()),
    }
}

/// Lets every switch take `=true` and `=false`. Only done when one is used so: it would spoil the help.
fn with_boolean_values(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| {
            if matches!(arg.get_action(), ArgAction::SetTrue) {
                arg.action(ArgAction::Set)
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
                    .default_value("false")
                    .value_parser(go_bool)
            } else {
                arg
            }
        })
        .mut_subcommands(with_boolean_values)
}

#[cfg(test)]
mod tests;
