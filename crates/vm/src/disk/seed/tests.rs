//! A seed disk before another reader and before what finds disks by their labels.

use std::io::Write;
use std::process::Command;

use holm_kit::{has_command, requires};

use super::*;

fn disk(seed: &Seed<'_>) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&encode(seed).unwrap()).unwrap();
    file
}

#[test]
fn encode_is_found_by_its_label() {
    requires!(has_command("blkid"), "needs blkid");
    let disk = disk(&Seed { meta_data: b"instance-id: a\n", ..Seed::default() });
    let mut command = Command::new("blkid");
    let output = command.args(["-p", "-o", "export"]).arg(disk.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("LABEL=cidata\n") && said.contains("TYPE=iso9660\n"), "{said}");
}

/// Not by the kernel: the one that tests run on may lack iso9660.
#[test]
fn encode_has_the_names_and_content_that_cloud_init_wants() {
    requires!(has_command("isoinfo"), "needs genisoimage");
    let user_data = vec![b'#'; 5000];
    for network_config in [None, Some(&b"version: 2\n"[..])] {
        let disk = disk(&Seed { meta_data: b"instance-id: a\n", user_data: &user_data, network_config });
        let isoinfo = |arguments: &[&str]| {
            let output = Command::new("isoinfo").arg("-R").args(arguments).arg("-i").arg(disk.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let names = String::from_utf8(isoinfo(&["-f"])).unwrap();
        let network = network_config.map(|_| "/network-config");
        let wanted: Vec<_> = Some("/meta-data").into_iter().chain(network).chain(["/user-data"]).collect();
        assert_eq!(names.lines().collect::<Vec<_>>(), wanted);
        assert_eq!(isoinfo(&["-x", "/meta-data"]), b"instance-id: a\n");
        assert!(isoinfo(&["-x", "/user-data"]) == user_data);
        let long = String::from_utf8(isoinfo(&["-l"])).unwrap();
        let modes = long.lines().filter(|line| line.starts_with("-r--------   1    0    0")).count();
        assert_eq!(modes, wanted.len(), "{long}");
    }
}

#[test]
fn encode_of_a_file_too_large_is_refused() {
    let user_data = vec![0; MAX_FILE_BYTES + 1];
    assert!(matches!(encode(&Seed { user_data: &user_data, ..Seed::default() }), Err(DiskError::Unfit { .. })));
    assert!(encode(&Seed { user_data: &user_data[1..], ..Seed::default() }).is_ok());
}
