//! A port in front of a server, which can be shut and opened, or let in without anybody answering.

use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::free_port;

/// Shut at first: connections are refused.
pub struct Door {
    pub port: u16,
    target: u16,
    guests: Arc<AtomicU32>,
    way: Mutex<Option<Way>>,
}

struct Way {
    closing: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    accepting: JoinHandle<()>,
}

impl Door {
    pub fn to(target: u16) -> Door {
        Door { port: free_port(), target, guests: Arc::default(), way: Mutex::default() }
    }

    /// Connections reach the server.
    pub fn open(&self) {
        self.turn(Some(self.target));
    }

    /// Connections are taken, and nobody answers.
    pub fn mute(&self) {
        self.turn(None);
    }

    /// Connections are refused, and those that were there end.
    pub fn shut(&self) {
        let Some(way) = self.way.lock().unwrap().take() else { return };
        way.closing.store(true, Ordering::SeqCst);
        // Wakes up whoever accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        way.accepting.join().unwrap();
        for stream in way.open.lock().unwrap().drain(..) {
            // It may have ended by itself.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Connections so far, also those that nobody answered.
    pub fn guests(&self) -> u32 {
        self.guests.load(Ordering::SeqCst)
    }

    fn turn(&self, target: Option<u16>) {
        self.shut();
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        let (closing, open, guests) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())), self.guests.clone());
        let (is_closing, streams) = (closing.clone(), open.clone());
        let accepting = thread::spawn(move || {
            for guest in listener.incoming() {
                if is_closing.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(guest) = guest else { continue };
                guests.fetch_add(1, Ordering::SeqCst);
                streams.lock().unwrap().push(guest.try_clone().unwrap());
                let Some(target) = target else { continue };
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                streams.lock().unwrap().push(server.try_clone().unwrap());
                pass_on(guest.try_clone().unwrap(), server.try_clone().unwrap());
                pass_on(server, guest);
            }
        });
        *self.way.lock().unwrap() = Some(Way { closing, open, accepting });
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shut();
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        // Either side may end at any time.
        drop(copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Write));
    });
}
