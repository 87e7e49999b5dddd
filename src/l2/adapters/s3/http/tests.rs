//! How heads, bodies and chunks are framed, and what is refused.

use super::*;

fn framed(headers: &[(&str, &str)]) -> io::Result<Framing> {
    let headers: Vec<(String, String)> = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    framing("GET", 200, &headers)
}

#[test]
fn the_end_of_a_body_is_known_or_refused() {
    const LENGTH: &str = "content-length";
    const CODING: &str = "transfer-encoding";
    assert_eq!(framed(&[(LENGTH, "5"), (LENGTH, "5, 5")]).unwrap(), Framing::Length(5));
    assert_eq!(framed(&[(CODING, "Chunked")]).unwrap(), Framing::Chunked);
    assert_eq!(framed(&[]).unwrap(), Framing::UntilClose);
    for bad in [
        &[(LENGTH, "5"), (LENGTH, "6")][..],
        &[(LENGTH, "5, 6")],
        &[(LENGTH, "+5")],
        &[(LENGTH, "-1")],
        &[(LENGTH, "")],
        &[(LENGTH, "0x5")],
        &[(LENGTH, "18446744073709551616")],
        &[(LENGTH, "5"), (CODING, "chunked")],
        &[(CODING, "gzip, chunked")],
        &[(CODING, "identity")],
    ] {
        assert!(framed(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn lines_are_read_strictly() {
    let head = |text: &str| parse_head(text.as_bytes(), "GET");
    let with = |header: &str| head(&format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n"));
    let status = |line: &str| {
        let (len, head) = head(&format!("{line}\r\n\r\nbody")).unwrap().unwrap();
        assert_eq!(len, line.len() + 4);
        (head.status, head.reason)
    };
    assert_eq!(status("HTTP/1.1 206 Partial Content"), (206, "Partial Content".into()));
    assert_eq!(status("HTTP/1.0 200"), (200, String::new()));
    for bad in [
        "HTTP/1.1",
        "HTTP/1.1 +20",
        "HTTP/1.1 2000",
        "HTTP/1.1  200",
        "HTTP/1.1 099",
        "HTTP/2 200",
        "HTTP/1.11 200",
        "",
    ] {
        assert!(head(&format!("{bad}\r\n\r\n")).is_err(), "{bad}");
    }
    assert!(head("HTTP/1.1 200 OK\r\nA: b\r\n").unwrap().is_none());
    let (_, fine) = with("A-b:  c: d ").unwrap().unwrap();
    assert_eq!(fine.header("a-b"), Some("c: d"));
    for bad in ["a", ": b", "a b: c", " a: b", "\ta: b", "a : b", "a: b\r\n c"] {
        assert!(with(bad).is_err(), "{bad}");
    }
    assert!(with(&"a: b\r\n".repeat(HEADERS_MAX - 1)).is_ok());
    assert!(with(&"a: b\r\n".repeat(HEADERS_MAX + 1)).is_err());
    assert_eq!((chunk_size("1f").unwrap(), chunk_size("A ;x=1").unwrap()), (31, 10));
    for bad in ["", ";x", "+5", "-5", " 5", "5 5", "0x5", "g", "10000000000000000"] {
        assert!(chunk_size(bad).is_err(), "{bad}");
    }
}
