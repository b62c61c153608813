use super::*;

const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n42:x:7:7::/evil:/bin/sh\nbad line\n";
const GROUP: &str = "root:x:0:\nwheel:x:10:app,root\napp:x:1000:\nlogs:x:55:app\n";

fn check(user: &str, add: &[&str]) -> Result<(u32, u32, Vec<u32>, String), UserError> {
    let add: Vec<String> = add.iter().map(|s| (*s).to_owned()).collect();
    resolve_in(PASSWD, GROUP, user, &add).map(|u| (u.uid, u.gid, u.additional_gids, u.home))
}

#[test]
fn user_by_name_gets_groups_and_home() {
    assert_eq!(check("app", &[]).unwrap(), (1000, 1000, vec![1000, 10, 55], "/home/app".into()));
    assert_eq!(check("", &[]).unwrap(), (0, 0, vec![0, 10], "/root".into()));
    assert_eq!(check("app:logs", &["wheel", "77"]).unwrap(), (1000, 55, vec![55, 10, 77], "/home/app".into()));
}

#[test]
fn digits_are_numbers_and_never_names() {
    assert_eq!(check("42", &[]).unwrap(), (42, 0, vec![0], "/".into()));
    assert_eq!(check("1000:1", &[]).unwrap().0, 1000);
    for bad in ["4294967296", "4294967295", "-1", "+5", "99999999999999999999"] {
        assert!(matches!(check(bad, &[]), Err(UserError::Range(_))), "{bad}");
    }
}

#[test]
fn unknown_names_and_forms_are_errors() {
    assert!(matches!(check("nobody", &[]), Err(UserError::UnknownUser(_))));
    assert!(matches!(check("0x0", &[]), Err(UserError::UnknownUser(_))));
    assert!(matches!(check("app:none", &[]), Err(UserError::UnknownGroup(_))));
    assert!(matches!(check("app", &["none"]), Err(UserError::UnknownGroup(_))));
    assert!(matches!(check("app:", &[]), Err(UserError::Form(_))));
    assert!(matches!(check("app:a:b", &[]), Err(UserError::Form(_))));
}

#[test]
fn fifo_in_place_of_passwd_is_an_error_and_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path().join("etc/passwd"),
        FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let root = Rootfs::directory(dir.path()).unwrap();
    assert!(matches!(resolve(&root, None, &[]), Err(UserError::File("/etc/passwd", _))));
}

#[test]
fn passwd_link_stays_inside_the_root() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::os::unix::fs::symlink("../../../../../../etc/hostname", dir.path().join("etc/passwd")).unwrap();
    let root = Rootfs::directory(dir.path()).unwrap();
    assert!(resolve(&root, Some("root"), &[]).is_err());
    assert_eq!(resolve(&root, Some("5:6"), &[]).unwrap().gid, 6);
}
