//! The table of commands: name, topic, one line about it, two examples, and how its flags become a [`Command`].
//!
//! The one place a command is listed; help, completions and man pages come from it.

mod rows;

use std::fmt::Write as _;

use clap::ArgMatches;

use super::{container, create, image, lifecycle, network, network_path, system, vm, volume};

pub use rows::entries;

/// Builds a row: `row!("name", ["alias"], Topic, Variant(Flags), "about", "example one\nexample two")`.
macro_rules! row {
    ($name:literal, [$($alias:literal),*], $topic:ident, $variant:ident($flags:ty), $about:literal, $examples:literal) => {
        Entry {
            name: $name,
            aliases: &[$($alias),*],
            topic: Topic::$topic,
            about: $about,
            examples: $examples,
            action: Action::Command {
                augment: <$flags as Args>::augment_args,
                read: |matches| <$flags as FromArgMatches>::from_arg_matches_mut(matches).map(Command::$variant),
            },
        }
    };
}
pub(crate) use row;

/// A command with its flags, as typed.
#[derive(Debug)]
#[allow(missing_docs, reason = "each variant is the command of its name")]
pub enum Command {
    Run(Box<create::Run>),
    Create(Box<create::Create>),
    Start(lifecycle::Start),
    Stop(lifecycle::Stop),
    Restart(lifecycle::Restart),
    Kill(lifecycle::Kill),
    Rm(lifecycle::Rm),
    Ps(container::Ps),
    Logs(container::Logs),
    Exec(container::Exec),
    Attach(container::Attach),
    Inspect(container::Inspect),
    ContainerInspect(container::Inspect),
    Stats(container::Stats),
    Top(container::Top),
    Wait(lifecycle::Containers),
    Cp(lifecycle::Cp),
    Pause(lifecycle::Containers),
    Unpause(lifecycle::Containers),
    Update(lifecycle::Update),
    Rename(lifecycle::Rename),
    Diff(lifecycle::Containers),
    Commit(lifecycle::Commit),
    Export(lifecycle::Export),
    ContainerPrune(lifecycle::Prune),
    Events(container::Events),
    Info(system::Info),
    Doctor(system::Doctor),
    Compare(system::Compare),
    Version(system::Version),
    SystemDf(system::SystemDf),
    SystemPrune(system::SystemPrune),
    SystemBoot(system::SystemBoot),
    VolumeCreate(volume::VolumeCreate),
    VolumeList(volume::VolumeList),
    VolumeInspect(volume::VolumeInspect),
    VolumeRemove(volume::VolumeRemove),
    VolumePrune(lifecycle::Prune),
    NetworkCreate(Box<network::NetworkCreate>),
    NetworkList(network::NetworkList),
    NetworkInspect(network::NetworkInspect),
    NetworkRemove(network::NetworkRemove),
    NetworkPrune(network::NetworkPrune),
    NetworkConnect(network::NetworkConnect),
    NetworkDisconnect(network::NetworkDisconnect),
    NetworkPorts(network::NetworkPorts),
    NetworkRepair(network::NetworkRepair),
    Port(network::Port),
    VmCreate(Box<vm::VmCreate>),
    VmStart(vm::VmStart),
    VmStop(vm::VmStop),
    VmConsole(vm::VmConsole),
    VmExec(vm::VmExec),
    VmSnapshot(vm::VmMoment),
    VmRestore(vm::VmMoment),
    VmRemove(vm::VmRemove),
    VmList(vm::VmList),
    VmInspect(vm::VmInspect),
    Pull(image::Pull),
    Push(image::Push),
    Images(image::Images),
    Rmi(image::Rmi),
    Tag(image::Tag),
    History(image::History),
    Save(image::Save),
    Load(image::Load),
    Import(image::Import),
    ImageInspect(image::ImageInspect),
    ImagePrune(lifecycle::Prune),
    Login(image::Login),
    Logout(image::Logout),
    Cni(system::Cni),
    NetworkPath(network_path::NetworkPath),
    Completions(system::Completions),
    Man(system::Man),
}

/// What a command is about; the top-level help is grouped by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Making and running containers.
    Run,
    /// Containers that are there.
    Container,
    /// Images.
    Image,
    /// Registries.
    Registry,
    /// Holm itself.
    System,
    /// Sub-commands by object, as docker's.
    Group,
}

/// One command or group of commands.
#[derive(Debug)]
pub struct Entry {
    /// Its word.
    pub name: &'static str,
    /// Other words for it.
    pub aliases: &'static [&'static str],
    /// What it is about.
    pub topic: Topic,
    /// One line about it.
    pub about: &'static str,
    /// Command lines, one a line; each runs as it stands.
    pub examples: &'static str,
    pub(super) action: Action,
}

type Reader = fn(&mut ArgMatches) -> Result<Command, clap::Error>;

/// What an entry is.
#[derive(Debug)]
pub(super) enum Action {
    /// A command.
    Command { augment: fn(clap::Command) -> clap::Command, read: Reader },
    /// A group.
    Group(&'static [Entry]),
}

impl Entry {
    /// The commands of a group; none for a command.
    pub fn children(&self) -> &'static [Entry] {
        match self.action {
            Action::Group(children) => children,
            Action::Command { .. } => &[],
        }
    }

    /// Whether it runs a program in a container, so that its exit codes are docker's.
    pub fn runs_programs(&self) -> bool {
        matches!(self.name, "run" | "create" | "exec" | "start" | "restart")
    }

    /// Whether its process enters a container.
    pub fn enters_containers(&self) -> bool {
        matches!(self.name, "run" | "start" | "restart" | "exec" | "boot")
    }

    pub(super) fn reader(&self) -> Option<Reader> {
        match self.action {
            Action::Command { read, .. } => Some(read),
            Action::Group(_) => None,
        }
    }

    fn bare(&self) -> clap::Command {
        let command = clap::Command::new(self.name).args_override_self(true);
        let command = match self.action {
            // As docker's parser: what follows a flag that takes a value is its value, also with a hyphen.
            Action::Command { augment, .. } => augment(command).mut_args(|arg| match arg.get_action() {
                clap::ArgAction::Set | clap::ArgAction::Append if !arg.is_positional() => arg.allow_hyphen_values(true),
                _ => arg,
            }),
            Action::Group(_) => command.subcommand_required(true).disable_help_subcommand(true),
        };
        command.about(self.about).long_about(None).visible_aliases(self.aliases.iter().copied()).after_help(
            self.examples.lines().fold("Examples:".to_owned(), |mut text, line| {
                let _ = write!(text, "\n  {line}");
                text
            }),
        )
    }
}

/// The entry of that word.
pub(super) fn find(level: &'static [Entry], word: &str) -> Option<&'static Entry> {
    level.iter().find(|entry| entry.name == word || entry.aliases.contains(&word))
}

/// The clap command of `first`, with only the path `rest` below it; with everything below it where `rest` is empty.
pub(super) fn build_path(first: &'static Entry, rest: &[&'static Entry]) -> clap::Command {
    match rest.split_first() {
        Some((next, rest)) => first.bare().subcommand(build_path(next, rest)),
        None => add_all(first.bare(), first.children()),
    }
}

/// `command` with everything of `level` below it.
pub(super) fn add_all(command: clap::Command, level: &'static [Entry]) -> clap::Command {
    level.iter().fold(command, |command, entry| command.subcommand(add_all(entry.bare(), entry.children())))
}

/// The help of `holm` itself, grouped by topic. Built without building any command.
pub(super) fn top_help() -> String {
    let mut text = String::from("Run OCI images as containers, without a daemon\n\nUsage: holm [OPTIONS] COMMAND\n");
    let topics = [
        (Topic::Run, "Run"),
        (Topic::Container, "Containers"),
        (Topic::Image, "Images"),
        (Topic::Registry, "Registries"),
        (Topic::System, "Holm"),
        (Topic::Group, "By object"),
    ];
    for (topic, title) in topics {
        let names: Vec<&str> = entries().iter().filter(|e| e.topic == topic).map(|e| e.name).collect();
        match topic {
            Topic::Run => {
                let _ = writeln!(text, "\n{title}:");
                for entry in entries().iter().filter(|e| e.topic == topic) {
                    let _ = writeln!(text, "  {:<11} {}", entry.name, entry.about);
                }
            }
            _ => wrapped(&mut text, title, &names),
        }
    }
    text.push_str(
        "\nOptions:\n      --config FILE      Settings file\n      --data-root DIR    Folder of images, containers and \
         volumes\n      --run-root DIR     Folder of what lives until the next boot\n      --log-level LEVEL  error, \
         warn, info or debug\n  -v, --version          Print the version\n      --help             Print this help\n\n\
         Examples:\n  holm run --rm -it debian bash\n  holm run -d --name web -p 8080:80 nginx\n\n\
         `holm COMMAND --help` tells more.\n",
    );
    text
}

fn wrapped(text: &mut String, title: &str, names: &[&str]) {
    let _ = write!(text, "\n{title}:");
    let mut column = usize::MAX;
    for name in names {
        if column.saturating_add(name.len() + 1) > 78 {
            text.push_str("\n ");
            column = 1;
        }
        let _ = write!(text, " {name}");
        column += name.len() + 1;
    }
    text.push('\n');
}

/// The command whose name is nearest to a mistyped word.
pub(super) fn nearest(word: &str) -> Option<&'static str> {
    if word.len() > 30 {
        return None;
    }
    let distance = |name: &'static str| (edit_distance(word, name), name);
    entries().iter().map(|e| distance(e.name)).min().filter(|(n, _)| *n <= 2 && *n < word.len()).map(|(_, name)| name)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
