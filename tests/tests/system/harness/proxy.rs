//! A network between two processes that does what networks do: delays, holds, cuts, and servers that answer nonsense.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Between two looks at what the network does now.
const PAUSE: Duration = Duration::from_millis(20);

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Passes everything on.
    Passes,
    /// Loses what is sent, in one direction or both, until it is well again: then what was sent arrives.
    Holds {
        /// From who connects to who listens.
        requests: bool,
        /// Back.
        answers: bool,
    },
    /// Breaks every connection, and new ones at once.
    Breaks,
    /// Everything arrives this much later.
    Delays(Duration),
    /// The server answers every request with this, and closes.
    Answers(&'static str),
    /// Each connection breaks after this many bytes of answers.
    Truncates(u64),
    /// Bytes of answers in a second.
    Trickles(u64),
}

/// Nothing comes through, in either direction.
pub(crate) const PARTITION: Network = Network::Holds { requests: true, answers: true };

/// A way to a server, for as long as the value lives.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: u16,
    network: Mutex<Network>,
    ended: AtomicBool,
    /// Connections that the network did something to since it was set.
    touched: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Answers,
}

impl Proxy {
    /// Stands before the server at `target`.
    pub(crate) fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared {
            target,
            network: Mutex::new(Network::Passes),
            ended: AtomicBool::new(false),
            touched: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { port, shared }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on the network does this.
    pub(crate) fn set(&self, network: Network) {
        self.shared.touched.store(0, Ordering::Relaxed);
        *self.shared.network.lock().unwrap() = network;
    }

    /// How often the network did something since it was set: a fault that met nobody proves nothing.
    pub(crate) fn touched(&self) -> u64 {
        self.shared.touched.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn network(&self) -> Network {
        *self.network.lock().unwrap()
    }

    fn touch(&self) {
        self.touched.fetch_add(1, Ordering::Relaxed);
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn holds(&self, direction: Direction) -> bool {
        match self.network() {
            Network::Holds { requests, answers } => match direction {
                Direction::Requests => requests,
                Direction::Answers => answers,
            },
            _ => false,
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.has_ended() {
        match listener.accept() {
            Ok((client, _)) => {
                let shared = Arc::clone(shared);
                std::thread::spawn(move || serve(client, &shared));
            }
            Err(_) => std::thread::park_timeout(PAUSE),
        }
    }
}

fn serve(client: TcpStream, shared: &Arc<Shared>) {
    client.set_nonblocking(false).unwrap();
    let network = shared.network();
    if network == Network::Breaks {
        shared.touch();
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target)) else { return };
    for socket in [&client, &server] {
        // An error means that the other side has gone already.
        _ = socket.set_nodelay(true);
        _ = socket.set_read_timeout(Some(PAUSE));
    }
    let (requests, answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let shared_with_answers = Arc::clone(shared);
    let answering =
        std::thread::spawn(move || pump(answers, client, Direction::Answers, &shared_with_answers));
    pump(requests, server, Direction::Requests, shared);
    // A panic there is a bug of the test that shows itself.
    _ = answering.join();
}

/// Moves bytes until either side ends or the network breaks the connection.
fn pump(mut from: TcpStream, mut to: TcpStream, direction: Direction, shared: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    let mut moved = 0;
    while !shared.has_ended() {
        let mut limit = buffer.len();
        if let (Network::Trickles(rate), Direction::Answers) = (shared.network(), direction) {
            limit = limit.min(usize::try_from(rate).unwrap() / 50 + 1);
        }
        let count = match from.read(&mut buffer[..limit]) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if shared.network() == Network::Breaks {
                    break;
                }
                continue;
            }
            Err(_) => break,
        };
        while shared.holds(direction) && !shared.has_ended() {
            shared.touch();
            std::thread::park_timeout(PAUSE);
        }
        moved += count as u64;
        match (shared.network(), direction) {
            (Network::Breaks, _) => {
                shared.touch();
                break;
            }
            (Network::Answers(answer), Direction::Requests) => {
                shared.touch();
                // The other direction is the same socket.
                _ = from.write_all(answer.as_bytes());
                break;
            }
            (Network::Truncates(bytes), Direction::Answers) if moved > bytes => {
                shared.touch();
                let keep = count - usize::try_from(moved - bytes).unwrap().min(count);
                _ = to.write_all(&buffer[..keep]);
                break;
            }
            (Network::Trickles(_), Direction::Answers) => {
                shared.touch();
                std::thread::park_timeout(PAUSE);
            }
            (Network::Delays(delay), _) => {
                shared.touch();
                std::thread::park_timeout(delay);
            }
            _ => {}
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    for socket in [&from, &to] {
        // Both ends hear of it, whichever has gone.
        _ = socket.shutdown(Shutdown::Both);
    }
}
