//! Ports: whether one is free, and the file in which a nats-server records those it got.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::net::TcpSocket;

/// Checks whether a server that starts now could listen on `address`; the error says why not.
///
/// It binds as a server does but does not listen, so nobody mistakes it for one.
pub(super) fn check_free(address: SocketAddr) -> io::Result<()> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Servers on Unix do the same, so that connections of an earlier one do not count. Elsewhere it would take the port
    // away from its owner.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

/// Prepares `folder` for a server about to start: creates it, and removes the file of an earlier server, which a killed
/// one leaves behind.
pub(super) fn clear(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    ports_files(folder)?.iter().try_for_each(fs::remove_file)
}

/// Port for clients, once the file exists and is complete: the server does not write it in one go.
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

/// Ports files in a folder. The server names its file after its executable and its process number, so only the
/// extension is known.
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
