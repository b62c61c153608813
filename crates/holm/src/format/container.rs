//! Rows of `ps`: docker's columns of a container.

use holm_pod::Container;
use holm_spec::container::{MountKind, NetworkMode};
use holm_spec::state::Status;
use serde_json::{Value, json};

use super::list::Columns;
use super::{quantity, table, time};

/// Columns of `ps`.
pub const COLUMNS: Columns = Columns {
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Names", "NAMES"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
    ],
    default: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
};

/// Columns of `ps --size`.
pub const COLUMNS_SIZE: Columns = Columns {
    titles: COLUMNS.titles,
    default: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
};

/// Program and arguments that a container runs: what was asked, over what the image says.
pub fn command(container: &Container) -> Vec<String> {
    let spec = &container.spec;
    let image = &container.image_config;
    let mut words = match &spec.entrypoint {
        Some(words) => words.clone(),
        None => image.entrypoint.clone().unwrap_or_default(),
    };
    match (&spec.command, &spec.entrypoint) {
        (Some(command), _) => words.extend(command.iter().cloned()),
        // An entrypoint of the user's own takes the image's arguments away.
        (None, Some(_)) => {}
        (None, None) => words.extend(image.cmd.iter().flatten().cloned()),
    }
    words
}

/// Docker's `STATUS` column.
pub fn status(container: &Container, now_ns: u64) -> String {
    let state = &container.state;
    let up = || format!("Up {}", time::span(now_ns.saturating_sub(state.started_at_ns)));
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => match &state.health {
            Some(health) if health.status == "starting" => format!("{} (health: starting)", up()),
            Some(health) if !health.status.is_empty() => format!("{} ({})", up(), health.status),
            _ => up(),
        },
        Status::Paused => format!("{} (Paused)", up()),
        Status::Restarting => {
            format!("Restarting ({}) {}", state.exit_code, time::ago(state.finished_at_ns, now_ns))
        }
        Status::Exited => format!("Exited ({}) {}", state.exit_code, time::ago(state.finished_at_ns, now_ns)),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
    }
}

/// Docker's word for a network.
pub fn network(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(id) => format!("container:{id}"),
        NetworkMode::Path(path) => format!("ns:{}", path.display()),
        NetworkMode::Networks(list) => list.iter().map(|a| a.network.as_str()).collect::<Vec<_>>().join(","),
        NetworkMode::Cni(cni) => format!("cni:{}", cni.name),
    }
}

/// How rows of `ps` are made.
#[derive(Clone, Debug, Default)]
pub struct RowOptions {
    /// Nothing is cut short.
    pub no_trunc: bool,
    /// Nanoseconds since the Unix epoch.
    pub now_ns: u64,
    /// Its ports, in docker's form.
    pub ports: String,
}

/// The row of one container; `sizes` are bytes written and bytes of the image.
pub fn row(container: &Container, options: RowOptions, sizes: Option<(u64, u64)>) -> Value {
    let spec = &container.spec;
    let cut = |text: String, width: usize| if options.no_trunc { text } else { table::shortened(&text, width) };
    let volumes = spec.mounts.iter().filter(|mount| mount.kind == MountKind::Volume).count();
    let mounts: Vec<String> = spec
        .mounts
        .iter()
        .filter(|mount| mount.kind != MountKind::Tmpfs)
        .map(|mount| cut(mount.source.clone(), 15))
        .collect();
    let labels: Vec<String> = spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let size = sizes.map_or_else(
        || "0B".to_owned(),
        |(written, image)| {
            let virtual_size = quantity::decimal_short(written.saturating_add(image));
            format!("{} (virtual {virtual_size})", quantity::decimal_short(written))
        },
    );
    json!({
        "Command": format!("\"{}\"", cut(command(container).join(" "), 20)),
        "CreatedAt": time::go_form(spec.created_at_ns),
        "ID": if options.no_trunc { spec.id.as_str() } else { spec.id.short() },
        "Image": image_name(&spec.image),
        "Labels": labels.join(","),
        "LocalVolumes": volumes.to_string(),
        "Mounts": mounts.join(","),
        "Names": spec.name.as_str(),
        "Networks": network(&spec.sandbox.network),
        "Ports": options.ports,
        "RunningFor": time::ago(spec.created_at_ns, options.now_ns),
        "Size": size,
        "State": container.state.status.word(),
        "Status": status(container, options.now_ns),
    })
}

/// The image as typed; an id is shortened.
fn image_name(image: &str) -> String {
    let hex = image.strip_prefix("sha256:").unwrap_or(image);
    let is_id = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id { hex[..12].to_owned() } else { image.to_owned() }
}
