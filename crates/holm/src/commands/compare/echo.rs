//! A listener on the host that sends every byte back, for one peer: what the probe measures round trips with.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};

/// Listens at an address of this host and serves the first who comes, in a thread that ends with its peer or with this
/// process. `None` where nothing can listen there.
pub fn serve(address: IpAddr) -> Option<SocketAddr> {
    let listener = TcpListener::bind((address, 0)).ok()?;
    let bound = listener.local_addr().ok()?;
    // This process enters no container, so a thread is in nobody's way.
    std::thread::spawn(move || {
        let Ok((mut peer, _)) = listener.accept() else { return };
        let _ = peer.set_nodelay(true);
        let mut piece = [0; 64];
        while let Ok(count @ 1..) = peer.read(&mut piece) {
            if peer.write_all(&piece[..count]).is_err() {
                return;
            }
        }
    });
    Some(bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpStream};

    #[test]
    fn bytes_come_back() {
        let address = serve(Ipv4Addr::LOCALHOST.into()).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"xyz").unwrap();
        let mut back = [0; 3];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"xyz");
        assert!(serve(Ipv4Addr::new(192, 0, 2, 1).into()).is_none());
    }
}
