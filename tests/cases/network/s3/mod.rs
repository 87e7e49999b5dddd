//! The `s3` adapter: requests, credentials, refusals and answers that are not believed.

mod multipart;

use super::{refused, run};
use crate::support::s3_server::S3Server;
use crate::support::{bench, json, stderr, warning_codes};

fn path(index: u64) -> String {
    format!("/bench-model%40{index:08x}%400%40{index:032x}")
}

fn answer(status: &str, more: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn requests_are_lmcaches() {
    let server = S3Server::obedient();
    let (code, metrics, text) = run(&server.spec(""), &["--lookup-max-hit-rate", "0.5"]);
    assert_eq!((code, &metrics["verify"]["good"]), (Some(0), &8.into()), "{text}");
    assert_eq!(metrics["op_1"]["total_success"], 4);
    assert_eq!(
        metrics["detail_0"]["io_path"],
        "S3 over HTTP/1.1, virtual host, 2 connections"
    );
    assert_eq!(server.object(&path(1)).unwrap().len(), 16_384);
    let put = &server.seen("PUT")[0].headers;
    let authorization = &put["authorization"];
    assert!(
        authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDVISIBLE/"),
        "{authorization}"
    );
    assert!(authorization.contains("/eu-test-1/s3/aws4_request"), "{authorization}");
    let signed = "SignedHeaders=content-length;content-type;host;x-amz-content-sha256;x-amz-date,";
    assert!(authorization.contains(signed), "{authorization}");
    assert_eq!(put["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
    assert_eq!(
        (put["host"].as_str(), put["content-type"].as_str()),
        (
            format!("127.0.0.1:{}", server.port).as_str(),
            "application/octet-stream"
        )
    );
    let get = &server.seen("GET")[0].headers;
    assert_eq!(get["range"], "bytes=0-8388607");
    assert!(get["authorization"].contains("SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"));
    assert_eq!(server.seen("HEAD").len(), 8, "every lookup asks the service");
    assert!(
        !text.contains("TOPSECRET") && !text.contains("AKIDVISIBLE"),
        "a key was printed: {text}"
    );
}

#[test]
fn an_endpoint_with_a_path_is_path_style() {
    let server = S3Server::obedient();
    let (code, _, text) = run(&server.spec("/kvbench"), &["--only", "store"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(server.object(&format!("/kvbench{}", path(0))).is_some());
}

#[test]
fn a_lookup_that_may_not_list_is_told_so() {
    let server = S3Server::scripted(|_, _| Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned()));
    let (code, _, text) = run(&server.spec(""), &["--only", "lookup", "--lookup-max-hit-rate", "1"]);
    assert!(code == Some(1) && text.contains("s3:ListBucket"), "{text}");
}

#[test]
fn one_key_without_the_other_is_told() {
    let server = S3Server::obedient();
    let half = server.spec("").replace(",\"aws_secret_access_key\":\"TOPSECRET\"", "");
    let mut command = bench();
    command
        .env("AWS_ACCESS_KEY_ID", "AKIDOTHER")
        .env("AWS_SECRET_ACCESS_KEY", "OTHERSECRET");
    command.args([
        "l2",
        "--num-keys",
        "1",
        "--data-size-kb",
        "16",
        "--only",
        "store",
        "--l2-adapter",
        &half,
    ]);
    let (output, report) = json(&mut command);
    assert!(output.status.success() && warning_codes(&report["metrics"]).contains(&"half-credentials"));
    assert!(server.seen("PUT")[0].headers["authorization"].contains("Credential=AKIDOTHER/"));
    command.env_remove("AWS_SECRET_ACCESS_KEY");
    let text = stderr(&command.output().unwrap());
    assert!(
        text.contains("the adapter JSON has aws_access_key_id and no aws_secret_access_key"),
        "{text}"
    );
    assert!(
        text.contains("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"),
        "{text}"
    );
    assert!(!text.contains("AKID"), "a key was printed: {text}");
}

#[test]
fn a_web_page_is_no_object() {
    let page = |more: &str, body: &str| {
        let head = format!("Content-Type: text/html\r\n{more}");
        answer("200 OK", &head, body)
    };
    let server = S3Server::scripted(move |request, _| match request.method.as_str() {
        "HEAD" => Some(page("Connection: close\r\n", "").replace("Content-Length: 0", "Content-Length: 9")),
        _ => Some(page("", "<html><title>Sign in</title>")),
    });
    for operation in ["lookup", "load"] {
        let flags = ["--only", operation, "--lookup-max-hit-rate", "1"];
        let (code, metrics, text) = run(&server.spec(""), &flags);
        assert_eq!(
            (code, &metrics["op_0"]["total_success"]),
            (Some(1), &0.into()),
            "{text}"
        );
        assert!(text.contains("web page and no object"), "{operation}: {text}");
    }
}

#[test]
fn refusals_name_the_endpoint_the_code_and_what_to_do() {
    let cases = [
        ("403 Forbidden", "SignatureDoesNotMatch", "check the access key"),
        ("404 Not Found", "NoSuchBucket", "make the bucket"),
        ("301 Moved Permanently", "PermanentRedirect", "the bucket's own region"),
        ("507 Insufficient Storage", "Full", "the service is full"),
    ];
    for (status, code_text, advice) in cases {
        let body = format!("<Error><Code>{code_text}</Code><Message>no</Message></Error>");
        let server = S3Server::scripted(move |_, _| Some(answer(status, "", &body)));
        for operation in ["store", "load"] {
            let (code, metrics, text) = run(&server.spec(""), &["--only", operation]);
            assert_eq!(
                (code, &metrics["op_0"]["total_success"]),
                (Some(1), &0.into()),
                "{text}"
            );
            let endpoint = format!("http://127.0.0.1:{}: {} {code_text}, no; ", server.port, &status[..3]);
            assert!(text.contains(&endpoint) && text.contains(advice), "{text}");
        }
    }
}

#[test]
fn an_overloaded_service_is_asked_again_as_it_wishes() {
    let slow_down = "<Error><Code>SlowDown</Code></Error>";
    let server = S3Server::scripted(move |request, before| {
        (request.method == "PUT" && before == 2).then(|| answer("503 Slow Down", "Retry-After: 0\r\n", slow_down))
    });
    let (code, metrics, text) = run(&server.spec(""), &[]);
    assert_eq!((code, &metrics["verify"]["good"]), (Some(0), &8.into()), "{text}");
    assert!(warning_codes(&metrics).contains(&"requests-repeated"), "{text}");
    assert_eq!(server.seen("PUT").len(), 9);

    let server = S3Server::scripted(move |_, _| Some(answer("503 Slow Down", "Retry-After: 0\r\n", slow_down)));
    let (code, metrics, text) = run(&server.spec(""), &["--only", "store"]);
    assert_eq!((code, &metrics["op_0"]["total_success"]), (Some(1), &0.into()));
    assert!(
        text.contains("503 SlowDown") && text.contains("lower --in-flight"),
        "{text}"
    );
    assert_eq!(server.seen("PUT").len(), 32, "four tries for each of eight keys");

    let server = S3Server::scripted(move |_, _| Some(answer("503 Slow Down", "Retry-After: 3600\r\n", slow_down)));
    assert_eq!(run(&server.spec(""), &["--only", "store"]).0, Some(1));
    assert_eq!(server.seen("PUT").len(), 8, "nobody waits an hour");
}

#[test]
fn bodies_that_are_cut_off_or_of_another_size_are_not_loaded() {
    let server = S3Server::scripted(|request, _| {
        let cut = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-16383/16384\r\nContent-Length: 16384\r\n\
                   Connection: close\r\n\r\nshort";
        (request.method == "GET" && request.target == path(1)).then(|| cut.to_owned())
    });
    assert_eq!(run(&server.spec(""), &["--only", "store"]).0, Some(0));
    server.put(&path(2), vec![1; 5000]);
    server.put(&path(3), vec![1; 50_000]);
    server.forget(&path(4));
    let (code, metrics, text) = run(&server.spec(""), &["--only", "load"]);
    assert_eq!(
        (code, &metrics["op_0"]["total_success"]),
        (Some(1), &4.into()),
        "{text}"
    );
    for part in [
        "the body was cut off",
        "truncated: it holds only 5000 of 16384 bytes",
        "the object is 50000 bytes long instead of 16384",
        "00000004.data: not found",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_body_that_was_left_unread_is_not_loaded() {
    for head in [
        "Content-Length: 9223372036854775808\r\n\r\n",
        "Content-Length: 16385\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n",
    ] {
        let server = S3Server::scripted(move |request, _| {
            let range = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-16383/16384\r\nConnection: close\r\n";
            (request.method == "GET").then(|| format!("{range}{head}{}", "x".repeat(16_400)))
        });
        assert_eq!(run(&server.spec(""), &["--only", "store"]).0, Some(0));
        let (code, metrics, text) = run(&server.spec(""), &["--only", "load"]);
        assert_eq!(
            (code, &metrics["op_0"]["total_success"]),
            (Some(1), &0.into()),
            "{text}"
        );
        assert!(text.contains("bytes with the Content-Range"), "{text}");
    }
}

#[test]
fn silence_is_a_timeout_that_names_the_endpoint() {
    let server =
        S3Server::scripted(|request, _| (request.method == "GET" && request.target == path(5)).then(String::new));
    let spec = server.spec("").replace("\"type\"", "\"request_timeout\":3,\"type\"");
    let (code, metrics, text) = run(&spec, &[]);
    assert_eq!(
        (code, &metrics["op_2"]["total_success"]),
        (Some(1), &7.into()),
        "{text}"
    );
    let place = format!("http://127.0.0.1:{}: no answer in time", server.port);
    assert!(text.contains(&place) && text.contains("request_timeout"), "{text}");
}

#[test]
fn an_empty_object_and_a_missing_one_are_no_hits() {
    let server = S3Server::obedient();
    server.put(&path(0), Vec::new());
    server.put(&path(1), vec![1; 10]);
    let (code, metrics, text) = run(&server.spec(""), &["--only", "lookup", "--lookup-max-hit-rate", "1"]);
    assert_eq!(
        (code, &metrics["op_0"]["total_success"]),
        (Some(0), &1.into()),
        "{text}"
    );
}

#[test]
fn what_cannot_begin_says_why() {
    // Nothing listens on port 1.
    let spec = |more: &str| {
        format!(
            r#"{{"type":"s3","s3_endpoint":"127.0.0.1:1","s3_region":"r","disable_tls":true,"aws_access_key_id":"a","aws_secret_access_key":"b"{more}}}"#
        )
    };
    let (code, text) = refused(&spec(""));
    assert!(
        code == Some(1) && text.contains("127.0.0.1:1: Connection refused"),
        "{text}"
    );
    let (code, text) = refused(&spec(r#","s3_enable_s3express":true"#));
    assert!(code == Some(1) && text.contains("s3_enable_s3express"), "{text}");
    let (code, text) = refused(&spec(r#","s3_endpoint":"http://h""#));
    assert!(code == Some(1) && text.contains("must not name a scheme"), "{text}");
}
