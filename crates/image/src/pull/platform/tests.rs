//! Tests of platform texts and of the choice among an index's manifests.

use super::*;

fn descriptor(n: u8, platform: Option<&str>) -> Descriptor {
    let platform = platform.map(|text| {
        let mut parts = text.split('/');
        let mut next = || parts.next().map(str::to_owned);
        Platform {
            os: next().unwrap_or_default(),
            architecture: next().unwrap_or_default(),
            variant: next(),
            ..Platform::default()
        }
    });
    Descriptor {
        media_type: String::new(),
        digest: holm_spec::Digest::sha256(&[n; 32]),
        size: 1,
        platform,
        annotations: Default::default(),
        artifact_type: None,
    }
}

fn check(wanted: &str, offered: &[&str], expected: Option<usize>) {
    let wanted_platform = parse_platform(wanted).expect("platform");
    let manifests: Vec<_> = offered.iter().enumerate().map(|(n, p)| descriptor(n as u8, Some(p))).collect();
    let chosen = choose(&manifests, &wanted_platform);
    assert_eq!(chosen, expected.map(|n| &manifests[n]), "{wanted} of {offered:?}");
}

#[test]
fn choice_prefers_the_best_variant_that_runs() {
    check("linux/amd64", &["linux/arm64", "linux/amd64", "windows/amd64"], Some(1));
    check("linux/amd64/v3", &["linux/amd64", "linux/amd64/v4", "linux/amd64/v2", "linux/amd64/v3"], Some(3));
    check("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"], Some(1));
    check("linux/amd64", &["linux/amd64/v2"], None);
    check("linux/amd64/v1", &["linux/amd64"], Some(0));
    check("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"], Some(1));
    check("linux/arm64", &["linux/arm/v6", "linux/arm/v7"], Some(1));
    check("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm64"], Some(1));
    check("linux/arm/v6", &["linux/arm/v7", "linux/arm/v5"], Some(1));
    check("linux/arm", &["linux/arm/v8", "linux/arm/v7"], Some(1));
    check("linux/s390x", &["linux/amd64", "linux/s390x"], Some(1));
    check("linux/amd64", &["unknown/unknown", "linux/amd64", "linux/amd64"], Some(1));
    check("linux/amd64", &["unknown/unknown"], None);
    check("linux/amd64", &[], None);
}

#[test]
fn choice_takes_a_lone_manifest_without_platform() {
    let host = host_platform();
    let lone = [descriptor(1, None)];
    assert_eq!(choose(&lone, &host), Some(&lone[0]));
    assert_eq!(choose(&[descriptor(1, None), descriptor(2, None)], &host), None);
}

#[test]
fn platform_texts_parse() {
    for (text, expected) in [
        ("linux/amd64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("LINUX/X86_64", "linux/amd64"),
        ("armhf", "linux/arm/v7"),
        ("arm/v6", "linux/arm/v6"),
        ("windows/amd64", "windows/amd64"),
    ] {
        assert_eq!(parse_platform(text).map(|p| platform_text(&p)), Ok(expected.to_owned()), "{text}");
    }
    assert_eq!(parse_platform("linux").map(|p| p.architecture), Ok(host_platform().architecture));
    for bad in ["", "/", "linux/", "a/b/c", "linux/a/b/c", "linux/am d64", "linux/\u{1b}"] {
        assert!(parse_platform(bad).is_err(), "{bad:?}");
    }
}
