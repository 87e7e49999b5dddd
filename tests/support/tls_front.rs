//! A TLS proxy in front of a plain server, so that tests can use any engine over https. Its certificate is for localhost
//! (tests/golden/tls).

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

const PIECE_BYTES: usize = 16 << 10;

pub struct TlsFront {
    port: u16,
    handshakes: Arc<AtomicUsize>,
}

/// The path of a file in tests/golden/tls.
pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/tls")
        .join(name)
}

impl TlsFront {
    /// `plain`: host and port of the plain server. `certificate`: a file in tests/golden/tls.
    pub fn start(plain: &str, certificate: &str) -> TlsFront {
        let chain = vec![CertificateDer::from_pem_file(golden(certificate)).unwrap()];
        let key = PrivateKeyDer::from_pem_file(golden("server-key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = TlsFront {
            port: listener.local_addr().unwrap().port(),
            handshakes: Arc::default(),
        };
        let (config, plain, handshakes) = (Arc::new(config), plain.to_owned(), Arc::clone(&front.handshakes));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                let Ok(server) = TcpStream::connect(&plain) else {
                    continue;
                };
                let handshakes = Arc::clone(&handshakes);
                thread::spawn(move || carry(session, &client, &server, &handshakes));
            }
        });
        front
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Number of completed handshakes.
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::SeqCst)
    }
}

/// Forwards one connection until either side closes it. Each direction has a thread; they share the session.
fn carry(session: ServerConnection, client: &TcpStream, server: &TcpStream, handshakes: &AtomicUsize) {
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let session = Mutex::new(session);
    thread::scope(|scope| {
        scope.spawn(|| {
            outward(&session, client, server);
            let _ = client.shutdown(Shutdown::Both);
        });
        inward(&session, client, server, handshakes);
        let _ = server.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
    });
}

/// Forwards from the client to the plain server.
fn inward(session: &Mutex<ServerConnection>, mut client: &TcpStream, mut server: &TcpStream, handshakes: &AtomicUsize) {
    let mut piece = [0; PIECE_BYTES];
    let mut counted = false;
    while let Ok(bytes @ 1..) = client.read(&mut piece) {
        let mut cipher = &piece[..bytes];
        let mut session = session.lock().unwrap();
        while !cipher.is_empty() {
            if session.read_tls(&mut cipher).is_err() {
                return;
            }
            let processed = session.process_new_packets();
            let _ = session.write_tls(&mut client);
            let Ok(state) = processed else { return };
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            if session.reader().read_exact(&mut plain).is_err() || server.write_all(&plain).is_err() {
                return;
            }
        }
        while session.wants_write() {
            if session.write_tls(&mut client).is_err() {
                return;
            }
        }
        if !session.is_handshaking() && !std::mem::replace(&mut counted, true) {
            handshakes.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Forwards from the plain server to the client, with a TLS record for each read.
fn outward(session: &Mutex<ServerConnection>, mut client: &TcpStream, mut server: &TcpStream) {
    let mut piece = [0; PIECE_BYTES];
    while let Ok(bytes @ 1..) = server.read(&mut piece) {
        let mut session = session.lock().unwrap();
        if session.writer().write_all(&piece[..bytes]).is_err() {
            return;
        }
        while session.wants_write() {
            if session.write_tls(&mut client).is_err() {
                return;
            }
        }
    }
}
