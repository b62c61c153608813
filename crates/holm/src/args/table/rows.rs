//! The rows of the table of commands.

mod image;
mod network;
mod network_path;
mod vm;

use clap::{Args, FromArgMatches};

use super::{Action, Command, Entry, Topic, container, create, lifecycle, row, system, volume};
use image::{
    HISTORY, IMAGE_INSPECT, IMAGE_LS, IMAGE_PRUNE, IMAGE_RM, IMAGES, IMPORT, LOAD, LOGIN, LOGOUT, PULL, PUSH, RMI,
    SAVE, TAG,
};
use network::{NETWORK, PORT};
use vm::VM;

/// All commands, in the order of the help.
pub fn entries() -> &'static [Entry] {
    ENTRIES
}

const RUN: Entry = row!(
    "run",
    [],
    Run,
    Run(Box<create::Run>),
    "Run a program in a new container",
    "holm run --rm -it debian bash\nholm run -d --name web --memory 256m -p 8080:80 nginx"
);
const CREATE: Entry = row!(
    "create",
    [],
    Run,
    Create(Box<create::Create>),
    "Make a container without starting it",
    "holm create --name job debian true\nholm create -it --name shell debian bash"
);
const EXEC: Entry = row!(
    "exec",
    [],
    Run,
    Exec(container::Exec),
    "Run a program in a running container",
    "holm exec -it web sh\nholm exec -u nobody -e A=1 web env"
);
const START: Entry = row!(
    "start",
    [],
    Run,
    Start(lifecycle::Start),
    "Start containers that are not running",
    "holm start web\nholm start -ai job"
);
const STOP: Entry =
    row!("stop", [], Run, Stop(lifecycle::Stop), "Stop running containers", "holm stop web\nholm stop -t 30 web db");
const RESTART: Entry = row!(
    "restart",
    [],
    Container,
    Restart(lifecycle::Restart),
    "Stop and start containers",
    "holm restart web\nholm restart -t 3 web db"
);
const KILL: Entry = row!(
    "kill",
    [],
    Container,
    Kill(lifecycle::Kill),
    "Send a signal to containers",
    "holm kill web\nholm kill -s HUP web"
);
const RM: Entry =
    row!("rm", ["remove"], Run, Rm(lifecycle::Rm), "Remove containers", "holm rm web\nholm rm -fv web db");
const PS: Entry = row!(
    "ps",
    [],
    Run,
    Ps(container::Ps),
    "List containers",
    "holm ps -a\nholm ps --filter status=exited --format '{{.Names}}: {{.Status}}'"
);
const CONTAINER_LS: Entry = row!(
    "ls",
    ["list", "ps"],
    Container,
    Ps(container::Ps),
    "List containers",
    "holm container ls -a\nholm container ls -q --filter label=app=web"
);
const LOGS: Entry = row!(
    "logs",
    [],
    Run,
    Logs(container::Logs),
    "Show the output of a container",
    "holm logs -f web\nholm logs --since 10m -n 100 -t web"
);
const ATTACH: Entry = row!(
    "attach",
    [],
    Container,
    Attach(container::Attach),
    "Attach to a running container",
    "holm attach shell\nholm attach --no-stdin web"
);
const INSPECT: Entry = row!(
    "inspect",
    [],
    Container,
    Inspect(container::Inspect),
    "Show all about containers, images or volumes",
    "holm inspect web\nholm inspect -f '{{.State.Pid}}' web"
);
const CONTAINER_INSPECT: Entry = row!(
    "inspect",
    [],
    Container,
    ContainerInspect(container::Inspect),
    "Show all about containers",
    "holm container inspect web\nholm container inspect -f '{{json .Mounts}}' web"
);
const STATS: Entry = row!(
    "stats",
    [],
    Container,
    Stats(container::Stats),
    "Show what containers use",
    "holm stats\nholm stats --no-stream web"
);
const TOP: Entry = row!(
    "top",
    [],
    Container,
    Top(container::Top),
    "Show the processes of a container",
    "holm top web\nholm top web pid rss args"
);
const WAIT: Entry = row!(
    "wait",
    [],
    Container,
    Wait(lifecycle::Containers),
    "Wait for containers to end, print their exit codes",
    "holm wait job\nholm wait job1 job2"
);
const CP: Entry = row!(
    "cp",
    ["copy"],
    Container,
    Cp(lifecycle::Cp),
    "Copy files from or to a container",
    "holm cp web:/etc/nginx/nginx.conf .\nholm cp - web:/srv < site.tar"
);
const PAUSE: Entry = row!(
    "pause",
    [],
    Container,
    Pause(lifecycle::Containers),
    "Freeze containers",
    "holm pause web\nholm pause web db"
);
const UNPAUSE: Entry = row!(
    "unpause",
    [],
    Container,
    Unpause(lifecycle::Containers),
    "Thaw containers",
    "holm unpause web\nholm unpause web db"
);
const UPDATE: Entry = row!(
    "update",
    [],
    Container,
    Update(lifecycle::Update),
    "Change the limits of containers",
    "holm update --memory 1g --cpus 2 web\nholm update --restart unless-stopped web"
);
const RENAME: Entry = row!(
    "rename",
    [],
    Container,
    Rename(lifecycle::Rename),
    "Give a container another name",
    "holm rename web web-old\nholm rename 4f5e6d7c8b9a web"
);
const DIFF: Entry = row!(
    "diff",
    [],
    Container,
    Diff(lifecycle::Containers),
    "Show what a container changed in its files",
    "holm diff web\nholm container diff web"
);
const COMMIT: Entry = row!(
    "commit",
    [],
    Container,
    Commit(lifecycle::Commit),
    "Make an image of a container",
    "holm commit web web:patched\nholm commit -c 'CMD [\"nginx\"]' -m 'add site' web web:2"
);
const EXPORT: Entry = row!(
    "export",
    [],
    Container,
    Export(lifecycle::Export),
    "Write a container's files as a tar",
    "holm export -o web.tar web\nholm export web | tar t"
);
const CONTAINER_PRUNE: Entry = row!(
    "prune",
    [],
    Container,
    ContainerPrune(lifecycle::Prune),
    "Remove all stopped containers",
    "holm container prune -f\nholm container prune --filter until=24h"
);

const EVENTS: Entry = row!(
    "events",
    [],
    System,
    Events(container::Events),
    "Show what happens",
    "holm events\nholm events --since 1h --until 0s --filter event=die"
);
const INFO: Entry = row!(
    "info",
    [],
    System,
    Info(system::Info),
    "Show the machine, the store and every setting",
    "holm info\nholm info -f '{{.Driver}} {{.CgroupVersion}}'"
);
const DOCTOR: Entry = row!(
    "doctor",
    [],
    System,
    Doctor(system::Doctor),
    "Check what this host has for containers and virtual machines",
    "holm doctor\nholm doctor --isolation vm -o json"
);
const COMPARE: Entry = row!(
    "compare",
    [],
    System,
    Compare(system::Compare),
    "Measure an image as a container and as a virtual machine",
    "holm compare debian\nholm compare --runs 5 debian -- sort /etc/services"
);
const VERSION: Entry = row!(
    "version",
    [],
    System,
    Version(system::Version),
    "Show the version",
    "holm version\nholm version -f '{{.Client.Version}}'"
);
const SYSTEM_DF: Entry =
    row!("df", [], System, SystemDf(system::SystemDf), "Show what takes space", "holm system df\nholm system df -v");
const SYSTEM_PRUNE: Entry = row!(
    "prune",
    [],
    System,
    SystemPrune(system::SystemPrune),
    "Remove all that is unused",
    "holm system prune -f\nholm system prune -af --volumes"
);
const SYSTEM_BOOT: Entry = row!(
    "boot",
    [],
    System,
    SystemBoot(system::SystemBoot),
    "Start the containers that a restart policy wants running, after a boot",
    "holm system boot\nholm system boot --print-unit > /etc/systemd/system/holm.service"
);

const CNI: Entry = row!(
    "cni",
    [],
    System,
    Cni(system::Cni),
    "Be a CNI plugin: give other runtimes' containers Holm's networks",
    "holm cni < network.json\nholm cni < /dev/null"
);
const COMPLETIONS: Entry = row!(
    "completions",
    ["completion"],
    System,
    Completions(system::Completions),
    "Write completions for a shell",
    "holm completions bash > /etc/bash_completion.d/holm\nholm completions fish > ~/.config/fish/completions/holm.fish"
);
const MAN: Entry =
    row!("man", [], System, Man(system::Man), "Write the man pages", "holm man /usr/local/share/man/man1\nholm man .");

const VOLUME_CREATE: Entry = row!(
    "create",
    [],
    System,
    VolumeCreate(volume::VolumeCreate),
    "Make a volume",
    "holm volume create data\nholm volume create --label app=web data"
);
const VOLUME_LS: Entry = row!(
    "ls",
    ["list"],
    System,
    VolumeList(volume::VolumeList),
    "List volumes",
    "holm volume ls\nholm volume ls -q --filter dangling=true"
);
const VOLUME_INSPECT: Entry = row!(
    "inspect",
    [],
    System,
    VolumeInspect(volume::VolumeInspect),
    "Show all about volumes",
    "holm volume inspect data\nholm volume inspect -f '{{.Mountpoint}}' data"
);
const VOLUME_RM: Entry = row!(
    "rm",
    ["remove"],
    System,
    VolumeRemove(volume::VolumeRemove),
    "Remove volumes",
    "holm volume rm data\nholm volume rm -f data cache"
);
const VOLUME_PRUNE: Entry = row!(
    "prune",
    [],
    System,
    VolumePrune(lifecycle::Prune),
    "Remove unused volumes",
    "holm volume prune -f\nholm volume prune -af"
);

const CONTAINER: Entry = group(
    "container",
    &CONTAINER_ENTRIES,
    "Containers: run create start stop ls rm …",
    "holm container ls -a\nholm container prune -f",
);
const IMAGE: Entry = group(
    "image",
    &IMAGE_ENTRIES,
    "Images: ls rm pull push tag inspect history save load import prune",
    "holm image ls\nholm image prune -f",
);
const VOLUME: Entry =
    group("volume", &VOLUME_ENTRIES, "Volumes: create ls inspect rm prune", "holm volume create data\nholm volume ls");
const SYSTEM: Entry =
    group("system", &SYSTEM_ENTRIES, "Holm itself: df prune boot info events", "holm system df\nholm system prune -f");

const fn group(name: &'static str, children: &'static [Entry], about: &'static str, examples: &'static str) -> Entry {
    Entry { name, aliases: &[], topic: Topic::Group, about, examples, action: Action::Group(children) }
}

static CONTAINER_ENTRIES: [Entry; 25] = [
    RUN,
    CREATE,
    START,
    STOP,
    RESTART,
    KILL,
    RM,
    CONTAINER_LS,
    LOGS,
    EXEC,
    ATTACH,
    CONTAINER_INSPECT,
    STATS,
    TOP,
    WAIT,
    CP,
    PAUSE,
    UNPAUSE,
    UPDATE,
    RENAME,
    DIFF,
    COMMIT,
    EXPORT,
    PORT,
    CONTAINER_PRUNE,
];
static IMAGE_ENTRIES: [Entry; 11] =
    [IMAGE_LS, IMAGE_RM, PULL, PUSH, TAG, IMAGE_INSPECT, HISTORY, SAVE, LOAD, IMPORT, IMAGE_PRUNE];
static VOLUME_ENTRIES: [Entry; 5] = [VOLUME_CREATE, VOLUME_LS, VOLUME_INSPECT, VOLUME_RM, VOLUME_PRUNE];
static SYSTEM_ENTRIES: [Entry; 5] = [SYSTEM_DF, SYSTEM_PRUNE, SYSTEM_BOOT, INFO, EVENTS];
static ENTRIES: &[Entry] = &[
    RUN,
    CREATE,
    START,
    STOP,
    EXEC,
    PS,
    LOGS,
    RM,
    RESTART,
    KILL,
    ATTACH,
    INSPECT,
    STATS,
    TOP,
    WAIT,
    CP,
    PAUSE,
    UNPAUSE,
    UPDATE,
    RENAME,
    DIFF,
    COMMIT,
    EXPORT,
    PORT,
    IMAGES,
    PULL,
    PUSH,
    RMI,
    TAG,
    HISTORY,
    SAVE,
    LOAD,
    IMPORT,
    LOGIN,
    LOGOUT,
    EVENTS,
    INFO,
    DOCTOR,
    COMPARE,
    VERSION,
    CNI,
    COMPLETIONS,
    MAN,
    CONTAINER,
    IMAGE,
    VOLUME,
    NETWORK,
    VM,
    SYSTEM,
];
