//! Rows of `images` and `history`, and what `image inspect` says, with docker's names.

use holm_image::archive::HistoryRow;
use holm_image::store::Image;
use holm_spec::oci::image::RunConfig;
use serde_json::{Value, json};

use super::list::Columns;
use super::{quantity, table, time};

/// Columns of `images`.
pub const COLUMNS: Columns = Columns {
    titles: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
    ],
    default: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
};

/// Columns of `images --digests`.
pub const COLUMNS_DIGESTS: Columns = Columns {
    titles: COLUMNS.titles,
    default: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
};

/// Columns of `history`.
pub const HISTORY_COLUMNS: Columns = Columns {
    titles: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    default: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
};

/// When an image was made. *Units*: nanoseconds since the Unix epoch; 0 where it does not say.
pub fn created_ns(image: &Image) -> u64 {
    image.created.as_deref().and_then(time::parse_rfc3339).unwrap_or(0)
}

/// A name as people write it: without `docker.io/library/`.
pub fn familiar(name: &str) -> String {
    holm_image::reference::Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

/// Repository and tag of a name, `<none>` where it has no tag.
pub fn split_name(name: &str) -> (String, String) {
    let name = familiar(name);
    let name = name.split_once('@').map_or(name.as_str(), |(name, _)| name);
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    match name[slash..].rfind(':') {
        Some(colon) => (name[..slash + colon].to_owned(), name[slash + colon + 1..].to_owned()),
        None => (name.to_owned(), "<none>".to_owned()),
    }
}

/// How rows are made.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowOptions {
    /// Nothing is cut short.
    pub no_trunc: bool,
    /// Nanoseconds since the Unix epoch.
    pub now_ns: u64,
}

/// The row of an image under one of its names, or under none.
pub fn row(image: &Image, name: Option<&str>, options: RowOptions) -> Value {
    let none = || ("<none>".to_owned(), "<none>".to_owned());
    let (repository, tag) = name.map_or_else(none, split_name);
    let created = created_ns(image);
    json!({
        "Containers": "N/A",
        "CreatedAt": if created == 0 { "N/A".to_owned() } else { time::go_form(created) },
        "CreatedSince": time::ago(created, options.now_ns),
        "Digest": image.manifest_digest.as_str(),
        "ID": if options.no_trunc { image.id.as_str() } else { &image.id.hex()[..12] },
        "Repository": repository,
        "SharedSize": "N/A",
        "Size": quantity::decimal_short(image.size_bytes),
        "Tag": tag,
        "UniqueSize": "N/A",
        "VirtualSize": quantity::decimal_short(image.size_bytes),
    })
}

/// What `inspect` says of an image.
pub fn inspect(image: &Image) -> Value {
    let config = &image.config;
    let (digests, tags): (Vec<&String>, Vec<&String>) = image.names.iter().partition(|name| name.contains('@'));
    let tags: Vec<String> = tags.into_iter().map(|name| familiar(name)).collect();
    let mut repositories: Vec<String> = digests.into_iter().map(|name| familiar(name)).collect();
    for tag in &tags {
        let digest = format!("{}@{}", split_name(tag).0, image.manifest_digest);
        if !repositories.contains(&digest) {
            repositories.push(digest);
        }
    }
    json!({
        "Id": image.id.as_str(),
        "RepoTags": tags,
        "RepoDigests": repositories,
        "Digest": image.manifest_digest.as_str(),
        "Parent": "",
        "Comment": config.history.last().and_then(|entry| entry.comment.clone()).unwrap_or_default(),
        "Created": image.created.clone().unwrap_or_else(|| time::NEVER.to_owned()),
        "DockerVersion": "",
        "Author": config.author.clone().unwrap_or_default(),
        "Config": run_config(&config.config.clone().unwrap_or_default()),
        "Architecture": config.architecture,
        "Variant": config.variant.clone().unwrap_or_default(),
        "Os": config.os,
        "Size": image.size_bytes,
        "VirtualSize": image.size_bytes,
        "GraphDriver": {"Name": "overlay", "Data": graph(&image.layers)},
        "RootFS": {"Type": "layers", "Layers": config.rootfs.diff_ids},
        "Metadata": {"LastTagTime": time::NEVER},
        "History": config.history,
    })
}

fn graph(layers: &[std::path::PathBuf]) -> Value {
    let paths: Vec<String> = layers.iter().rev().map(|path| path.display().to_string()).collect();
    json!({"LowerDir": paths.join(":")})
}

/// The `Config` of an image, with docker's empty fields.
pub fn run_config(config: &RunConfig) -> Value {
    json!({
        "User": config.user.clone().unwrap_or_default(),
        "ExposedPorts": config.exposed_ports,
        "Env": config.env,
        "Entrypoint": config.entrypoint,
        "Cmd": config.cmd,
        "Healthcheck": config.healthcheck,
        "Volumes": config.volumes,
        "WorkingDir": config.working_dir.clone().unwrap_or_default(),
        "OnBuild": null,
        "Labels": config.labels,
        "StopSignal": config.stop_signal.clone().unwrap_or_default(),
        "Shell": config.shell,
    })
}

/// The rows of `history`; `steps` are the last one first.
pub fn history_rows(image: &Image, steps: &[HistoryRow], options: RowOptions, human: bool) -> Vec<Value> {
    let row = |(n, step): (usize, &HistoryRow)| {
        let created = step.created.as_deref().and_then(time::parse_rfc3339).unwrap_or(0);
        let by = step.created_by.clone().unwrap_or_default();
        let id = if n == 0 { image.id.as_str() } else { "<missing>" };
        let id = if n == 0 && !options.no_trunc { &image.id.hex()[..12] } else { id };
        json!({
            "Comment": step.comment.clone().unwrap_or_default(),
            "CreatedAt": time::rfc3339(created),
            "CreatedBy": if options.no_trunc { by } else { table::shortened(&by.replace('\t', " "), 45) },
            "CreatedSince": if human { time::ago(created, options.now_ns) } else { time::rfc3339(created) },
            "ID": id,
            "Size": if human { quantity::decimal_short(step.size_bytes) } else { step.size_bytes.to_string() },
        })
    };
    steps.iter().enumerate().map(row).collect()
}
