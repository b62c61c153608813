//! Documents that two readers could understand differently are refused; what Go programs write is understood.

use serde_json::{Value, json};

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn manifest() -> Value {
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": {"mediaType": media_type::OCI_CONFIG, "digest": DIGEST, "size": 2},
        "layers": [{"mediaType": media_type::OCI_LAYER_GZIP, "digest": DIGEST, "size": 3}]})
}

fn index() -> Value {
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [{"mediaType": media_type::OCI_MANIFEST, "digest": DIGEST, "size": 2}]})
}

fn parse(value: &Value, announced: Option<&str>) -> Result<ManifestOrIndex, DocumentError> {
    parse_manifest(value.to_string().as_bytes(), announced)
}

fn with(mut value: Value, field: &str, content: Value) -> Value {
    value[field] = content;
    value
}

#[test]
fn manifests_and_indexes_are_told_apart() {
    for announced in
        [None, Some(media_type::OCI_MANIFEST), Some("application/vnd.oci.image.manifest.v1+json; charset=x")]
    {
        assert!(matches!(parse(&manifest(), announced), Ok(ManifestOrIndex::Manifest(_))), "{announced:?}");
    }
    assert!(matches!(parse(&index(), Some(media_type::OCI_INDEX)), Ok(ManifestOrIndex::Index(_))));
    // Registries that know no better, and documents that say nothing.
    assert!(parse(&manifest(), Some("text/plain")).is_ok());
    let mut silent = manifest();
    silent.as_object_mut().unwrap().remove("mediaType");
    assert!(parse(&silent, None).is_ok());
}

#[test]
fn ambiguous_documents_are_refused() {
    let both = [
        with(manifest(), "manifests", json!([])),
        with(index(), "layers", json!([])),
        with(index(), "config", json!({})),
        with(index(), "layers", json!(null)),
    ];
    for value in both {
        assert!(matches!(parse(&value, None), Err(DocumentError::Both)), "{value}");
    }
    for (value, announced) in [
        (manifest(), media_type::OCI_INDEX),
        (index(), media_type::OCI_MANIFEST),
        (manifest(), media_type::DOCKER_MANIFEST),
        (with(manifest(), "mediaType", json!(media_type::OCI_INDEX)), media_type::OCI_MANIFEST),
    ] {
        let error = parse(&value, Some(announced)).unwrap_err();
        assert!(matches!(error, DocumentError::MediaType { .. }), "{error}");
    }
}

#[test]
fn malformed_documents_are_refused() {
    assert!(matches!(parse_manifest(b"{", None), Err(DocumentError::Json(_))));
    assert!(matches!(parse_manifest(b"[]", None), Err(DocumentError::Json(_))));
    assert!(matches!(parse_manifest(b"{}", None), Err(DocumentError::SchemaVersion(0))));
    assert!(matches!(parse(&json!({"schemaVersion": 2}), None), Err(DocumentError::Neither)));
    assert!(matches!(parse(&with(manifest(), "schemaVersion", json!(1)), None), Err(DocumentError::SchemaVersion(1))));
    let bad_digest = json!([{"mediaType": media_type::OCI_LAYER, "digest": "sha256:../../etc/passwd", "size": 3}]);
    assert!(matches!(parse(&with(manifest(), "layers", bad_digest), None), Err(DocumentError::Json(_))));
    let chart = json!({"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": DIGEST, "size": 2});
    assert!(matches!(parse(&with(manifest(), "config", chart), None), Err(DocumentError::NotAnImage(_))));
}

#[test]
fn limits_hold_on_both_sides() {
    let layer = manifest()["layers"][0].clone();
    let layers = |n: usize| with(manifest(), "layers", json!(vec![layer.clone(); n]));
    assert!(parse(&layers(MAX_LAYERS), None).is_ok());
    assert!(matches!(parse(&layers(MAX_LAYERS + 1), None), Err(DocumentError::TooMany { .. })));
    let mut text = manifest().to_string().into_bytes();
    text.resize(MAX_DOCUMENT_BYTES as usize, b' ');
    assert!(parse_manifest(&text, None).is_ok());
    text.push(b' ');
    assert!(matches!(parse_manifest(&text, None), Err(DocumentError::TooLarge { .. })));
    let deep = format!("{{\"schemaVersion\":2,\"manifests\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse_manifest(deep.as_bytes(), None).is_err());
}

#[test]
fn nulls_of_go_programs_mean_absent() {
    let config = br#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":null,"Labels":null,"User":"",
        "Volumes":null,"ExposedPorts":null,"OnBuild":null},"rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
    let config = parse_config(config).unwrap();
    assert_eq!(config.config.unwrap().env, None);
    assert!(config.rootfs.diff_ids.is_empty());
    let ManifestOrIndex::Manifest(parsed) = parse(&with(manifest(), "layers", json!(null)), None).unwrap() else {
        panic!("not a manifest")
    };
    assert!(parsed.layers.is_empty());
}

#[test]
fn configurations_are_data() {
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
        "config": {"Env": ["NO_EQUALS", "A=\n\u{1b}[31m", "*"], "User": "4294967296", "WorkingDir": "/proc/self/fd/7",
        "Labels": {"io.holm.privileged": "true"}}});
    let run = parse_config(config.to_string().as_bytes()).unwrap().config.unwrap();
    assert_eq!(run.env.unwrap().len(), 3);
    assert_eq!(run.working_dir.as_deref(), Some("/proc/self/fd/7"));
    let other = with(config, "rootfs", json!({"type": "windows", "diff_ids": []}));
    assert!(matches!(parse_config(other.to_string().as_bytes()), Err(DocumentError::RootFs(_))));
    assert!(parse_config(b"{}").is_err());
}
