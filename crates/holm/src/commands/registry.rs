//! `pull push login logout`.

use std::io::{Read, Write};
use std::path::PathBuf;

use holm_image::pull::platform::{host_platform, parse_platform};
use holm_image::reference::{Reference, Resolver, ResolverPaths};
use holm_image::registry::{ClientOptions, Credential};
use holm_image::store::{Image, Store};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::Outcome;
use super::context::{Context, find_image};
use super::progress::Bars;
use crate::args::image::{Login, Logout, Pull, Push, RegistryFlags};
use crate::error::Failure;
use crate::format::image::familiar;
use crate::{output, terminal};

/// Most bytes of a password on standard input.
const PASSWORD_MAX_BYTES: u64 = 64 * 1024;

fn options(
    tls_verify: Option<bool>,
    cert_dir: Option<&PathBuf>,
    creds: Option<&str>,
    authfile: Option<&PathBuf>,
) -> Result<ClientOptions, Failure> {
    let mut options = ClientOptions::from_environment();
    options.tls_verify = tls_verify;
    if let Some(folder) = cert_dir {
        if !folder.is_dir() {
            return Err(Failure::flag("--cert-dir", &folder.display().to_string(), "it is no folder"));
        }
        // Podman's form: the folder itself holds the authorities.
        let authority = folder.join("ca.crt");
        if authority.is_file() {
            options.ca_file = Some(authority);
        } else {
            options.cert_dirs.insert(0, folder.clone());
        }
    }
    if let Some(text) = creds {
        let (username, password) = text.split_once(':').ok_or_else(|| {
            Failure::flag("--creds", "…", "it must be USER:PASSWORD").with_hint("`holm login` keeps a password instead")
        })?;
        options.credential =
            Some(Credential::Password { username: username.to_owned(), password: password.to_owned() });
    }
    if let Some(path) = authfile {
        options.credential_store.own = Some(path.clone());
    }
    Ok(options)
}

fn registry_options(flags: &RegistryFlags) -> Result<ClientOptions, Failure> {
    options(flags.tls_verify, flags.cert_dir.as_ref(), flags.creds.as_deref(), flags.authfile.as_ref())
}

/// `holm pull`
pub fn pull(context: &Context, flags: &Pull) -> Outcome {
    let options = registry_options(&flags.registry)?;
    let platform = flags.platform.as_deref().map(parse_platform).transpose()?.unwrap_or_else(host_platform);
    let resolver = context.resolver()?;
    let store = context.store()?;
    super::for_each(&flags.images, false, &|reference| {
        let bars = Bars::new(flags.quiet);
        let images = if flags.all_tags {
            holm_image::pull::pull_all_tags(&store, &resolver, &options, reference, &platform, &bars)
        } else {
            holm_image::pull::pull(&store, &resolver, &options, reference, &platform, &bars).map(|image| vec![image])
        };
        bars.finish();
        let images = images?;
        let engine = context.engine()?;
        for image in images {
            super::image::emit(&engine, "pull", reference, reference);
            report(&image, reference, flags.quiet)?;
        }
        Ok(())
    })
}

fn report(image: &Image, reference: &str, quiet: bool) -> Result<(), Failure> {
    let wanted = holm_image::reference::Reference::parse(reference).map(|r| r.to_string()).unwrap_or_default();
    let name = image.names.iter().find(|name| **name == wanted).or_else(|| {
        let short = reference.split(['@', ':']).next().unwrap_or(reference);
        image.names.iter().find(|name| name.contains(short))
    });
    let name = name.or_else(|| image.names.first()).map_or_else(|| image.id.to_string(), String::clone);
    if !quiet {
        output::line(&format!("Digest: {}", image.manifest_digest))?;
        output::line(&format!("Status: Image is up to date for {}", familiar(&name)))?;
    }
    output::line(&name)
}

/// `holm push`
pub fn push(context: &Context, flags: &Push) -> Outcome {
    let store = context.store()?;
    if flags.all_tags {
        for name in tags_of(&store, &flags.image)? {
            push_one(context, flags, &store, &name)?;
        }
        return Ok(0);
    }
    let image = find_image(context, &store, &flags.image)?;
    let is_id = Reference::parse(&flags.image).map_or(true, |reference| !image.names.contains(&reference.to_string()));
    if flags.destination.is_none() && is_id && image.names.is_empty() {
        return Err(Failure::new(format!("cannot push image `{}`: it has no name", flags.image))
            .with_hint(format!("holm tag {} registry.example.com/app:1", flags.image)));
    }
    let source =
        if is_id { image.names.first().map_or(flags.image.clone(), String::clone) } else { flags.image.clone() };
    push_one(context, flags, &store, &source)
}

/// The names in the store that a name without a tag means, one for each tag.
fn tags_of(store: &Store, text: &str) -> Result<Vec<String>, Failure> {
    let wanted = Reference::parse(text).map_err(|error| Failure::from_error(&error))?;
    if text.rsplit('/').next().is_some_and(|last| last.contains([':', '@'])) {
        return Err(Failure::new(format!("cannot push all tags of `{text}`: it names one"))
            .with_hint(format!("holm push --all-tags {}", text.rsplit_once(':').map_or(text, |(name, _)| name))));
    }
    let names = store.list()?.into_iter().flat_map(|image| image.names);
    let fits = |name: &String| {
        Reference::parse(name).is_ok_and(|found| {
            found.domain() == wanted.domain() && found.path() == wanted.path() && found.digest().is_none()
        })
    };
    let mut names: Vec<String> = names.filter(fits).collect();
    names.sort();
    if names.is_empty() {
        return Err(Failure::new(format!("cannot find image `{text}`: no tag of that name is in the store")));
    }
    Ok(names)
}

fn push_one(context: &Context, flags: &Push, store: &Store, source: &str) -> Outcome {
    let options = registry_options(&flags.registry)?;
    let resolver = context.resolver()?;
    let destination = flags.destination.as_deref().map(|text| text.strip_prefix("docker://").unwrap_or(text));
    let bars = Bars::new(flags.quiet);
    let pushed = holm_image::push::push(store, &resolver, &options, source, destination, &bars);
    bars.finish();
    let pushed = pushed?;
    if !flags.quiet {
        let tag = pushed.reference.tag().unwrap_or_default();
        output::line(&format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size_bytes))?;
    }
    if let Ok(engine) = context.engine() {
        super::image::emit(&engine, "push", source, &pushed.reference.to_string());
    }
    Ok(0)
}

/// `holm login`
pub fn login(flags: &Login) -> Outcome {
    let connection = &flags.registry;
    let options = options(connection.tls_verify, connection.cert_dir.as_ref(), None, connection.authfile.as_ref())?;
    let registry = server(flags.server.as_deref());
    let username = match &flags.username {
        Some(name) => name.clone(),
        None if flags.password_stdin => {
            return Err(Failure::new("cannot use --password-stdin without --username")
                .with_hint("holm login -u me --password-stdin"));
        }
        None => ask("Username: ", true)?,
    };
    let password = match (&flags.password, flags.password_stdin) {
        (Some(_), true) => return Err(Failure::new("cannot use --password together with --password-stdin")),
        (Some(password), false) => {
            crate::error::warn("a password on the command line can be seen by others: --password-stdin hides it");
            password.clone()
        }
        (None, true) => password_from_stdin()?,
        (None, false) => ask("Password: ", false)?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(Failure::new(format!("cannot log in to `{registry}`: user name and password must not be empty")));
    }
    let resolver = Resolver::load(&ResolverPaths::from_environment())?;
    let host = registry.split('/').next().unwrap_or(registry);
    let insecure = resolver.is_insecure(host);
    let credential = Credential::Password { username, password };
    let done = holm_image::registry::login(&options, registry, &credential, insecure)?;
    if let Some(path) = done.path.to_str() {
        crate::error::warn(&format!("the password is kept unencrypted in `{path}`"));
    }
    output::line("Login Succeeded")?;
    Ok(0)
}

fn server(text: Option<&str>) -> &str {
    let text = text.unwrap_or("docker.io");
    let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    text.trim_end_matches('/')
}

fn password_from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(PASSWORD_MAX_BYTES).read_to_string(&mut text);
    read.map_err(|e| Failure::because("cannot read the password", &e))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks on the terminal; without echo for secrets.
fn ask(prompt: &str, echo: bool) -> Result<String, Failure> {
    if !terminal::is_terminal(terminal::stdin()) {
        return Err(Failure::new("cannot ask for user name or password: standard input is no terminal")
            .with_hint("holm login -u me --password-stdin REGISTRY < password"));
    }
    let failed = |e: std::io::Error| Failure::because("cannot read from the terminal", &e);
    std::io::stderr().write_all(prompt.as_bytes()).map_err(failed)?;
    let old = tcgetattr(terminal::stdin()).map_err(|e| failed(e.into()))?;
    if !echo {
        let mut silent = old.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal::stdin(), OptionalActions::Now, &silent).map_err(|e| failed(e.into()))?;
    }
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    if !echo {
        // The echo must come back even if reading failed; there is nothing better to do where this fails, too.
        let _ = tcsetattr(terminal::stdin(), OptionalActions::Now, &old);
        let _ = writeln!(std::io::stderr());
    }
    read.map_err(failed)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// `holm logout`
pub fn logout(flags: &Logout) -> Outcome {
    let mut store = ClientOptions::from_environment().credential_store;
    if let Some(path) = &flags.authfile {
        store.own = Some(path.clone());
    }
    if flags.all {
        for key in store.remove_all()? {
            output::line(&format!("Removed login credentials for {}", crate::error::printable(&key)))?;
        }
        return Ok(0);
    }
    let registry = server(flags.server.as_deref());
    if holm_image::registry::logout(&store, registry)? {
        output::line(&format!("Removed login credentials for {}", crate::error::printable(registry)))?;
        return Ok(0);
    }
    Err(Failure::new(format!("not logged in to `{registry}`")))
}
