//! Templates, as data: template on the left, text or complaint on the right.

use serde_json::json;

use super::*;

fn value() -> Value {
    json!({
        "Id": "4f5e6d7c8b9a", "Name": "/web", "Count": 3, "Zero": 0, "Ratio": 1.5, "Empty": "",
        "State": {"Pid": 42, "Running": true, "Paused": false, "Health": null},
        "Config": {"Labels": {"app": "web", "a.b/c": "d"}, "Env": ["A=1", "B=2"], "Entrypoint": null, "Cmd": []},
        "NetworkSettings": {"Ports": {"80/tcp": [{"HostPort": "8080"}], "443/tcp": null}},
        "Mounts": [{"Source": "/a", "Destination": "/b"}, {"Source": "/c", "Destination": "/d"}],
        "Labels": "x=1,y=2",
    })
}

fn check(template: &str, expected: &str) {
    let text = Template::parse(template).and_then(|t| t.render(&value()));
    assert_eq!(text.as_deref(), Ok(expected), "{template}");
}

fn refused(template: &str, why: &str) {
    let error = Template::parse(template).and_then(|t| t.render(&value())).expect_err(template);
    assert!(error.to_string().contains(why), "{template}: {error}");
}

#[test]
fn fields_and_text() {
    check("", "");
    check("plain", "plain");
    check("{{.Id}} {{ .Name }}", "4f5e6d7c8b9a /web");
    check("{{.State.Pid}}/{{.State.Running}}/{{.Ratio}}", "42/true/1.5");
    check("{{.Config.Env}}", "[A=1 B=2]");
    check("{{.Config.Labels}}", "map[a.b/c:d app:web]");
    check("{{.Config.Entrypoint}} {{.State.Health}}", "[] <nil>");
    check("{{.Config.Labels.app}} {{.Config.Labels.none}}", "web <no value>");
    check("{{$.Id}} {{(index .Mounts 0).Source}}", "4f5e6d7c8b9a /a");
    check("{{if .Mounts}}{{with index .Mounts 0}}{{if .Health}}yes{{else}}no{{end}}{{end}}{{end}}", "no");
    check("{{.Label \"y\"}}{{.Label \"z\"}}", "2");
    check("a {{- 1 -}} b {{/* comment }} */}}c", "a1b c");
}

#[test]
fn functions() {
    check("{{json .State}}", r#"{"Pid":42,"Running":true,"Paused":false,"Health":null}"#);
    check("{{.Config.Env | json}}", r#"["A=1","B=2"]"#);
    check("{{index .Config.Labels \"a.b/c\"}}{{index .Config.Labels \"none\"}}", "d");
    check("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080");
    check("{{join .Config.Env \",\"}} {{.Config.Env | join \",\"}}", "A=1,B=2 A=1,B=2");
    check("{{upper .Name}} {{lower \"ABC\"}} {{title \"two words\"}}", "/WEB abc Two Words");
    check("{{split \"a,b\" \",\"}} {{len .Mounts}} {{len .Id}}", "[a b] 2 12");
    check("{{truncate .Id 4}}{{pad \"x\" 1 2}}|{{slice .Id 0 3}}", "4f5e x  |4f5");
    check(
        "{{printf \"%s-%d-%5d|%-4s|%05d|%.2f|%q|%v%%\" .Name .Count 7 \"ab\" 42 .Ratio \"q\" true}}",
        "/web-3-    7|ab  |00042|1.50|\"q\"|true%",
    );
    check("{{print 1 2 \"a\" 3}}|{{println \"a\" 1}}", "1 2a3|a 1\n");
    check(
        "{{eq .Count 3}} {{eq .Name \"x\" \"/web\"}} {{ne 1 2}} {{lt 1 2}} {{ge 2 2}} {{gt 1 2}} {{le \"a\" \"b\"}}",
        "true true true true true false true",
    );
    check("{{and .Count .Name}} {{or .Zero .Empty \"last\"}} {{not .Zero}}", "/web last true");
    check("{{.Id | printf \"%.3s\" | upper}}", "4F5");
    check("{{`raw \\n`}} {{'a'}} {{0x10}} {{-3}}", "raw \\n 97 16 -3");
}

#[test]
fn blocks() {
    check("{{if .State.Running}}up{{else}}down{{end}}", "up");
    check("{{if .Zero}}a{{else if .Empty}}b{{else}}c{{end}}", "c");
    check("{{if and .State.Running (not .State.Paused)}}yes{{end}}", "yes");
    check("{{range .Mounts}}{{.Source}}:{{.Destination}};{{end}}", "/a:/b;/c:/d;");
    check("{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$i}}={{$e}}{{end}}", "0=A=1,1=B=2");
    check("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}", "a.b/c=d app=web ");
    check(
        "{{range $p, $conf := .NetworkSettings.Ports}}{{$p}}->{{range $conf}}{{.HostPort}}{{else}}none{{end}} {{end}}",
        "443/tcp->none 80/tcp->8080 ",
    );
    check("{{range .Config.Cmd}}x{{else}}empty{{end}}", "empty");
    check("{{with .State}}{{.Pid}}{{end}}{{with .Empty}}x{{else}}no{{end}}", "42no");
    check("{{$x := .Id}}{{range .Config.Env}}{{$x = .}}{{end}}{{$x}}", "B=2");
    check("{{range .Config.Env}}{{if eq . \"B=2\"}}{{break}}{{end}}{{.}}{{end}}", "A=1");
    check("{{range .Config.Env}}{{if eq . \"A=1\"}}{{continue}}{{end}}{{.}}{{end}}", "B=2");
}

#[test]
fn mistakes_are_explained() {
    refused("{{.Nope}}", "map has no entry for key \"Nope\"");
    refused("{{.State.Nope}}", "at <.State.Nope>");
    refused("{{.State.Health.Status}}", "nil pointer evaluating Status");
    refused("{{.Id.x}}", "can't evaluate field x in type string");
    refused("{{.Id", "not closed");
    refused("{{}}", "empty");
    refused("{{nope .}}", "function \"nope\" not defined");
    refused("{{if .Id}}", "not closed by {{end}}");
    refused("{{end}}", "without a block");
    refused("{{else}}", "without a block");
    refused("{{if 1}}{{else}}{{else}}{{end}}", "second {{else}}");
    refused("{{index .Mounts 9}}", "out of range");
    refused("{{\"open}}", "not closed");
    refused("{{(.Id}}", "not closed");
    refused("{{.Id)}}", "unexpected )");
    refused("{{.Id |}}", "missing");
    refused("{{$x}}", "undefined variable");
    refused("{{.Id .Name}}", "non-function");
    refused("{{upper 3}}", "expected string");
    refused("{{break}}", "outside a range");
    refused("{{1 ! 2}}", "unexpected `!`");
    refused(&"{{if 1}}".repeat(100), "nested deeper");
    refused(&format!("{{{{{}1}}}}", "(".repeat(100)), "nested deeper");
    let failure =
        Template::parse("{{.Nope}}").and_then(|t| t.render(&value())).expect_err("missing").into_failure("{{.Nope}}");
    assert!(failure.hint.is_some_and(|hint| hint.contains("Id, Name")));
}

#[test]
fn no_input_panics() {
    for text in [
        "{{-",
        "{{- }}",
        "{{-}}",
        "{{ä.ö}}",
        "{{.ä}}",
        "{{'",
        "{{\"\\",
        "{{/*",
        "}}",
        "{{.}}{",
        "{{ . -}}  x",
        "{{.5}}",
        "{{$}}",
        "{{9999999999999999999}}",
    ] {
        let _ = Template::parse(text).and_then(|t| t.render(&value()));
    }
}

#[test]
fn first_fields_name_the_columns() {
    let fields = Template::parse("{{.ID}}\t{{upper .Names}} {{if .Image}}{{.Image}}{{end}}").map(|t| t.fields());
    assert_eq!(fields, Ok(["ID", "Names", "Image", "Image"].map(str::to_owned).to_vec()));
}
