//! Which manifest of an index fits a machine.
//!
//! *Source*: OCI image-spec, image-index.md; the order of variants as in containerd's platform matching.

#[cfg(target_arch = "x86_64")]
#[path = "platform/x86_64.rs"]
mod host;
#[cfg(not(target_arch = "x86_64"))]
#[path = "platform/other.rs"]
mod host;
#[cfg(test)]
mod tests;

use holm_spec::oci::image::{Descriptor, Platform};

/// What this machine runs best.
pub fn host_platform() -> Platform {
    let (architecture, variant) = host::architecture();
    Platform {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        variant: variant.map(str::to_owned),
        ..Platform::default()
    }
}

/// Why a text is not a platform.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot use platform `{0}`: write os/architecture[/variant], as in linux/arm64")]
pub struct PlatformError(String);

/// Parses `os/architecture[/variant]`, `architecture[/variant]` or `os`, by Go's names or the kernel's.
pub fn parse_platform(text: &str) -> Result<Platform, PlatformError> {
    let bad = || PlatformError(text.escape_default().take(100).collect());
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let lower = text.to_ascii_lowercase();
    let mut parts: Vec<&str> = lower.split('/').collect();
    if parts.len() > 3 || !parts.iter().all(|part| word(part)) {
        return Err(bad());
    }
    let os = if matches!(parts[0], "linux" | "windows" | "darwin" | "freebsd") { parts.remove(0) } else { "linux" };
    if parts.len() > 2 {
        return Err(bad());
    }
    let Some(architecture) = parts.first() else {
        return Ok(Platform { os: os.to_owned(), ..host_platform() });
    };
    let (architecture, implied) = match *architecture {
        "x86_64" | "x86-64" => ("amd64", None),
        "aarch64" => ("arm64", None),
        "i386" | "i486" | "i586" | "i686" => ("386", None),
        "armhf" | "armv7l" => ("arm", Some("v7")),
        "armel" => ("arm", Some("v6")),
        other => (other, None),
    };
    let variant = parts.get(1).copied().or(implied).map(str::to_owned);
    Ok(Platform { architecture: architecture.to_owned(), os: os.to_owned(), variant, ..Platform::default() })
}

/// `os/architecture[/variant]`, escaped.
pub fn platform_text(platform: &Platform) -> String {
    let mut text = format!("{}/{}", platform.os, platform.architecture);
    if let Some(variant) = platform.variant.as_deref().filter(|variant| !variant.is_empty()) {
        text.push('/');
        text.push_str(variant);
    }
    text.escape_default().take(100).collect()
}

/// The best of `manifests` for `wanted`; the first of equals.
pub fn choose<'a>(manifests: &'a [Descriptor], wanted: &Platform) -> Option<&'a Descriptor> {
    let acceptable = acceptable(wanted);
    let rank = |descriptor: &Descriptor| {
        let platform = descriptor.platform.as_ref()?;
        let variant = platform.variant.as_deref().filter(|variant| !variant.is_empty());
        let variant = variant.or_else(|| default_variant(&platform.architecture)).unwrap_or_default();
        let fits =
            |(architecture, accepted): &(&str, &str)| platform.architecture == *architecture && variant == *accepted;
        if platform.os == wanted.os { acceptable.iter().position(fits) } else { None }
    };
    let ranked = manifests.iter().filter_map(|descriptor| rank(descriptor).map(|rank| (rank, descriptor)));
    match ranked.min_by_key(|(rank, _)| *rank) {
        Some((_, descriptor)) => Some(descriptor),
        // One manifest without a platform: whoever made the index meant that one.
        None => match manifests {
            [only] if only.platform.is_none() => Some(only),
            _ => None,
        },
    }
}

/// The architectures and variants that `wanted` runs, best first.
fn acceptable(wanted: &Platform) -> Vec<(&str, &str)> {
    let variant = wanted.variant.as_deref().filter(|variant| !variant.is_empty());
    let variant = variant.or_else(|| default_variant(&wanted.architecture)).unwrap_or_default();
    let from = |variants: &'static [&'static str]| {
        let start = variants.iter().position(|known| *known == variant);
        start.map(|start| &variants[start..])
    };
    let arm = ["v8", "v7", "v6", "v5"];
    match wanted.architecture.as_str() {
        "amd64" => match from(&["v4", "v3", "v2", "v1"]) {
            Some(variants) => variants.iter().map(|variant| ("amd64", *variant)).collect(),
            None => vec![("amd64", variant)],
        },
        "arm" => match from(&["v8", "v7", "v6", "v5"]) {
            Some(variants) => variants.iter().map(|variant| ("arm", *variant)).collect(),
            None => vec![("arm", variant)],
        },
        "arm64" => {
            let mut all = vec![("arm64", variant)];
            if variant != "v8" {
                all.push(("arm64", "v8"));
            }
            all.extend(arm.map(|variant| ("arm", variant)));
            all
        }
        other => vec![(other, variant)],
    }
}

/// What an architecture without a variant means.
fn default_variant(architecture: &str) -> Option<&'static str> {
    match architecture {
        "amd64" => Some("v1"),
        "arm64" => Some("v8"),
        "arm" => Some("v7"),
        _ => None,
    }
}
