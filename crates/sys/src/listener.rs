//! Who listens in a network namespace, read from the kernel's own tables of sockets.
//!
//! *Source*: proc_pid_net(5), net/tcp_states.h.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most bytes of a table that are read.
const TABLE_MAX: u64 = 4 << 20;

/// One socket that takes connections or datagrams of everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// It is TCP's; UDP's otherwise.
    pub tcp: bool,
    /// Its own end.
    pub at: SocketAddr,
}

/// Lists the sockets of a process's network namespace, in order, each once; of this thread's where there is none. A table
/// that the kernel has not is an empty one. *Privilege*: that of looking into the process's folder of `/proc`.
pub fn list(pid: Option<i32>) -> Vec<Listener> {
    let folder = pid.map_or_else(|| "/proc/thread-self/net".to_owned(), |pid| format!("/proc/{pid}/net"));
    let mut all = Vec::new();
    for (name, tcp) in [("tcp", true), ("tcp6", true), ("udp", false), ("udp6", false)] {
        let Ok(file) = File::open(format!("{folder}/{name}")) else { continue };
        let mut text = String::new();
        if file.take(TABLE_MAX).read_to_string(&mut text).is_ok() {
            all.extend(parse(&text, tcp));
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Reads a table, of TCP or of UDP: the second column is the socket's own end, the fourth its state. Other lines are passed over.
pub fn parse(text: &str, tcp: bool) -> Vec<Listener> {
    // TCP_LISTEN; of UDP sockets those without a peer are TCP_CLOSE.
    let wanted = if tcp { "0A" } else { "07" };
    let one = |line: &str| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (own, _, state) = (columns.next()?, columns.next()?, columns.next()?);
        (state == wanted).then(|| end(own)).flatten().map(|at| Listener { tcp, at })
    };
    text.lines().skip(1).filter_map(one).collect()
}

/// `0100007F:1F90`: words in the machine's order, then the port.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (part, chunk) in bytes.chunks_mut(4).enumerate() {
                chunk.copy_from_slice(&word(part * 8)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n   \
        0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n   \
        1: 0200000A:0050 0300000A:1234 01 00000000:00000000 00:00000000 00000000     0\n   \
        2: nonsense\n";
    const TCP6: &str = "head\n 0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0 0\n \
        1: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 0A 0 0\n";

    #[test]
    fn tables_are_read() {
        let of = |text: &str, at: usize| parse(text, true).get(at).map(|l| l.at.to_string());
        assert_eq!(of(TCP, 0).as_deref(), Some("127.0.0.1:6379"));
        assert_eq!(of(TCP, 1), None);
        assert_eq!(of(TCP6, 0).as_deref(), Some("[::]:8080"));
        assert_eq!(of(TCP6, 1).as_deref(), Some("[::1]:53"));
    }
}
