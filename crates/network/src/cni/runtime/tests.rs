//! The runtime's side with plugins that are scripts: what they are told, in which order.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use holm_spec::network::CniSpec;
use serde_json::{Value, json};

use super::*;
use crate::tests_support::{container, roots};

struct Place {
    folder: tempfile::TempDir,
    networks: Networks,
    folders: Folders,
}

/// Writes `VERB TYPE NETNS INPUT` to a log, then does what is asked of it.
const SCRIPT: &str = r#"#!/bin/sh
input=$(cat)
name=${0##*/}
echo "$CNI_COMMAND $name $CNI_IFNAME:$CNI_NETNS $input" >> "${0%/*}/log"
[ -e "${0%/*}/fails-$CNI_COMMAND-$name" ] && { echo '{"code":11,"msg":"later"}'; exit 1; }
case $CNI_COMMAND in ADD) echo '{"cniVersion":"1.1.0","ips":[{"address":"10.1.2.3/24"}],"by":"'$name'"}';; esac
exit 0
"#;

impl Place {
    fn new(version: &str) -> Self {
        let (folder, roots) = roots();
        for name in ["one", "two", "three"] {
            let path = folder.path().join(name);
            fs::write(&path, SCRIPT).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let plugins = json!([
            {"type": "one", "capabilities": {"ips": true}, "own": 1}, {"type": "two", "capabilities": {"mac": true}},
            {"type": "three"},
        ]);
        let list = json!({"cniVersion": "0.4.0", "cniVersions": ["0.4.0", version], "name": "net", "plugins": plugins});
        fs::write(folder.path().join("net.conflist"), list.to_string()).unwrap();
        let here = vec![folder.path().to_owned()];
        let folders = Folders { config: here.clone(), plugins: here };
        Self { networks: Networks::new(roots), folders, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn plug(&self, number: u8) -> Result<(Joined, Dns), Error> {
        let spec = CniSpec {
            name: "net".parse().unwrap(),
            ips: vec!["10.1.2.3/24".to_owned()],
            mac: None,
            ingress_bits: None,
            egress_bits: None,
        };
        let id = container(number);
        let (ports, dns, words) = ([], [], []);
        let (search, options) = (&words, &words);
        let (name, folders) = ("c", &self.folders);
        let request =
            CniRequest { container: &id, name, spec: &spec, ports: &ports, dns: &dns, search, options, folders };
        self.networks.plug(&request, &self.path("one").display().to_string())
    }

    /// Each call as `VERB TYPE` with its input, and forgets them.
    fn calls(&self) -> Vec<(String, Value)> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let _ = fs::remove_file(self.path("log"));
        log.lines()
            .map(|line| {
                let mut words = line.splitn(4, ' ');
                let call = format!("{} {}", words.next().unwrap(), words.next().unwrap());
                (call, serde_json::from_str(words.nth(1).unwrap()).unwrap())
            })
            .collect()
    }
}

fn names(calls: &[(String, Value)]) -> Vec<&str> {
    calls.iter().map(|(call, _)| call.as_str()).collect()
}

#[test]
fn results_are_told_to_the_next_and_all_is_undone_in_reverse() {
    let place = Place::new("1.0.0");
    let (joined, _) = place.plug(1).unwrap();
    assert_eq!(joined.endpoints()[0].addresses[0].to_string(), "10.1.2.3/24");
    assert_eq!(place.networks.endpoints_of(&container(1)).unwrap(), joined.endpoints());
    let calls = place.calls();
    assert_eq!(names(&calls), ["ADD one", "ADD two", "ADD three"]);
    assert_eq!(calls[0].1["runtimeConfig"], json!({"ips": ["10.1.2.3/24"]}));
    assert!(calls.iter().all(|(_, input)| input["cniVersion"] == "1.0.0" && input["name"] == "net"));
    assert!(calls.iter().all(|(_, input)| input.get("capabilities").is_none()));
    assert_eq!(calls[1].1.get("runtimeConfig"), None);
    assert_eq!((calls[0].1.get("prevResult"), &calls[2].1["prevResult"]["by"]), (None, &json!("two")));
    assert!(place.networks.check_plugged(&container(1)).unwrap());
    let calls = place.calls();
    assert_eq!(names(&calls), ["CHECK one", "CHECK two", "CHECK three"]);
    assert!(calls.iter().all(|(_, input)| input["prevResult"]["by"] == "three"));
    place.networks.unplug(&container(1)).unwrap();
    let calls = place.calls();
    assert_eq!(names(&calls), ["DEL three", "DEL two", "DEL one"]);
    assert!(calls.iter().all(|(_, input)| input["prevResult"]["by"] == "three"));
    place.networks.unplug(&container(1)).unwrap();
    assert_eq!(place.calls(), [], "there is nothing any more");
}

#[test]
fn a_failure_in_the_middle_undoes_all_and_a_failed_undo_is_tried_again() {
    let place = Place::new("1.0.0");
    fs::write(place.path("fails-ADD-two"), "").unwrap();
    fs::write(place.path("fails-DEL-three"), "").unwrap();
    let error = place.plug(1).unwrap_err().to_string();
    assert_eq!(error, "cannot ADD by CNI plugin `two` of network `net`: later (code 11)");
    assert_eq!(names(&place.calls()), ["ADD one", "ADD two", "DEL three", "DEL two", "DEL one"]);
    assert_eq!(place.networks.plugged().unwrap(), [container(1)]);
    fs::remove_file(place.path("fails-DEL-three")).unwrap();
    fs::remove_file(place.path("fails-ADD-two")).unwrap();
    place.plug(1).unwrap();
    let calls = place.calls();
    assert_eq!(names(&calls)[..4], ["DEL three", "DEL two", "DEL one", "ADD one"]);
    assert!(calls[..3].iter().all(|(_, input)| input.get("prevResult").is_none()));
}

#[test]
fn collection_names_what_is_there_to_plugins_that_know_it() {
    let place = Place::new("1.1.0");
    place.plug(1).unwrap();
    place.calls();
    assert!(place.networks.collect_plugged("net", &place.folders).unwrap());
    let calls = place.calls();
    assert_eq!(names(&calls), ["GC one", "GC two", "GC three"]);
    assert_eq!(calls[0].1["cni.dev/valid-attachments"], json!([{"containerID": container(1), "ifname": "eth0"}]));
    let old = Place::new("1.0.0");
    assert!(!old.networks.collect_plugged("net", &old.folders).unwrap());
    assert_eq!(old.calls(), []);
}
