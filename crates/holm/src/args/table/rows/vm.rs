//! The rows about whole machines.

use clap::{Args, FromArgMatches};

use super::super::{Action, Command, Entry, Topic, row, vm};
use super::group;

const CREATE: Entry = row!(
    "create",
    [],
    System,
    VmCreate(Box<vm::VmCreate>),
    "Make a machine of a disk image",
    "holm vm create --name box debian-12-genericcloud-amd64.qcow2 --ssh-key ~/.ssh/id_ed25519.pub\nholm vm create --name fedora --firmware uefi --memory 4g --disk-size 64g disk.raw"
);
const START: Entry =
    row!("start", [], System, VmStart(vm::VmStart), "Start machines", "holm vm start box\nholm vm start web db");
const STOP: Entry = row!(
    "stop",
    [],
    System,
    VmStop(vm::VmStop),
    "Press the power button of machines, and wait",
    "holm vm stop box\nholm vm stop -t 0 box"
);
const CONSOLE: Entry = row!(
    "console",
    [],
    System,
    VmConsole(vm::VmConsole),
    "Be at a machine's serial console",
    "holm vm console box\nholm vm console --detach-keys ctrl-] box"
);
const EXEC: Entry = row!(
    "exec",
    [],
    System,
    VmExec(vm::VmExec),
    "Run a program in a machine that runs qemu-guest-agent",
    "holm vm exec box uname -a\nholm vm exec -e LANG=C box ls -l /"
);
const SNAPSHOT: Entry = row!(
    "snapshot",
    [],
    System,
    VmSnapshot(vm::VmMoment),
    "Save a moment of a machine",
    "holm vm snapshot box before-upgrade\nholm vm snapshot box clean"
);
const RESTORE: Entry = row!(
    "restore",
    [],
    System,
    VmRestore(vm::VmMoment),
    "Take a machine back to a saved moment",
    "holm vm restore box before-upgrade\nholm vm restore box clean"
);
const RM: Entry = row!(
    "rm",
    ["remove"],
    System,
    VmRemove(vm::VmRemove),
    "Remove machines and their disks",
    "holm vm rm box\nholm vm rm -f box"
);
const LS: Entry = row!("ls", ["list"], System, VmList(vm::VmList), "List machines", "holm vm ls\nholm vm ls -o json");
const INSPECT: Entry = row!(
    "inspect",
    [],
    System,
    VmInspect(vm::VmInspect),
    "Show all about machines",
    "holm vm inspect box\nholm vm inspect -f '{{.State.Status}}' box"
);

pub(super) const VM: Entry = group(
    "vm",
    &ENTRIES,
    "Machines of other operating systems: create start stop console exec snapshot restore rm ls inspect",
    "holm vm create --name box disk.qcow2\nholm vm start box",
);

static ENTRIES: [Entry; 10] = [CREATE, START, STOP, CONSOLE, EXEC, SNAPSHOT, RESTORE, RM, LS, INSPECT];
