//! A TCP proxy between a service and its NATS that can be cut and restored, and can hold up the data of either side.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// Forwards connections while it is not cut.
pub struct Proxy {
    address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
    /// Whether connections for commands are let through.
    takes_commands: Arc<watch::Sender<bool>>,
    upwards: Way,
    downwards: Way,
}

/// One direction.
#[derive(Clone)]
struct Way {
    open: Arc<watch::Sender<bool>>,
    /// What is held up.
    held: Arc<Mutex<Vec<u8>>>,
}

impl Default for Way {
    fn default() -> Self {
        Self { open: Arc::new(watch::Sender::new(true)), held: Arc::default() }
    }
}

impl Proxy {
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(watch::Sender::new(true));
        let takes_commands = Arc::new(watch::Sender::new(true));
        let (upwards, downwards) = (Way::default(), Way::default());
        let (gate, ways) = (Arc::clone(&open), (upwards.clone(), downwards.clone()));
        let commands = Arc::clone(&takes_commands);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mut is_open = gate.subscribe();
                if !*is_open.borrow() {
                    continue;
                }
                let (up, down) = ways.clone();
                let mut takes_commands = commands.subscribe();
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let (mut near, mut far) = (near.into_split(), far.into_split());
                    let named = Notify::new();
                    let refused = async {
                        named.notified().await;
                        let _ = takes_commands.wait_for(|takes| !takes).await;
                    };
                    tokio::select! {
                        () = up.forward(&mut near.0, &mut far.1, Some(&named)) => {}
                        () = down.forward(&mut far.0, &mut near.1, None) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                        () = refused => {}
                    }
                });
            }
        });
        Self { address, open, takes_commands, upwards, downwards }
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Ends all connections and lets no new one through.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Ends the connections for commands, and lets no new one of them through, or lets them through again.
    pub fn take_commands(&self, takes: bool) {
        self.takes_commands.send_replace(takes);
    }

    pub fn restore(&self) {
        self.open.send_replace(true);
    }

    /// Holds up what the service sends from now on. What NATS sends goes through.
    pub fn hold(&self) {
        self.upwards.open.send_replace(false);
    }

    /// Lets go of what was held up.
    pub fn release(&self) {
        self.upwards.open.send_replace(true);
    }

    /// Holds up what NATS sends from now on. What the service sends goes through.
    pub fn deafen(&self) {
        self.downwards.open.send_replace(false);
    }

    /// Lets go of what NATS has sent.
    pub fn let_hear(&self) {
        self.downwards.open.send_replace(true);
    }

    /// Whether a text is held up, or was before.
    pub fn holds(&self, text: &str) -> bool {
        let held = self.upwards.held.lock().unwrap();
        held.windows(text.len()).any(|part| part == text.as_bytes())
    }
}

impl Way {
    async fn forward(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        named: Option<&Notify>,
    ) {
        let mut open = self.open.subscribe();
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let name = b" commands\"";
            if let Some(named) = named
                && buffer[..length].starts_with(b"CONNECT")
                && buffer[..length].windows(name.len()).any(|part| part == name)
            {
                named.notify_one();
            }
            let is_open = *open.borrow_and_update();
            if !is_open {
                self.held.lock().unwrap().extend_from_slice(&buffer[..length]);
                if open.wait_for(|open| *open).await.is_err() {
                    return;
                }
            }
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }
}
