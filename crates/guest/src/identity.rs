//! Who runs a process: a user as the host asked for it, as the container's files have it.

use holm_container::rootfs::Rootfs;
use holm_container::user::{self, ResolvedUser};
use holm_spec::guest::Identity;
use holm_spec::oci::runtime::Process;

use crate::error::Error;

const HOME: &str = "HOME=";

/// Looks the user up and makes the process this user's.
pub(crate) fn assume(process: &mut Process, identity: &Identity, root: &Rootfs) -> Result<(), Error> {
    let user = user::resolve(root, identity.user.as_deref(), &identity.groups)?;
    become_user(process, identity, &user);
    Ok(())
}

fn become_user(process: &mut Process, identity: &Identity, user: &ResolvedUser) {
    process.user.uid = user.uid;
    process.user.gid = user.gid;
    process.user.additional_gids.clone_from(&user.additional_gids);
    if user.uid != 0 {
        process.capabilities = Some(identity.unprivileged.clone());
    }
    if !identity.keep_home {
        set_home(process, &format!("{HOME}{}", user.home));
    }
}

/// Makes an added process the container's own user's. Its capabilities are that user's too, unless it is to have more.
pub(crate) fn inherit(process: &mut Process, of: &Process, privileged: bool) {
    process.user.uid = of.user.uid;
    process.user.gid = of.user.gid;
    process.user.additional_gids.clone_from(&of.user.additional_gids);
    if of.user.uid != 0 && !privileged {
        process.capabilities.clone_from(&of.capabilities);
    }
    let has_home = process.env.iter().any(|entry| entry.starts_with(HOME));
    if let Some(home) = of.env.iter().find(|entry| entry.starts_with(HOME)).filter(|_| !has_home) {
        set_home(process, home);
    }
}

fn set_home(process: &mut Process, entry: &str) {
    process.env.retain(|entry| !entry.starts_with(HOME));
    process.env.push(entry.to_owned());
}

#[cfg(test)]
mod tests {
    use holm_spec::oci::runtime::Capabilities;

    use super::*;

    fn process(env: &[&str], capability: &str) -> Process {
        let capabilities = Some(Capabilities { effective: vec![capability.to_owned()], ..Capabilities::default() });
        Process { env: env.iter().map(|e| (*e).to_owned()).collect(), capabilities, ..Process::default() }
    }

    fn effective(process: &Process) -> &[String] {
        &process.capabilities.as_ref().unwrap().effective
    }

    #[test]
    fn a_user_gets_the_capabilities_and_the_home_of_that_user() {
        let user = ResolvedUser { uid: 5, gid: 6, additional_gids: vec![6], home: "/h".into(), name: None };
        let mut asked = process(&["HOME=/old", "A=1"], "CAP_CHOWN");
        become_user(&mut asked, &Identity::default(), &user);
        assert_eq!((asked.user.uid, asked.user.gid, &asked.user.additional_gids[..]), (5, 6, &[6][..]));
        assert_eq!(asked.env, ["A=1", "HOME=/h"]);
        assert!(effective(&asked).is_empty());
        let mut asked = process(&["HOME=/mine"], "CAP_CHOWN");
        let root = ResolvedUser { home: "/root".into(), ..ResolvedUser::default() };
        become_user(&mut asked, &Identity { keep_home: true, ..Identity::default() }, &root);
        assert_eq!((asked.env[0].as_str(), effective(&asked)), ("HOME=/mine", &["CAP_CHOWN".to_owned()][..]));
    }

    #[test]
    fn an_added_process_is_the_containers_user() {
        let mut of = process(&["HOME=/h"], "CAP_KILL");
        of.user.uid = 5;
        let mut added = process(&["A=1"], "CAP_CHOWN");
        inherit(&mut added, &of, false);
        assert_eq!((added.user.uid, &added.env[1][..], &effective(&added)[0][..]), (5, "HOME=/h", "CAP_KILL"));
        let mut added = process(&["HOME=/x"], "CAP_CHOWN");
        inherit(&mut added, &of, true);
        assert_eq!((&added.env[0][..], &effective(&added)[0][..]), ("HOME=/x", "CAP_CHOWN"));
    }
}
