//! The built program from outside: command, status, standard output and standard error, mostly for bad input. Nothing here
//! runs a container.

use std::path::Path;
use std::process::{Command, Stdio};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Status, standard output and standard error, the private folder replaced by `%`.
    fn holm(&self, line: &str) -> (i32, String, String) {
        let at = self.path().display().to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_holm"))
            .args(line.split('|').map(|word| word.replace('%', &at)))
            .env_clear()
            .env("HOME", self.path())
            .env("HOLM_DATA_ROOT", self.path().join("data"))
            .env("HOLM_RUN_ROOT", self.path().join("run"))
            .stdin(Stdio::null())
            .output()
            .expect("run holm");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8").replace(&at, "%");
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }
}

/// Runs one line in a place of its own and compares everything; `stderr` may end with `…`.
fn check(line: &str, status: i32, stdout: &str, stderr: &str) {
    check_in(&Place::new(), line, status, stdout, stderr);
}

fn check_in(place: &Place, line: &str, status: i32, stdout: &str, stderr: &str) {
    let (code, out, error) = place.holm(line);
    assert_eq!((code, out.as_str()), (status, stdout), "{line}: {error}");
    match stderr.strip_suffix('…') {
        Some(start) => assert!(error.starts_with(start), "{line}: {error}"),
        None => assert_eq!(error, stderr, "{line}"),
    }
}

#[test]
fn usage_errors_name_the_flag_and_go_to_standard_error() {
    check("run|--nonsense|a", 125, "", "error: unexpected argument '--nonsense' found\n…");
    check("ps|--nonsense", 2, "", "error: unexpected argument '--nonsense' found\n…");
    check("run", 125, "", "error: the following required arguments were not provided:\n…");
    check(
        "frobnicate",
        2,
        "",
        "error: there is no command `frobnicate`\n\nUsage: holm COMMAND\nSee `holm --help` for the list.\n",
    );
    check("psx", 2, "", "error: there is no command `psx`\nhint: did you mean `holm ps`?\n\nUsage…");
    check("run|--pull|sometimes|a", 125, "", "error: invalid value 'sometimes' for '--pull <WHEN>'\n…");
}

#[test]
fn bad_values_name_flag_value_reason_and_remedy() {
    check(
        "run|-m|5x|a",
        125,
        "",
        "error: cannot use `5x` for --memory\ncaused by: cannot read `5x` as a size: use a number with b, k, m, g or t, \
         as in 512m\nhint: --memory 512m\n",
    );
    check(
        "run|--name|a/b|a",
        125,
        "",
        "error: cannot use `a/b` for --name\ncaused by: cannot use name `a/b`: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed, \
         1 to 128 characters\nhint: --name web-1\n",
    );
    check(
        "create|-p|80:x|a",
        125,
        "",
        "error: cannot use `80:x` for --publish\ncaused by: `x` is no port: they go from 1 to 65535\nhint: -p 8080:80, -p \
         127.0.0.1:8080:80/tcp or -p 53:53/udp\n",
    );
    check("run|--network|container:x|--expose|0|a", 125, "", "error: cannot find container `x`\n");
    check(
        "run|--security-opt|seccomp=%/none.json|a",
        125,
        "",
        "error: cannot use `seccomp=%/none.json` for --security-opt\ncaused by: cannot read the file: No such file or \
         directory (os error 2)\nhint: options are …",
    );
    check("run|--cidfile|%|a", 125, "", "error: cannot use `%` for --cidfile\ncaused by: the file is there already\n…");
    check("run|-it|a", 1, "", "error: the input device is not a TTY\n…");
    check("kill|-s|NOPE|a", 125, "", "error: cannot use `NOPE` for --signal\n…");
    check("--data-root|relative|ps", 125, "", "error: cannot use `relative` for --data-root\n…");
    check("logs|--since|whenever|a", 1, "", "error: cannot use `whenever` for --since\n…");
    check(
        "ps|--filter|nope=1",
        1,
        "",
        "error: cannot use `nope=1` for --filter\ncaused by: there is no filter `nope`\n…",
    );
    check("ps|--format|{{.Nope", 1, "", "error: cannot use `{{.Nope` for --format\n…");
    check("update|a", 2, "", "error: nothing to change was given\n…");
    check("cp|a|b", 2, "", "error: cannot copy: one side must be CONTAINER:PATH\n…");
}

#[test]
fn references_are_checked_before_anything_is_asked() {
    check("run|--pull|never|nope:1|true", 125, "", "error: cannot find image `nope:1` in the store…");
    check("run|--pull|never|UPPER|true", 125, "", "error: cannot use image reference `UPPER`…");
    check("run|--pull|never|a:b:c|true", 125, "", "error: cannot use image reference `a:b:c`…");
    check("pull|a@sha256:00", 1, "", "error: cannot use image reference `a@sha256:00`…");
    check("tag|a|b@sha256:00", 1, "", "error: cannot use image reference …");
}

#[test]
fn what_is_not_there_is_named() {
    for command in ["start", "stop", "rm", "logs", "top", "wait", "pause", "attach", "restart", "diff", "rename|nope"] {
        let line = format!("{command}|nope");
        check(&line, 1, "", "error: cannot find container `nope`\n…");
    }
    check("exec|nope|true", 1, "", "error: cannot find container `nope`\n");
    check(
        "inspect|nope",
        1,
        "[]\n",
        "error: cannot find `nope`: there is no container, image, volume or network of that name\n",
    );
    check("image|inspect|nope", 1, "[]\n", "error: cannot find image `nope`\n…");
    check("rmi|nope", 1, "", "error: cannot find image `nope`\n…");
    check("volume|rm|nope", 1, "", "error: cannot find volume `nope`\n");
    check("rm|-f|nope", 0, "nope\n", "");
    check("volume|rm|-f|nope", 0, "nope\n", "");
    check("rmi|-f|nope", 0, "", "");
}

#[test]
fn empty_lists_have_titles_and_scripts_get_nothing() {
    check("ps", 0, "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n", "");
    check("ps|-aq", 0, "", "");
    check("images", 0, "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n", "");
    check("volume|ls|-o|json", 0, "[]\n", "");
    check("images|--format|{{.ID}}", 0, "", "");
}

#[test]
fn volumes_live_without_containers() {
    let place = Place::new();
    check_in(&place, "volume|create|--label|a=b|data", 0, "data\n", "");
    check_in(&place, "volume|ls", 0, "DRIVER    VOLUME NAME\nlocal     data\n", "");
    check_in(&place, "volume|inspect|-f|{{.Name}} {{.Labels.a}} {{.Driver}}|data", 0, "data b local\n", "");
    check_in(&place, "volume|ls|-q|--filter|label=a=c", 0, "", "");
    check_in(&place, "volume|rm|data", 0, "data\n", "");
    check_in(&place, "volume|ls|-q", 0, "", "");
}

#[test]
fn images_live_without_containers() {
    let place = Place::new();
    let mut tar = tar::Builder::new(std::fs::File::create(place.path().join("root.tar")).expect("file"));
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    tar.append_data(&mut header, "etc/motd", &b"hello"[..]).expect("entry");
    tar.into_inner().expect("tar");
    let (code, id, error) = place.holm("import|-c|CMD [\"sh\"]|-c|LABEL x=y|-m|made|%/root.tar|app:1");
    assert_eq!((code, id.starts_with("sha256:")), (0, true), "{error}");
    check_in(&place, "images|-q|--no-trunc", 0, &id, "");
    check_in(&place, "images|--format|{{.Repository}}:{{.Tag}}", 0, "app:1\n", "");
    check_in(&place, "tag|app:1|other:2", 0, "", "");
    check_in(&place, "images|--format|{{.Tag}}|oth*", 0, "2\n", "");
    check_in(
        &place,
        "inspect|-f|{{.RepoTags}} {{.Config.Cmd}} {{.Config.Labels.x}} {{.Os}}|app:1",
        0,
        "[app:1 other:2] [sh] y linux\n",
        "",
    );
    check_in(&place, "history|--format|{{.Comment}} {{.Size}}|app:1", 0, "made 5B\n", "");
    check_in(&place, "save|-o|%/app.tar|app:1", 0, "", "");
    check_in(&place, "rmi|app:1", 0, "Untagged: app:1\n", "");
    let (code, out, error) = place.holm("rmi|other:2");
    assert_eq!((code, out.contains("Deleted: sha256:")), (0, true), "{out}{error}");
    check_in(&place, "load|-i|%/app.tar", 0, "Loaded image: app:1\n", "");
    check_in(&place, "images|-q|--no-trunc", 0, &id, "");
    check_in(&place, "save|-o|%/none.tar|none:1", 1, "", "error: cannot find image `none:1`\n…");
    assert!(!place.path().join("none.tar").exists());
}

#[test]
fn info_shows_each_setting_and_its_origin() {
    let place = Place::new();
    std::fs::write(place.path().join("c.toml"), "pull = \"never\"\n").expect("settings");
    let (code, out, error) = place.holm("--config|%/c.toml|--log-level|debug|info");
    assert_eq!(code, 0, "{error}");
    for line in [
        " data-root: %/data ($HOLM_DATA_ROOT)\n",
        " pull: never (%/c.toml)\n",
        " log-level: debug (--log-level)\n",
        " cgroup-driver: auto (default)\n",
    ] {
        assert!(out.contains(line), "{line} in {out}");
    }
    check_in(&place, "info|-f|{{.Containers}} {{.Images}} {{.DockerRootDir}}", 0, "0 0 %/data\n", "");
    std::fs::write(place.path().join("bad.toml"), "colour = \"red\"\n").expect("settings");
    check_in(
        &place,
        "--config|%/bad.toml|ps",
        125,
        "",
        "error: cannot read the settings `%/bad.toml`\ncaused by: line 1: unknown field…",
    );
}

#[test]
fn version_completions_and_manual_come_from_the_same_definitions() {
    let version = env!("CARGO_PKG_VERSION");
    check("version|-f|{{.Client.Version}}", 0, &format!("{version}\n"), "");
    check("--version", 0, &format!("holm {version}\n"), "");
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, error) = place.holm(&format!("completions|{shell}"));
        assert_eq!((code, out.contains("pids-limit")), (0, true), "{shell}: {error}");
    }
    check_in(&place, "man|%/man", 0, "", "");
    for page in ["holm.1", "holm-run.1", "holm-volume-create.1"] {
        let text = std::fs::read_to_string(place.path().join("man").join(page)).expect(page);
        assert!(text.contains(".TH"), "{page}");
    }
}

#[test]
fn hostile_words_do_not_reach_the_terminal() {
    let (_, _, error) = Place::new().holm("inspect|\u{1b}[2Jx");
    assert!(!error.contains('\u{1b}') && error.contains("\\u{1b}[2Jx"), "{error}");
    let (_, _, error) = Place::new().holm("\u{1b}[2J");
    assert!(!error.contains('\u{1b}'), "{error}");
}
