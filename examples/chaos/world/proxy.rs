//! A TCP proxy between one instance and one nats-server: it can be cut, be slow, and swallow the data of one side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Pieces of at most [`PIECE`] bytes under way in one direction; beyond that the sender has to wait, as in TCP.
const DEPTH: usize = 256;
const PIECE: usize = 16 * 1024;

/// Forwards connections while it is not cut. They end with it.
pub struct Proxy {
    address: SocketAddr,
    ways: Ways,
    _connections: JoinSet<()>,
}

#[derive(Clone)]
struct Ways {
    is_cut: Arc<watch::Sender<bool>>,
    /// Direction from the instance to the server.
    up: Way,
    /// Direction from the server to the instance.
    down: Way,
}

/// One direction.
#[derive(Clone)]
pub struct Way(Arc<watch::Sender<Condition>>);

/// Condition of a direction.
#[derive(Clone, Copy, Default)]
struct Condition {
    /// Nothing arrives. As in TCP it is sent again: it arrives when this is over, if the connection lasts that long.
    is_black: bool,
    delay: Duration,
}

impl Proxy {
    /// Starts a proxy in front of a port of this machine.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = || Way(Arc::new(watch::Sender::new(Condition::default())));
        let ways = Ways { is_cut: Arc::new(watch::Sender::new(false)), up: way(), down: way() };
        let mut connections = JoinSet::new();
        connections.spawn(ways.clone().accept(listener, port));
        Self { address, ways, _connections: connections }
    }

    /// URL for the instance.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Ends all connections and refuses new ones, or admits them again.
    pub fn cut(&self, is_cut: bool) {
        self.ways.is_cut.send_replace(is_cut);
    }

    /// Direction from the instance to the server.
    pub fn up(&self) -> &Way {
        &self.ways.up
    }

    /// Direction from the server to the instance.
    pub fn down(&self) -> &Way {
        &self.ways.down
    }

    /// Removes all disturbances.
    pub fn heal(&self) {
        self.cut(false);
        for way in [self.up(), self.down()] {
            way.swallow(false);
            way.delay(Duration::ZERO);
        }
    }
}

impl Way {
    /// Sets whether data is swallowed from now on.
    pub fn swallow(&self, is_black: bool) {
        self.0.send_modify(|condition| condition.is_black = is_black);
    }

    /// Sets the delay of all data from now on.
    pub fn delay(&self, delay: Duration) {
        self.0.send_modify(|condition| condition.delay = delay);
    }

    async fn forward(&self, from: OwnedReadHalf, to: OwnedWriteHalf) {
        let (put, take) = mpsc::channel(DEPTH);
        tokio::join!(take_in(from, put), self.let_out(take, to));
    }

    async fn let_out(&self, mut pieces: mpsc::Receiver<(Instant, Bytes)>, mut to: OwnedWriteHalf) {
        let mut condition = self.0.subscribe();
        while let Some((came_at, piece)) = pieces.recv().await {
            let delay = condition.borrow_and_update().delay;
            sleep_until(came_at + delay).await;
            if condition.wait_for(|now| !now.is_black).await.is_err() {
                return;
            }
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    }
}

/// Reads until the end, or until the receiver is gone.
async fn take_in(mut from: OwnedReadHalf, pieces: mpsc::Sender<(Instant, Bytes)>) {
    loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        tokio::select! {
            biased;
            () = pieces.closed() => return,
            read = from.read_buf(&mut piece) => if !matches!(read, Ok(1..)) {
                return;
            }
        }
        if pieces.send((Instant::now(), piece.freeze())).await.is_err() {
            return;
        }
    }
}

impl Ways {
    async fn accept(self, listener: TcpListener, port: u16) {
        let mut connections = JoinSet::new();
        loop {
            let Ok((near, _)) = listener.accept().await else { continue };
            while connections.try_join_next().is_some() {}
            if !*self.is_cut.borrow() {
                connections.spawn(self.clone().connect(near, port));
            }
        }
    }

    async fn connect(self, near: TcpStream, port: u16) {
        let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        // The proxy must not add delays of its own.
        if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
            return;
        }
        let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
        let mut is_cut = self.is_cut.subscribe();
        tokio::select! {
            () = self.up.forward(from_near, to_far) => {}
            () = self.down.forward(from_far, to_near) => {}
            _ = is_cut.wait_for(|is_cut| *is_cut) => {}
        }
    }
}
