//! The rows about images and registries.

use clap::{Args, FromArgMatches};

use super::super::{Action, Command, Entry, Topic, image, lifecycle, row};

pub(super) const IMAGES: Entry = row!(
    "images",
    [],
    Image,
    Images(image::Images),
    "List images",
    "holm images\nholm images --format '{{.Repository}}:{{.Tag}} {{.Size}}'"
);
pub(super) const IMAGE_LS: Entry = row!(
    "ls",
    ["list"],
    Image,
    Images(image::Images),
    "List images",
    "holm image ls\nholm image ls --filter dangling=true -q"
);
pub(super) const PULL: Entry = row!(
    "pull",
    [],
    Image,
    Pull(image::Pull),
    "Get images from a registry",
    "holm pull debian:12\nholm pull --platform linux/arm64 localhost:5000/app"
);
pub(super) const PUSH: Entry = row!(
    "push",
    [],
    Image,
    Push(image::Push),
    "Send an image to a registry",
    "holm push localhost:5000/app:1\nholm push app:1 registry.example.com/team/app:1"
);
pub(super) const RMI: Entry =
    row!("rmi", [], Image, Rmi(image::Rmi), "Remove images", "holm rmi debian:11\nholm rmi -f app:1 app:2");
pub(super) const IMAGE_RM: Entry = row!(
    "rm",
    ["remove"],
    Image,
    Rmi(image::Rmi),
    "Remove images",
    "holm image rm debian:11\nholm image rm -f app:1 app:2"
);
pub(super) const TAG: Entry = row!(
    "tag",
    [],
    Image,
    Tag(image::Tag),
    "Give an image another name",
    "holm tag app:1 localhost:5000/app:1\nholm tag 4f5e6d7c8b9a app:stable"
);
pub(super) const HISTORY: Entry = row!(
    "history",
    [],
    Image,
    History(image::History),
    "Show how an image was made",
    "holm history nginx\nholm history --no-trunc --format '{{.CreatedBy}}' nginx"
);
pub(super) const SAVE: Entry = row!(
    "save",
    [],
    Image,
    Save(image::Save),
    "Write images to an archive",
    "holm save -o debian.tar debian:12\nholm save --format oci-archive app:1 > app.tar"
);
pub(super) const LOAD: Entry = row!(
    "load",
    [],
    Image,
    Load(image::Load),
    "Read images from an archive",
    "holm load -i debian.tar\nholm load < app.tar"
);
pub(super) const IMPORT: Entry = row!(
    "import",
    [],
    Image,
    Import(image::Import),
    "Make an image of a root file system's tar",
    "holm import root.tar base:1\nholm import -c 'CMD [\"/bin/sh\"]' - base:2 < root.tar"
);
pub(super) const IMAGE_INSPECT: Entry = row!(
    "inspect",
    [],
    Image,
    ImageInspect(image::ImageInspect),
    "Show all about images",
    "holm image inspect nginx\nholm image inspect -f '{{.Config.Cmd}}' nginx"
);
pub(super) const IMAGE_PRUNE: Entry = row!(
    "prune",
    [],
    Image,
    ImagePrune(lifecycle::Prune),
    "Remove unused images",
    "holm image prune -f\nholm image prune -af"
);
pub(super) const LOGIN: Entry = row!(
    "login",
    [],
    Registry,
    Login(image::Login),
    "Keep a password for a registry",
    "holm login -u me registry.example.com\nholm login -u me --password-stdin localhost:5000 < password"
);
pub(super) const LOGOUT: Entry = row!(
    "logout",
    [],
    Registry,
    Logout(image::Logout),
    "Forget a password for a registry",
    "holm logout registry.example.com\nholm logout --all"
);
