//! The rows about networks.

use clap::{Args, FromArgMatches};

use super::super::{Action, Command, Entry, Topic, network, row};
use super::{group, network_path};

const CREATE: Entry = row!(
    "create",
    [],
    System,
    NetworkCreate(Box<network::NetworkCreate>),
    "Make a network",
    "holm network create web\nholm network create --subnet 172.28.0.0/24 --ipv6 --label app=web web"
);
const LS: Entry = row!(
    "ls",
    ["list"],
    System,
    NetworkList(network::NetworkList),
    "List networks",
    "holm network ls\nholm network ls -q --filter dangling=true"
);
const INSPECT: Entry = row!(
    "inspect",
    [],
    System,
    NetworkInspect(network::NetworkInspect),
    "Show all about networks",
    "holm network inspect web\nholm network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' web"
);
const RM: Entry = row!(
    "rm",
    ["remove"],
    System,
    NetworkRemove(network::NetworkRemove),
    "Remove networks",
    "holm network rm web\nholm network rm -f web db"
);
const PRUNE: Entry = row!(
    "prune",
    [],
    System,
    NetworkPrune(network::NetworkPrune),
    "Remove unused networks",
    "holm network prune -f\nholm network prune -f --filter until=24h"
);
const CONNECT: Entry = row!(
    "connect",
    [],
    System,
    NetworkConnect(network::NetworkConnect),
    "Join a container to one more network",
    "holm network connect db web\nholm network connect --alias cache --ip 172.28.0.9 db web"
);
const DISCONNECT: Entry = row!(
    "disconnect",
    [],
    System,
    NetworkDisconnect(network::NetworkDisconnect),
    "Take a container off a network",
    "holm network disconnect db web\nholm network disconnect -f db web"
);
const PORTS: Entry = row!(
    "ports",
    [],
    System,
    NetworkPorts(network::NetworkPorts),
    "Show every published port and who may reach it",
    "holm network ports\nholm network ports -o json"
);
const REPAIR: Entry = row!(
    "repair",
    [],
    System,
    NetworkRepair(network::NetworkRepair),
    "Put back what others took out of the firewall",
    "holm network repair\nholm network repair --log-level debug"
);

pub(super) const PORT: Entry = row!(
    "port",
    [],
    Container,
    Port(network::Port),
    "Show a container's published ports",
    "holm port web\nholm port web 80/tcp"
);

pub(super) const NETWORK: Entry = group(
    "network",
    &ENTRIES,
    "Networks: create ls inspect rm prune connect disconnect ports repair path",
    "holm network create web\nholm network ls",
);

static ENTRIES: [Entry; 10] = [CREATE, LS, INSPECT, RM, PRUNE, CONNECT, DISCONNECT, PORTS, REPAIR, network_path::PATH];
