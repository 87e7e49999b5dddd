//! What the scripted servers of services share: a listener on a free port, a thread for each connection, a record of all
//! requests, and a script that may answer in place of the server.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A protocol, with the state of a server.
pub trait Protocol: Send + Sync + Sized + 'static {
    /// One request, without its payload.
    type Request: Clone + Send + 'static;
    /// What a script returns to replace the server's answer.
    type Instead;

    /// The name by which requests are counted.
    fn name(request: &Self::Request) -> &str;

    /// Serves one connection until it is closed. Passes each request to `requests.instead`.
    fn serve(&self, requests: &Requests<Self>, link: TcpStream);
}

/// Gets a request and the number of earlier requests of its name.
type Script<P> = dyn Fn(&<P as Protocol>::Request, usize) -> Option<<P as Protocol>::Instead> + Send + Sync;

/// All requests, in order of arrival, and the script.
pub struct Requests<P: Protocol> {
    seen: Mutex<Vec<P::Request>>,
    script: Box<Script<P>>,
}

impl<P: Protocol> Requests<P> {
    /// Records a request. Returns what to do instead of executing it, if the script says so.
    pub fn instead(&self, request: &P::Request) -> Option<P::Instead> {
        let before = {
            let mut seen = self.seen.lock().unwrap();
            let name = P::name(request);
            let before = seen.iter().filter(|other| P::name(other) == name).count();
            seen.push(request.clone());
            before
        };
        (self.script)(request, before)
    }
}

struct Shared<P: Protocol> {
    protocol: P,
    requests: Requests<P>,
    stop: AtomicBool,
}

pub struct ServiceServer<P: Protocol> {
    pub port: u16,
    shared: Arc<Shared<P>>,
    acceptor: Option<JoinHandle<()>>,
}

impl<P: Protocol> ServiceServer<P> {
    pub fn start(
        protocol: P,
        script: impl Fn(&P::Request, usize) -> Option<P::Instead> + Send + Sync + 'static,
    ) -> ServiceServer<P> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            protocol,
            requests: Requests {
                seen: Mutex::default(),
                script: Box::new(script),
            },
            stop: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            for link in listener.incoming() {
                if accepting.stop.load(Ordering::SeqCst) {
                    return;
                }
                let serving = Arc::clone(&accepting);
                thread::spawn(move || serving.protocol.serve(&serving.requests, link.unwrap()));
            }
        });
        ServiceServer {
            port,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// The state of the server.
    pub fn protocol(&self) -> &P {
        &self.shared.protocol
    }

    /// The requests of this name.
    pub fn seen(&self, name: &str) -> Vec<P::Request> {
        let seen = self.shared.requests.seen.lock().unwrap();
        seen.iter()
            .filter(|request| P::name(request) == name)
            .cloned()
            .collect()
    }
}

impl<P: Protocol> Drop for ServiceServer<P> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.acceptor.take().unwrap().join().unwrap();
    }
}
