//! Ports: whether one is free, and the file in which a nats-server writes down those it got.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::net::TcpSocket;

/// Whether a server that starts now could listen on `address`; the error says why not.
///
/// It binds as a server does, and does not listen, so nobody takes it for one.
pub(super) fn check_free(address: SocketAddr) -> io::Result<()> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // As servers on Unix do, so that connections of an earlier one do not count. Elsewhere it would take the
    // port away from whoever has it.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

/// Makes `folder` ready for a server about to start: there, and without the file of an earlier server,
/// since one that was killed leaves it behind.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    ports_files(folder)?.iter().try_for_each(fs::remove_file)
}

/// The port for clients, once the file is there and whole: the server does not write it at one stroke.
pub(super) fn client_port(folder: &Path) -> Option<u16> {
    #[derive(Deserialize)]
    struct Ports {
        nats: Vec<String>,
    }
    let file = ports_files(folder).ok()?.pop()?;
    let ports: Ports = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let (_, port) = ports.nats.first()?.rsplit_once(':')?;
    port.parse().ok()
}

/// The server names its file after its executable and its process number, so only the ending is known.
fn ports_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    let is_ports = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "ports");
    Ok(paths.filter(is_ports).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_once_the_file_is_whole_and_forgotten_when_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("ports");
        clear(&folder).unwrap();
        assert_eq!(client_port(&folder), None);

        let file = folder.join("nats-server_42.ports");
        fs::write(&file, r#"{"nats":["nats://127.0"#).unwrap();
        assert_eq!(client_port(&folder), None);
        fs::write(&file, r#"{"nats":["nats://127.0.0.1:4333"]}"#).unwrap();
        assert_eq!(client_port(&folder), Some(4333));

        clear(&folder).unwrap();
        assert_eq!(client_port(&folder), None);
    }
}
