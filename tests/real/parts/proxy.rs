//! A TCP proxy between a broker and its clients: it forwards, cuts connections and stalls either direction. Counts what it did.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Listens on a port of its own from the beginning; connections end with it.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

/// Which bytes are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Requests: the broker hears nothing.
    ToServer,
    /// Answers: the broker has acted, and nobody is told.
    ToClient,
    Both,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyCounts {
    pub connections: u64,
    /// Connections that were there when they were cut.
    pub cut: u64,
    pub stalls: u64,
}

struct Shared {
    target: Mutex<u16>,
    closing: AtomicBool,
    links: Mutex<BTreeMap<u64, Link>>,
    /// Until when each direction stands still: to the server, to the client.
    stalled: Mutex<[Option<Instant>; 2]>,
    changed: Condvar,
    connections: AtomicU64,
    cut: AtomicU64,
    stalls: AtomicU64,
}

struct Link {
    client: TcpStream,
    server: TcpStream,
    over: Arc<AtomicBool>,
}

impl Link {
    fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        for stream in [&self.client, &self.server] {
            // It may have ended by itself.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Proxy {
    /// The target is told later, by `lead_to`: a broker has to know the proxy's port before it has one itself.
    pub fn new() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target: Mutex::default(),
            closing: AtomicBool::default(),
            links: Mutex::default(),
            stalled: Mutex::default(),
            changed: Condvar::new(),
            connections: AtomicU64::default(),
            cut: AtomicU64::default(),
            stalls: AtomicU64::default(),
        });
        let accepting = shared.clone();
        thread::spawn(move || accept(&listener, &accepting));
        Proxy { port, shared }
    }

    pub fn lead_to(&self, port: u16) {
        *self.shared.target.lock().unwrap() = port;
    }

    /// Cuts every connection that `chosen` says; what was on its way is lost. Answers how many there were.
    pub fn cut(&self, mut chosen: impl FnMut() -> bool) -> u64 {
        let mut cut = 0;
        for link in self.shared.links.lock().unwrap().values() {
            if !link.over.load(Ordering::SeqCst) && chosen() {
                link.end();
                cut += 1;
            }
        }
        self.shared.wake();
        self.shared.cut.fetch_add(cut, Ordering::SeqCst);
        cut
    }

    /// Nothing passes that way for the given time, then everything does that was held back. Does not wait.
    pub fn stall(&self, way: Way, time: Duration) {
        let until = Some(Instant::now() + time);
        let mut stalled = self.shared.stalled.lock().unwrap();
        let [to_server, to_client] = &mut *stalled;
        if way != Way::ToClient {
            *to_server = until;
        }
        if way != Way::ToServer {
            *to_client = until;
        }
        self.shared.stalls.fetch_add(1, Ordering::SeqCst);
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.shared.links.lock().unwrap().len()
    }

    pub fn counts(&self) -> ProxyCounts {
        let read = |count: &AtomicU64| count.load(Ordering::SeqCst);
        ProxyCounts { connections: read(&self.shared.connections), cut: read(&self.shared.cut), stalls: read(&self.shared.stalls) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // Wakes up whoever accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        for link in self.shared.links.lock().unwrap().values() {
            link.end();
        }
        self.shared.wake();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for number in 0_u64.. {
        let Ok((client, _)) = listener.accept() else { continue };
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        // A broker that is down: the client is told so by the end of its connection.
        let target = *shared.target.lock().unwrap();
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
        let over = Arc::new(AtomicBool::default());
        let twin = |stream: &TcpStream| {
            stream.set_nodelay(true).unwrap();
            stream.try_clone().unwrap()
        };
        let ways = [(twin(&client), twin(&server), 0), (twin(&server), twin(&client), 1)];
        shared.links.lock().unwrap().insert(number, Link { client, server, over: over.clone() });
        shared.connections.fetch_add(1, Ordering::SeqCst);
        for (from, to, way) in ways {
            let (shared, over) = (shared.clone(), over.clone());
            let pump = move || {
                forward(from, to, way, &shared, &over);
                if let Some(link) = shared.links.lock().unwrap().remove(&number) {
                    link.end();
                }
                shared.wake();
            };
            thread::Builder::new().stack_size(256 * 1024).spawn(pump).unwrap();
        }
    }
}

/// Copies until one end is gone.
fn forward(mut from: TcpStream, mut to: TcpStream, way: usize, shared: &Shared, over: &AtomicBool) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count) = from.read(&mut bytes) {
        if count == 0 || shared.wait_out(way, over) || to.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

impl Shared {
    fn wake(&self) {
        // Under the lock, so that nobody sleeps between looking and waiting.
        let _stalled = self.stalled.lock().unwrap();
        self.changed.notify_all();
    }

    /// Waits while this direction is stalled; whether the connection was cut meanwhile.
    fn wait_out(&self, way: usize, over: &AtomicBool) -> bool {
        let mut stalled = self.stalled.lock().unwrap();
        while let Some(left) = stalled[way].and_then(|until| until.checked_duration_since(Instant::now())) {
            if over.load(Ordering::SeqCst) {
                return true;
            }
            stalled = self.changed.wait_timeout(stalled, left).unwrap().0;
        }
        over.load(Ordering::SeqCst)
    }
}
