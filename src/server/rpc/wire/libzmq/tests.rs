//! The wire against a server of libzmq's, and against peers that are silent, leave or are not there.

use std::net::TcpListener;
use std::time::Duration;

use super::super::zmtp;
use super::*;
use crate::sys::stream::Stream;

fn long() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// A server of libzmq's, and a client of it.
fn connected() -> (Socket, Connection) {
    let router = zmq::Context::new().socket(zmq::ROUTER).unwrap();
    router.set_linger(0).unwrap();
    router.set_rcvtimeo(60_000).unwrap();
    router.bind("tcp://127.0.0.1:*").unwrap();
    let url = router.get_last_endpoint().unwrap().unwrap();
    let connection = Connection::open(&Endpoint::parse(&url).unwrap(), long()).unwrap();
    (router, connection)
}

/// Sends `hello`, so that the server knows whom to answer, and returns the name that it gave to the client.
fn introduced(router: &Socket, connection: &mut Connection) -> Vec<u8> {
    connection.put_frame(b"hello", false);
    connection.flush(long()).unwrap();
    let mut frames = router.recv_multipart(0).unwrap();
    assert_eq!(frames[1..], [b"hello".to_vec()]);
    frames.swap_remove(0)
}

fn frame(connection: &mut Connection) -> (FrameHeader, Vec<u8>) {
    let header = connection.frame_header(long()).unwrap();
    let (mut bytes, mut left) = (Vec::new(), header.bytes);
    while left > 0 {
        let piece = connection.piece(left.min(1000), long()).unwrap();
        bytes.extend_from_slice(piece);
        left -= piece.len() as u64;
    }
    (header, bytes)
}

#[test]
fn frames_of_every_size_travel_unchanged() {
    let (router, mut connection) = connected();
    let name = introduced(&router, &mut connection);
    let large: Vec<u8> = (0..3_000_001u32).map(|number| (number % 251) as u8).collect();
    connection.put_frame(b"", true);
    connection.put_frame_header(large.len() as u64, true);
    for piece in large.chunks(77_777) {
        connection.put(piece, long()).unwrap();
    }
    connection.put_frame(b"end", false);
    connection.flush(long()).unwrap();
    let sent = router.recv_multipart(0).unwrap();
    assert_eq!(sent[0], name);
    assert!(sent[1..] == [vec![], large.clone(), b"end".to_vec()]);
    router
        .send_multipart([&name[..], b"", &large, b"end"].map(<[u8]>::to_vec), 0)
        .unwrap();
    for (expected, more) in [(&b""[..], true), (&large, true), (b"end", false)] {
        let (header, bytes) = frame(&mut connection);
        let bytes_stated = expected.len() as u64;
        assert_eq!(
            header,
            FrameHeader {
                more,
                bytes: bytes_stated
            }
        );
        assert!(bytes == expected);
    }
    let beyond = connection.piece(1, long());
    assert!(matches!(beyond, Err(Fault::Broken(_))), "{beyond:?}");
    assert!(connection.is_broken());
}

#[test]
fn reads_and_writes_end_at_the_deadline() {
    let (router, mut connection) = connected();
    let name = introduced(&router, &mut connection);
    let over = Deadline {
        at: Instant::now(),
        ..long()
    };
    let ended = connection.frame_header(over);
    assert!(matches!(ended, Err(Fault::TimedOut)), "{ended:?}");
    assert!(!connection.is_broken(), "a later reply can still be read");
    router.send_multipart([name, b"late".to_vec()], 0).unwrap();
    assert_eq!(frame(&mut connection).1, b"late");
    connection.put_frame(b"x", false);
    let ended = connection.flush(over);
    assert!(matches!(ended, Err(Fault::TimedOut)), "{ended:?}");
    assert!(connection.is_broken());
    connection.put_frame_header(2 << 20, false);
    let ended = connection.put(&[0; CHECKED_BYTES], over);
    assert!(matches!(ended, Err(Fault::TimedOut)), "{ended:?}");
}

/// The limit is far away, so what ends the waits is the news that the peer is gone.
#[test]
fn a_closed_connection_is_known_at_once() {
    let (router, mut connection) = connected();
    drop(router);
    let ended = connection.frame_header(long());
    assert!(matches!(ended, Err(Fault::Closed(_))), "{ended:?}");
    assert!(connection.is_broken());
    connection.put_frame(b"x", false);
    let ended = connection.flush(long());
    assert!(matches!(ended, Err(Fault::Closed(_))), "{ended:?}");
}

/// The peer is our own implementation, whose socket closes with the reply in it, as that of a process that is killed. The
/// client has waited before, so that libzmq learns of the reply and of the end by the same means.
#[test]
fn what_arrived_before_the_end_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let peer = std::thread::spawn(move || {
        let stream = Stream::tcp(listener.accept().unwrap().0, long()).unwrap();
        let mut peer = zmtp::Connection::greet(stream, "ROUTER", long()).unwrap();
        peer.frame_header(long()).unwrap();
        assert_eq!(peer.take(2, long()).unwrap(), b"go");
        peer.put_frame(b"last", true);
        peer.put_frame(b"words", false);
        peer.flush(long()).unwrap();
    });
    let mut connection = Connection::open(&Endpoint::parse(&url).unwrap(), long()).unwrap();
    let nothing = connection.frame_header(Deadline::after(Duration::ZERO));
    assert!(matches!(nothing, Err(Fault::TimedOut)), "{nothing:?}");
    connection.put_frame(b"go", false);
    connection.flush(long()).unwrap();
    peer.join().unwrap();
    let mut events = [connection.monitor.as_poll_item(zmq::POLLIN)];
    assert_eq!(zmq::poll(&mut events, 60_000), Ok(1), "the end is noticed");
    assert_eq!(frame(&mut connection).1, b"last");
    assert_eq!(frame(&mut connection).1, b"words");
    let ended = connection.frame_header(long());
    assert!(matches!(ended, Err(Fault::Closed(_))), "{ended:?}");
}

#[test]
fn a_peer_without_a_greeting_is_not_waited_for_longer_than_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::parse(&format!("tcp://{}", listener.local_addr().unwrap())).unwrap();
    let silent = Connection::open(&endpoint, Deadline::after(Duration::from_millis(50)));
    assert!(matches!(silent.err(), Some(Fault::TimedOut | Fault::Closed(_))));
    // Nothing listens on port 1.
    let refused = Connection::open(&Endpoint::parse("tcp://127.0.0.1:1").unwrap(), long());
    assert!(matches!(refused.err(), Some(Fault::Closed(_))));
}
