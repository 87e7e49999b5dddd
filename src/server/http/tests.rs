//! Answers of a cache server that are not what was asked for, and which servers may be asked.

use super::*;
use crate::http::testing::{gzip, server, with_body};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn requests_go_to_the_port_that_the_base_means() {
    let ports = |base| {
        let addresses = addresses_of(base).unwrap();
        addresses.iter().map(SocketAddr::port).collect::<Vec<_>>()
    };
    assert_eq!(ports("http://127.0.0.1:8080/base"), [8080]);
    assert_eq!(ports("http://user:word@127.0.0.1:81"), [81]);
    assert_eq!(ports("http://127.0.0.1"), [80]);
    assert_eq!(ports("https://[::1]"), [443]);
    assert!(addresses_of("http://").is_err());
}

fn release_of(answer: Vec<u8>) -> Result<String, HttpError> {
    let (url, questions) = server(answer);
    let release = HttpApi::new(&url.replace("http", "HTTP"), PATIENCE).unwrap().release();
    // The first connection is only listened to.
    let question = questions.iter().find(|question| !question.is_empty()).unwrap();
    assert!(
        question.to_lowercase().contains("accept-encoding: identity\r\n"),
        "{question}"
    );
    release
}

#[test]
fn an_answer_may_have_a_mark_and_come_as_gzip() {
    let marked = "\u{feff}\"0.5.6\"".as_bytes();
    assert_eq!(release_of(with_body("200 OK", "", marked)), Ok("0.5.6".into()));
    let packed = with_body("200 OK", "content-encoding: gzip\r\n", &gzip(marked));
    assert_eq!(release_of(packed), Ok("0.5.6".into()));
}

#[test]
fn errors_quote_the_server() {
    for (status, headers, body, told) in [
        (
            "500 Internal Server Error",
            "",
            r#"{"detail":[{"loc":["body"],"msg":"too long"}]}"#,
            "the server answered 500: body: too long",
        ),
        ("500 Internal Server Error", "", "", "the server answered 500"),
        (
            "200 OK",
            "",
            "<title>Log in</title>",
            "/lmc_version did not answer JSON but \"Log in\"; is --url",
        ),
        (
            "200 OK",
            "",
            &format!("[{}0]", "0,".repeat(40_000)),
            "did not answer as a cache server does but \"it has too many parts at line 1",
        ),
        ("200 OK", "content-encoding: br\r\n", "x", "(Content-Encoding: br)"),
        (
            "302 Found",
            "location: /login\r\n",
            "",
            "/login; give the address of the cache server itself as --url",
        ),
        ("404 Not Found", "", "", "has no /lmc_version; is --url the address"),
    ] {
        let error = release_of(with_body(status, headers, body.as_bytes())).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[test]
fn one_port_has_several_addresses() {
    let same = |a: &str, b: &str| same_port(a.parse().unwrap(), b.parse().unwrap());
    assert!(same("127.0.0.1:5555", "127.0.0.1:5555"));
    assert!(same("[::1]:5555", "127.0.0.1:5555"));
    assert!(same("0.0.0.0:5555", "127.0.0.1:5555"));
    assert!(same("[::ffff:10.0.0.1]:5555", "10.0.0.1:5555"));
    assert!(!same("127.0.0.1:5555", "127.0.0.1:8080"));
    assert!(!same("10.0.0.1:5555", "10.0.0.2:5555"));
}
