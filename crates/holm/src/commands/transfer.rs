//! `save load import`: images as archives.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use holm_image::archive::{self, Format, ImportOptions, Source};
use holm_image::pull::platform::parse_platform;
use holm_image::store::{Image, Store};

use super::Outcome;
use super::context::{Context, find_image, new_name};
use super::copy::{scratch_file, unpack};
use super::progress::Bars;
use crate::args::image::{Import, Load, Save};
use crate::error::{Failure, printable};
use crate::format::image::familiar;
use crate::{output, terminal};

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|e| Failure::because(format!("cannot open `{}`", path.display()), &e))
}

/// `holm save`
pub fn save(context: &Context, flags: &Save) -> Outcome {
    let store = context.store()?;
    let pin = store.pin()?;
    let references =
        flags.images.iter().map(|text| stored_name(context, &store, text)).collect::<Result<Vec<_>, _>>()?;
    let format = match flags.format.as_deref() {
        Some("oci-archive" | "oci-dir") => Format::OciArchive,
        _ => Format::DockerArchive,
    };
    drop(pin);
    if flags.format.as_deref() == Some("oci-dir") {
        let folder = flags
            .output
            .as_ref()
            .ok_or_else(|| Failure::new("cannot write a folder to standard output").with_hint("--output FOLDER"))?;
        save_folder(context, &store, &references, folder)?;
        return Ok(0);
    }
    let bars = Bars::new(true);
    match &flags.output {
        Some(path) => {
            let partial = Partial::create(path)?;
            let mut out = BufWriter::with_capacity(256 * 1024, &partial.file);
            archive::save(&store, &references, format, &mut out, &bars)?;
            out.flush().map_err(|e| Failure::because(format!("cannot write `{}`", path.display()), &e))?;
            drop(out);
            partial.keep()?;
        }
        None if terminal::is_terminal(rustix::stdio::stdout()) => {
            return Err(
                Failure::new("refusing to write an archive to a terminal").with_hint("--output FILE, or redirect it")
            );
        }
        None => {
            let mut out = BufWriter::with_capacity(256 * 1024, std::io::stdout().lock());
            archive::save(&store, &references, format, &mut out, &bars)?;
            out.flush().map_err(|e| output::failed(&e))?;
        }
    }
    Ok(0)
}

/// What the store knows an image by: its canonical name where that was meant, else its id.
fn stored_name(context: &Context, store: &Store, text: &str) -> Result<String, Failure> {
    let image = find_image(context, store, text)?;
    let canonical = holm_image::reference::Reference::parse(text).map(|reference| reference.to_string());
    Ok(canonical.ok().filter(|name| image.names.contains(name)).unwrap_or_else(|| match image.names.as_slice() {
        [name] if name.contains(text) => name.clone(),
        _ => image.id.to_string(),
    }))
}

fn save_folder(context: &Context, store: &Store, references: &[String], folder: &Path) -> Result<(), Failure> {
    let mut spool = scratch_file(context)?;
    archive::save(store, references, Format::OciArchive, &mut spool, &Bars::new(true))?;
    std::fs::create_dir(folder)
        .map_err(|e| Failure::because(format!("cannot make the folder `{}`", folder.display()), &e))?;
    unpack(&mut spool, folder, &|name| Some(name.to_vec()), false)
}

/// A file that appears under its name only when it is complete.
struct Partial {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl Partial {
    fn create(target: &Path) -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::because(format!("cannot write `{}`", target.display()), &e);
        // Not a plain file: `/dev/stdout`, a fifo. There is nothing to rename.
        if target.metadata().is_ok_and(|meta| !meta.is_file()) {
            let file = std::fs::OpenOptions::new().write(true).open(target).map_err(failed)?;
            return Ok(Self { file, temporary: target.to_owned(), target: target.to_owned(), kept: true });
        }
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let temporary = target.with_file_name(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary).map_err(failed)?;
        Ok(Self { file, temporary, target: target.to_owned(), kept: false })
    }

    fn keep(mut self) -> Result<(), Failure> {
        if self.temporary != self.target {
            std::fs::rename(&self.temporary, &self.target)
                .map_err(|e| Failure::because(format!("cannot write `{}`", self.target.display()), &e))?;
        }
        self.kept = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            // The failure that is being reported says more than this one would.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Writes a file that is there only when `write` succeeded.
pub fn write_file(path: &Path, write: &mut dyn FnMut(&mut dyn Write) -> Result<(), Failure>) -> Result<(), Failure> {
    let partial = Partial::create(path)?;
    let mut out = BufWriter::with_capacity(256 * 1024, &partial.file);
    write(&mut out)?;
    out.flush().map_err(|e| Failure::because(format!("cannot write `{}`", path.display()), &e))?;
    drop(out);
    partial.keep()
}

/// `holm load`
pub fn load(context: &Context, flags: &Load) -> Outcome {
    let store = context.store()?;
    let bars = Bars::new(true);
    let images = match &flags.input {
        Some(path) if path.is_dir() => archive::load(&store, Source::Folder(path), &bars),
        Some(path) => archive::load(&store, Source::Stream(&mut open(path)?), &bars),
        None if terminal::is_terminal(terminal::stdin()) => {
            return Err(
                Failure::new("refusing to read an archive from a terminal").with_hint("--input FILE, or redirect it")
            );
        }
        None => archive::load(&store, Source::Stream(&mut std::io::stdin().lock()), &bars),
    };
    let images = images?;
    let engine = context.engine()?;
    for image in images {
        super::image::emit(&engine, "load", image.id.as_str(), image.names.first().map_or("", String::as_str));
        report(&image, flags.quiet)?;
    }
    Ok(0)
}

fn report(image: &Image, quiet: bool) -> Result<(), Failure> {
    let prefix = if quiet { "" } else { "Loaded image: " };
    if image.names.is_empty() {
        return output::line(&format!("{}{}", if quiet { "" } else { "Loaded image ID: " }, image.id));
    }
    image.names.iter().try_for_each(|name| output::line(&format!("{prefix}{}", printable(&familiar(name)))))
}

/// `holm import`
pub fn import(context: &Context, flags: &Import) -> Outcome {
    let platform = flags.platform.as_deref().map(parse_platform).transpose()?;
    let options = ImportOptions {
        name: flags.name.as_deref().map(new_name).transpose()?,
        changes: flags.change.clone(),
        message: flags.message.clone(),
        architecture: platform.map(|platform| platform.architecture),
    };
    let store = context.store()?;
    let bars = Bars::new(true);
    let image = if flags.file.as_os_str() == "-" {
        archive::import(&store, &mut std::io::stdin().lock(), &options, &bars)?
    } else {
        archive::import(&store, &mut open(&flags.file)?, &options, &bars)?
    };
    super::image::emit(&context.engine()?, "import", image.id.as_str(), options.name.as_deref().unwrap_or_default());
    output::line(image.id.as_str())?;
    Ok(0)
}
