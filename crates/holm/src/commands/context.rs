//! What commands need: settings, the engine and the store, opened when asked for.

use std::path::PathBuf;

use holm_image::reference::{Reference, Resolver, ResolverPaths};
use holm_image::store::{Image, Store, StoreError};
use holm_pod::{Container, Engine, Roots};
use holm_spec::{ContainerId, Digest};

use crate::error::{CODE_HOLM, Failure};
use crate::settings::Settings;

/// What commands need.
pub struct Context {
    /// The settings.
    pub settings: Settings,
}

impl Context {
    /// With these settings; opens nothing.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Where everything is.
    pub fn roots(&self) -> Roots {
        Roots {
            data: self.settings.data_root.value.clone(),
            run: self.settings.run_root.value.clone(),
            cgroup_parent: self.settings.cgroup_parent.value.clone(),
            cgroup_driver: match self.settings.cgroup_driver.value.as_str() {
                "systemd" => holm_pod::CgroupDriver::Systemd,
                _ => holm_pod::CgroupDriver::Cgroupfs,
            },
            cni: self.settings.cni_folders(),
        }
    }

    /// Opens the engine and finishes what killed commands left.
    pub fn engine(&self) -> Result<Engine, Failure> {
        let engine = Engine::open(self.roots()).map_err(Failure::from)?;
        if let Err(error) = engine.recover() {
            // What cannot be recovered must not keep people from their other containers.
            crate::error::warn(&format!("{error}"));
        }
        Ok(engine)
    }

    /// Opens the image store.
    pub fn store(&self) -> Result<Store, Failure> {
        Store::open(&self.settings.data_root.value).map_err(Failure::from)
    }

    /// Finds a container by name, id or the start of its id.
    pub fn find(&self, engine: &Engine, name: &str) -> Result<ContainerId, Failure> {
        engine.find(name).map_err(Failure::from)
    }

    /// Reads the containers that are named.
    pub fn get(&self, engine: &Engine, name: &str) -> Result<Container, Failure> {
        let id = self.find(engine, name)?;
        engine.get(&id).map_err(Failure::from)
    }

    /// Reads registries.conf.
    pub fn resolver(&self) -> Result<Resolver, Failure> {
        Resolver::load(&ResolverPaths::from_environment()).map_err(Failure::from)
    }
}

/// Finds an image in the store by name or id, as a person wrote it. Asks no registry.
pub fn find_image(context: &Context, store: &Store, text: &str) -> Result<Image, Failure> {
    for name in names(context, text)? {
        match store.resolve(&name) {
            Err(StoreError::NotFound(_)) => {}
            other => return other.map_err(Failure::from),
        }
    }
    match store.resolve(text) {
        Err(StoreError::NotFound(_)) => {
            Err(Failure::new(format!("cannot find image `{text}`")).with_hint("`holm images` lists what is there"))
        }
        other => other.map_err(Failure::from),
    }
}

/// The canonical names that `text` may mean: as docker reads it first, then by registries.conf.
fn names(context: &Context, text: &str) -> Result<Vec<String>, Failure> {
    let Ok(reference) = Reference::parse(text) else { return Ok(Vec::new()) };
    let mut names = vec![reference.to_string()];
    if !Reference::is_qualified(text) {
        let candidates = context.resolver()?.candidates(text).unwrap_or_default();
        names.extend(candidates.iter().map(ToString::to_string).filter(|name| *name != names[0]).collect::<Vec<_>>());
    }
    Ok(names)
}

/// The canonical form of a name that an image is to get.
pub fn new_name(text: &str) -> Result<String, Failure> {
    let reference = Reference::parse(text)?;
    if reference.digest().is_some() {
        return Err(Failure::new(format!(
            "cannot name an image `{text}`: a digest is not chosen, it follows from the content"
        ))
        .with_code(CODE_HOLM));
    }
    Ok(reference.to_string())
}

/// The images that containers use.
pub fn used_images(engine: &Engine) -> Result<Vec<Digest>, Failure> {
    let containers = engine.list().map_err(Failure::from)?;
    Ok(containers.into_iter().map(|container| container.spec.image_id).collect())
}

/// The folder with a container's hostname, hosts and resolv.conf.
pub fn run_folder(engine: &Engine, id: &ContainerId) -> PathBuf {
    engine.roots().run.join("containers").join(id.as_str())
}
