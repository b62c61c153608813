//! inspect, ps, images, info, version: fields and formats that scripts rely on.

use holm_kit::{BUSYBOX, Leaks, Scratch};

#[test]
fn inspect_has_dockers_field_names() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    let options = ["--label", "a=b", "--memory", "64m", "-e", "K=v", "--hostname", "h", "--restart", "on-failure:2"];
    scratch.detached("i", &options, &["sleep", "1000"]);
    let document = scratch.holm(["inspect", "i"]).ok().json();
    let it = &document[0];
    assert_eq!(it["Name"], "/i");
    assert_eq!(it["State"]["Status"], "running");
    assert_eq!(it["State"]["Running"], true);
    assert!(it["State"]["Pid"].as_u64().unwrap() > 1);
    assert_eq!(it["Config"]["Labels"]["a"], "b");
    assert_eq!(it["Config"]["Hostname"], "h");
    assert_eq!(it["Config"]["Image"], BUSYBOX);
    assert_eq!(it["Config"]["Cmd"], serde_json::json!(["sleep", "1000"]));
    assert!(it["Config"]["Env"].as_array().unwrap().contains(&"K=v".into()));
    assert_eq!(it["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(it["HostConfig"]["RestartPolicy"]["Name"], "on-failure");
    assert_eq!(it["HostConfig"]["RestartPolicy"]["MaximumRetryCount"], 2);
    assert_eq!(it["HostConfig"]["NetworkMode"], "none");
    for time in [&it["Created"], &it["State"]["StartedAt"]] {
        assert!(time.as_str().is_some_and(|time| time.contains('T') && time.ends_with('Z')), "{time}");
    }
    assert!(it["Mounts"].is_array() && it["NetworkSettings"].is_object() && it["GraphDriver"].is_object());
    scratch.holm(["rm", "-f", "i"]).ok();
    leaks.assert_none();
}

#[test]
fn formats_are_go_templates() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("i", &["--label", "a.b=c", "--label", "x=y"], &["sleep", "1000"]);
    let check = |format: &str, expected: &str| {
        scratch.holm(["inspect", "--format", format, "i"]).ok().says(expected);
    };
    check("{{.State.Status}}", "running");
    check("{{json .Config.Cmd}}", r#"["sleep","1000"]"#);
    check("{{index .Config.Labels \"a.b\"}}", "c");
    check("{{range .Config.Cmd}}<{{.}}>{{end}}", "<sleep><1000>");
    check("{{if .State.Running}}up{{else}}down{{end}}", "up");
    check("{{len .Config.Cmd}}", "2");
    check("{{printf \"%s-%d\" .State.Status (len .Config.Cmd)}}", "running-2");
    check("{{.Name | printf \"%q\"}}", "\"/i\"");
    check("{{join .Config.Cmd \"+\"}} {{upper .State.Status}}", "sleep+1000 RUNNING");
    check("{{with .Config}}{{.Image}}{{end}}", BUSYBOX);
    check("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "a.b=c;x=y;");
    check("{{eq .State.Status \"running\"}} {{and true (not false)}}", "true true");
    for wrong in ["{{", "{{.No.Such.Field}}", "{{nofunc .}}", "{{if}}", "{{.State.Status", "{{end}}", "{{range}}"] {
        let output = scratch.holm(["inspect", "--format", wrong, "i"]).run().calm();
        assert_ne!(output.exit_code(), 0, "{wrong}: {output}");
    }
    scratch.holm(["rm", "-f", "i"]).ok();
    leaks.assert_none();
}

#[test]
fn ps_filters_and_formats() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.detached("up", &["--label", "tier=front"], &["sleep", "1000"]);
    scratch.run(["--name", "down", "--label", "tier=back", BUSYBOX, "sh", "-c", "exit 3"]).fails(3);
    let names = |options: &[&str]| {
        let output = scratch.holm(["ps", "--format", "{{.Names}}"]).args(options).ok();
        let mut names: Vec<_> = output.text().lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&[]), "up");
    assert_eq!(names(&["-a"]), "down up");
    assert_eq!(names(&["-a", "--filter", "status=exited"]), "down");
    assert_eq!(names(&["-a", "--filter", "label=tier=front"]), "up");
    assert_eq!(names(&["-a", "--filter", "label=tier"]), "down up");
    assert_eq!(names(&["-a", "--filter", "name=dow"]), "down");
    assert_eq!(names(&["-a", "--filter", "exited=3"]), "down");
    assert_eq!(names(&["-a", "--filter", &format!("ancestor={BUSYBOX}")]), "down up");
    assert_eq!(names(&["-n", "1"]), "down");
    let table = scratch.holm(["ps", "-a"]).ok().mentions("CONTAINER ID").mentions("Exited (3)").mentions("Up ");
    assert_eq!(table.text().lines().count(), 3);
    let table = scratch.holm(["ps", "--format", "table {{.Names}}\t{{.Image}}"]).ok().mentions("NAMES").mentions("up");
    assert_eq!(table.text().lines().count(), 2);
    let lines = scratch.holm(["ps", "--format", "json"]).ok();
    let line: serde_json::Value = serde_json::from_str(lines.text().lines().next().unwrap()).unwrap();
    assert!(line["Names"] == "up" || line[0]["Names"] == "up", "{lines}");
    assert_ne!(scratch.holm(["ps", "--filter", "nonsense=1"]).run().exit_code(), 0);
    scratch.holm(["rm", "-f", "up", "down"]).ok();
    leaks.assert_none();
}

#[test]
fn images_lists_and_inspects() {
    let scratch = Scratch::with_busybox();
    scratch.holm(["images"]).ok().mentions("REPOSITORY").mentions("localhost/busybox").mentions("test");
    let id = scratch.holm(["images", "-q", "--no-trunc"]).ok();
    assert!(id.text().starts_with("sha256:"), "{id}");
    let document = scratch.holm(["image", "inspect", BUSYBOX]).ok().json();
    assert_eq!(document[0]["Id"], id.text());
    assert_eq!(document[0]["Os"], "linux");
    assert_eq!(document[0]["Config"]["Cmd"], serde_json::json!(["/bin/sh", "-c", "sh"]));
    assert_eq!(document[0]["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    scratch.holm(["history", BUSYBOX]).ok().mentions("CREATED BY");
    scratch.holm(["inspect", BUSYBOX]).ok().mentions("RootFS");
}

#[test]
fn info_and_version_say_where_settings_come_from() {
    let scratch = Scratch::with_busybox();
    let data = scratch.data_root();
    let output = scratch.holm(["info"]).ok().mentions(data.to_str().unwrap());
    assert!(output.stdout.contains("HOLM_DATA_ROOT") || output.stdout.contains("environment"), "{output}");
    let other = scratch.make_folder("other");
    let flag = scratch.holm(["--data-root", other.to_str().unwrap(), "info"]).ok();
    flag.mentions(other.to_str().unwrap()).omits(data.to_str().unwrap());
    scratch.holm(["version"]).ok().mentions(env!("CARGO_PKG_VERSION"));
    scratch.holm(["--version"]).ok().mentions(env!("CARGO_PKG_VERSION"));
    scratch.holm(["system", "df"]).ok().mentions("Images");
}

#[test]
fn help_and_completions_exist_for_every_command() {
    let scratch = Scratch::new();
    let commands = "run create start stop restart kill rm ps logs exec attach inspect stats top wait cp pause unpause \
                    update rename diff commit events info version system volume pull push images rmi tag history save \
                    load import export image login logout";
    let help = scratch.holm(["--help"]).ok();
    for command in commands.split_whitespace() {
        assert!(help.stdout.contains(command), "no `{command}` in {help}");
        scratch.holm([command, "--help"]).ok().mentions("Usage");
    }
    scratch.holm(["no-such-command"]).fails(2).complains("no-such-command");
    scratch.run(["--no-such-flag", BUSYBOX]).run().complains("no-such-flag");
    scratch.holm(["completions", "bash"]).ok().mentions("holm");
}

#[test]
fn lists_and_inspect_speak_yaml_too() {
    let scratch = Scratch::with_busybox();
    let leaks = Leaks::before(&scratch);
    scratch.holm(["volume", "create", "data"]).ok();
    scratch.run(["--name", "box", BUSYBOX, "true"]).ok();
    scratch.holm(["ps", "-a", "-o", "yaml"]).ok().mentions("\n  Names: box\n");
    scratch.holm(["ps", "-a", "-o", "name"]).ok().says("box");
    scratch.holm(["images", "-o", "yaml"]).ok().mentions("Repository: localhost/busybox\n");
    scratch.holm(["volume", "ls", "-o", "yaml"]).ok().mentions("Name: data\n");
    scratch.holm(["inspect", "-o", "yaml", "box"]).ok().mentions("  Name: /box\n").mentions("\n    ExitCode: 0\n");
    scratch.holm(["image", "inspect", "-o", "yaml", BUSYBOX]).ok().mentions("Architecture: ");
    scratch.holm(["volume", "inspect", "-o", "json", "data"]).ok().json();
    scratch.holm(["inspect", "-o", "yaml", "-f", "x", "box"]).fails(2);
    scratch.holm(["rm", "box"]).ok();
    scratch.holm(["volume", "rm", "data"]).ok();
    leaks.assert_none();
}
