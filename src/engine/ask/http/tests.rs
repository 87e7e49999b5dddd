//! Requests to servers that answer in many ways, or not at all.

use std::net::TcpListener;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::*;
use crate::engine::api_key::engine_key;
use crate::http::client::BODY_BYTES_MAX;
use crate::http::testing::{gzip, server, with_body};

/// The list of models of a server that gives every question these bytes.
fn models(answer: impl Into<Vec<u8>>) -> (String, Receiver<String>) {
    let (base, asked) = server(answer);
    (format!("{base}/v1/models"), asked)
}

fn asker(key: &str) -> Asker {
    Asker::of_engine(&engine_key(key.into()), PATIENT)
}

/// What came of asking for JSON, with the key "sk-secret".
fn asked(answer: Vec<u8>) -> Result<Value, String> {
    let (url, _) = models(answer);
    let answer = asker("sk-secret").get_json(&url);
    answer.map_err(|cause| cause.to_string())
}

/// The connection is not accepted, but the kernel completes it.
#[test]
fn a_server_that_never_answers_costs_a_question_its_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let limits = Limits {
        whole: Duration::from_millis(50),
        ..BRIEF
    };
    let begin = Instant::now();
    let cause = Asker::of_lmcache(None, limits).get_page(&url).unwrap_err();
    assert_eq!(cause.reached, Reached::Nobody);
    let told = "timeout: no answer within 0.05 s; check --lmcache-url, and that the LMCache server runs";
    assert_eq!(cause.to_string(), told);
    assert!(begin.elapsed() >= limits.whole);
}

#[test]
fn an_answer_may_have_a_mark_and_come_as_gzip_although_nobody_asked_for_it() {
    let marked = "\u{feff}{\"data\": []}".as_bytes();
    let want = serde_json::json!({"data": []});
    assert_eq!(asked(with_body("200 OK", "", marked)), Ok(want.clone()));
    let (url, questions) = models(with_body("200 OK", "content-encoding: gzip\r\n", &gzip(marked)));
    assert_eq!(asker("k").get_json(&url), Ok(want.clone()));
    assert_eq!(asker("k").post_json(&url, &want, json::loads), Ok(want));
    for question in questions.iter().take(2) {
        assert!(
            question.to_lowercase().contains("accept-encoding: identity\r\n"),
            "{question}"
        );
    }
    let (url, _) = models(with_body("200 OK", "content-encoding: gzip\r\n", &gzip(b"# a page\n")));
    assert_eq!(asker("k").get_page(&url), Ok(Some("# a page\n".to_owned())));
}

#[test]
fn what_cannot_be_unpacked_is_named() {
    let packed = gzip(b"{}");
    for (name, body, why) in [
        ("br", &packed[..], "Content-Encoding: br"),
        ("gzip", &packed[..packed.len() - 1], "cut off"),
        ("gzip", b"{\"data\": []}", "its bytes are not"),
        ("gzip", &gzip(&vec![b' '; BODY_BYTES_MAX + 1]), "longer than"),
    ] {
        let text = asked(with_body("200 OK", &format!("content-encoding: {name}\r\n"), body)).unwrap_err();
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn what_a_server_says_is_shown_whatever_its_form_and_never_the_key() {
    let engine = "; check that --engine-url is the address of the engine";
    for (status, body, told) in [
        (
            "401 Unauthorized",
            r#"{"error":{"message":"no key like sk-secret"}}"#,
            "it answered 401 Unauthorized (no key like ***); check the key in OPENAI_API_KEY",
        ),
        (
            "404 Not Found",
            r#"{"detail":"Not Found"}"#,
            &format!("it answered 404 Not Found (Not Found){engine}"),
        ),
        ("404 Not Found", "", &format!("it answered 404 Not Found{engine}")),
        (
            "502 Bad Gateway",
            "<html><head><title>nobody home</title></head></html>",
            "it answered 502 Bad Gateway (nobody home); check that the engine behind it runs",
        ),
        (
            "500 Internal Server Error",
            "out of memory",
            "it answered 500 Internal Server Error (out of memory); look into the log of the engine",
        ),
        (
            "200 OK",
            "<html><title>Log in</title></html>",
            &format!("the answer is not JSON (Log in){engine}"),
        ),
        ("200 OK", "", &format!("the answer is empty{engine}")),
    ] {
        assert_eq!(asked(with_body(status, "", body.as_bytes())), Err(told.to_owned()));
    }
    let many = format!("[{}0]", "0,".repeat(40_000));
    let told = asked(with_body("200 OK", "", many.as_bytes())).unwrap_err();
    assert!(
        told.starts_with("the answer is no answer to this question: it has too many parts") && told.ends_with(engine),
        "{told}"
    );
    let packed = with_body("401 Unauthorized", "content-encoding: br\r\n", b"?");
    assert!(
        asked(packed)
            .unwrap_err()
            .starts_with("it answered 401 Unauthorized; check the key")
    );
    let long = "x".repeat(190) + "sk-secret";
    let text = asked(with_body("400 Bad Request", "", long.as_bytes())).unwrap_err();
    assert!(text.contains("x***)") && !text.contains("sk-"), "{text}");
}

#[test]
fn a_redirect_names_the_address_to_give() {
    let moved = |target: &str| {
        let headers = format!("location: {target}\r\n");
        let (url, _) = models(with_body("307 Temporary Redirect", &headers, b""));
        let base = url.trim_end_matches("/v1/models").to_owned();
        let text = asker("k").get_json(&url).unwrap_err().to_string();
        let page = asker("k").get_page(&url).unwrap_err();
        assert!(page.reached == Reached::Gateway && page.to_string() == text, "{page}");
        text.replace(&base, "BASE")
    };
    let head = "it answered 307 Temporary Redirect and points to";
    assert_eq!(
        moved("/elsewhere/v1/models"),
        format!("{head} BASE/elsewhere/v1/models; give BASE/elsewhere/v1 as --engine-url")
    );
    assert_eq!(
        moved("https://h:8443/v1/models/?token=word"),
        format!("{head} https://h:8443/v1/models/; give https://h:8443/v1 as --engine-url")
    );
    assert_eq!(
        moved("https://sso/login?back=1"),
        format!("{head} https://sso/login; give the address of the engine itself as --engine-url")
    );
}

#[test]
fn what_does_not_speak_http_and_a_key_that_cannot_be_sent_say_so() {
    let (url, _) = models("SSH-2.0-OpenSSH_9.6\r\n\r\n");
    let cause = asker("k").get_json(&url).unwrap_err();
    assert!(
        cause.reached == Reached::Server && cause.to_string().contains("does not speak HTTP"),
        "{cause}"
    );
    let (url, questions) = models(with_body("200 OK", "", b"{}"));
    let cause = asker("sk-secret\n").get_json(&url).unwrap_err();
    assert!(
        cause.to_string().starts_with("OPENAI_API_KEY ends in a line break"),
        "{cause}"
    );
    assert!(questions.is_empty(), "nothing is sent");
}
