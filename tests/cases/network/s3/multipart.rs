//! Objects in several parts: multipart uploads and loads by ranges.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::{answer, path};
use crate::cases::network::run;
use crate::support::s3_server::S3Server;
use crate::support::warning_codes;

#[test]
fn large_objects_go_in_parts_and_come_in_ranges() {
    let server = S3Server::obedient();
    let flags = ["--data-size-kb", "9216", "--num-keys", "1", "--in-flight", "1"];
    let (code, metrics, text) = run(&server.spec(""), &flags);
    assert_eq!((code, &metrics["verify"]["good"]), (Some(0), &1.into()), "{text}");
    let mut targets: Vec<String> = server.seen("PUT").into_iter().map(|request| request.target).collect();
    targets.sort();
    let part = |number| format!("{}?partNumber={number}&uploadId=up%2F1", path(0));
    assert_eq!(targets, [part(1), part(2)]);
    assert_eq!(server.seen("POST").len(), 2);
    let ranges: Vec<String> = server
        .seen("GET")
        .into_iter()
        .map(|request| request.headers["range"].clone())
        .collect();
    assert_eq!(ranges, ["bytes=0-8388607", "bytes=8388608-16777215"]);
    assert_eq!(server.object(&path(0)).unwrap().len(), 9 << 20);
}

const LARGE: [&str; 6] = ["--data-size-kb", "20480", "--num-keys", "1", "--in-flight", "1"];

/// A gate that opens when `wanted` requests stand before it, and lets nobody wait for long.
fn meeting(wanted: usize) -> impl Fn() -> bool + Send + Sync {
    let (waiting, came) = (Mutex::new(0), Condvar::new());
    move || {
        let mut count = waiting.lock().unwrap();
        *count += 1;
        came.notify_all();
        let met = came.wait_timeout_while(count, Duration::from_secs(10), |count| *count < wanted);
        !met.unwrap().1.timed_out()
    }
}

#[test]
fn parts_of_one_object_are_under_way_together() {
    // The second and third range of a load, two parts of a store: neither is answered before the other has come.
    let (stores, loads) = (meeting(2), meeting(2));
    let server = S3Server::scripted(move |request, before| {
        let alone = match request.method.as_str() {
            "PUT" => before < 2 && !stores(),
            "GET" => before > 0 && !loads(),
            _ => false,
        };
        alone.then(|| answer("500 Alone", "Connection: close\r\n", ""))
    });
    let (code, metrics, text) = run(&server.spec(""), &LARGE);
    assert_eq!((code, &metrics["verify"]["good"]), (Some(0), &1.into()), "{text}");
    assert!(!warning_codes(&metrics).contains(&"requests-repeated"), "{text}");
    assert_eq!(
        metrics["detail_0"]["io_path"],
        "S3 over HTTP/1.1, virtual host, parts of 8 MiB, 2 connections"
    );
    assert_eq!((server.seen("PUT").len(), server.seen("GET").len()), (3, 3));
}

#[test]
fn one_part_that_is_refused_fails_its_object_and_leaves_nothing() {
    let server = S3Server::scripted(|request, _| {
        let third = request.method == "PUT" && request.target.contains("partNumber=3");
        third.then(|| answer("403 Forbidden", "", "<Error><Code>AccessDenied</Code></Error>"))
    });
    let (code, metrics, text) = run(&server.spec(""), &[&LARGE[..], &["--only", "store"]].concat());
    assert_eq!(
        (code, &metrics["op_0"]["total_success"]),
        (Some(1), &0.into()),
        "{text}"
    );
    assert!(text.contains("403 AccessDenied"), "{text}");
    assert_eq!((server.seen("DELETE").len(), server.parts_left()), (1, 0));
    assert!(server.object(&path(0)).is_none());

    let server = S3Server::scripted(|request, _| {
        let range = request
            .headers
            .get("range")
            .is_some_and(|range| range.starts_with("bytes=16777216-"));
        let cut = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 16777216-20971519/20971520\r\n\
                   Content-Length: 4194304\r\nConnection: close\r\n\r\nshort";
        range.then(|| cut.to_owned())
    });
    assert_eq!(
        run(&server.spec(""), &[&LARGE[..], &["--only", "store"]].concat()).0,
        Some(0)
    );
    let (code, metrics, text) = run(&server.spec(""), &[&LARGE[..], &["--only", "load"]].concat());
    assert_eq!(
        (code, &metrics["op_0"]["total_success"]),
        (Some(1), &0.into()),
        "{text}"
    );
    assert!(text.contains("the body was cut off"), "{text}");
}

#[test]
fn an_object_that_changes_between_its_parts_is_not_loaded() {
    let server = S3Server::scripted(|request, before| {
        let other = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 8388608-8388608/8388609\r\n\
                     Content-Length: 1\r\n\r\nx";
        (request.method == "GET" && before == 1).then(|| other.to_owned())
    });
    let (code, metrics, text) = run(
        &server.spec(""),
        &[&LARGE[..], &["--lookup-max-hit-rate", "1"]].concat(),
    );
    assert_eq!(
        (code, &metrics["op_2"]["total_success"]),
        (Some(1), &0.into()),
        "{text}"
    );
    assert!(
        text.contains("Content-Range") || text.contains("came with 1 bytes"),
        "{text}"
    );
}

#[test]
fn an_upload_that_fails_is_taken_back() {
    let late_error = "<Error><Code>InternalError</Code><Message>try later</Message></Error>";
    let server = S3Server::scripted(move |request, _| {
        let completes = request.method == "POST" && request.target.contains("uploadId");
        completes.then(|| answer("200 OK", "Retry-After: 0\r\n", late_error))
    });
    let (code, metrics, text) = run(&server.spec(""), &[&LARGE[..], &["--only", "store"]].concat());
    assert_eq!(
        (code, &metrics["op_0"]["total_success"]),
        (Some(1), &0.into()),
        "{text}"
    );
    assert!(text.contains("InternalError, try later"), "{text}");
    assert_eq!(server.seen("POST").len(), 1 + 4, "its code asks to try again");
    assert_eq!(server.seen("DELETE").len(), 1, "the parts are given up");
}

#[test]
fn an_error_inside_a_completed_upload_is_tried_again() {
    let late_error = "   \n<?xml version=\"1.0\"?>\n<Error>\n <Code>SlowDown</Code></Error>";
    let server = S3Server::scripted(move |request, before| {
        (request.method == "POST" && before == 1).then(|| answer("200 OK", "Retry-After: 0\r\n", late_error))
    });
    let (code, metrics, text) = run(&server.spec(""), &LARGE);
    assert_eq!((code, &metrics["verify"]["good"]), (Some(0), &1.into()), "{text}");
    assert!(warning_codes(&metrics).contains(&"requests-repeated"), "{text}");
}

/// What the store says when `name` of its requests is answered so.
fn refused_store(name: &'static str, raw: String) -> String {
    let server = S3Server::scripted(move |request, _| {
        let step = match (request.method.as_str(), request.target.split_once('?')) {
            ("PUT", None) => "put",
            ("PUT", Some(_)) => "part",
            ("POST", Some((_, "uploads="))) => "begin",
            ("POST", _) => "complete",
            _ => "",
        };
        (step == name).then(|| raw.clone())
    });
    let mut flags = LARGE;
    if name == "put" {
        flags[1] = "16";
    }
    let (code, metrics, text) = run(&server.spec(""), &[&flags[..], &["--only", "store"]].concat());
    assert_eq!(
        (code, &metrics["op_0"]["total_success"]),
        (Some(1), &0.into()),
        "{name}: {text}"
    );
    text
}

#[test]
fn a_good_status_alone_is_no_store() {
    let html = "<html><head><title>Sign in</title></head></html>";
    let etag = "ETag: \"x\"\r\n";
    for (name, raw, part) in [
        ("put", answer("200 OK", etag, html), "(it says \\\"Sign in\\\")"),
        (
            "put",
            answer("200 OK", "", "{\"error\":\"who?\"}"),
            "(it says \\\"who?\\\")",
        ),
        ("put", answer("202 Accepted", "", ""), "202 Accepted"),
        (
            "put",
            answer("200 OK", etag, "<Error><Code>AccessDenied</Code></Error>"),
            "an error inside the answer 200",
        ),
        (
            "begin",
            answer("200 OK", "", ""),
            "no InitiateMultipartUploadResult with an UploadId (it is empty)",
        ),
        ("part", answer("200 OK", "", ""), "has no ETag"),
        (
            "complete",
            answer("200 OK", "", ""),
            "no CompleteMultipartUploadResult with an ETag (it is empty)",
        ),
        (
            "complete",
            answer("200 OK", "", html),
            "no CompleteMultipartUploadResult",
        ),
        (
            "complete",
            answer("200 OK", "", "<CompleteMultipartUploadResult/>"),
            "with an ETag",
        ),
    ] {
        let text = refused_store(name, raw);
        assert!(text.contains(&part.replace("\\\"", "\"")), "{name}, {part}: {text}");
    }
}

#[test]
fn a_service_without_multipart_uploads_can_still_take_whole_objects() {
    let no_uploads = || {
        S3Server::scripted(|request, _| {
            let refusal = "<Error><Code>NotImplemented</Code><Message>A header you provided</Message></Error>";
            request
                .target
                .contains('?')
                .then(|| answer("501 Not Implemented", "", refusal))
        })
    };
    let server = no_uploads();
    let (code, _, text) = run(&server.spec(""), &[&LARGE[..], &["--only", "store"]].concat());
    assert!(
        code == Some(1) && text.contains("no multipart upload") && text.contains("\"disable_multipart\": true"),
        "{text}"
    );
    assert!(!text.contains("overloaded"), "{text}");
    let server = no_uploads();
    let spec = server
        .spec("")
        .replace("\"type\"", "\"disable_multipart\":true,\"type\"");
    let (code, metrics, text) = run(&spec, &LARGE);
    assert_eq!((code, &metrics["verify"]["good"]), (Some(0), &1.into()), "{text}");
    assert_eq!(
        (server.seen("PUT").len(), server.object(&path(0)).unwrap().len()),
        (1, 20 << 20)
    );
    assert_eq!(
        metrics["detail_0"]["io_path"],
        "S3 over HTTP/1.1, virtual host, one PUT each, ranges of 8 MiB, 2 connections"
    );
    assert!(!text.contains("unknown-field"), "{text}");
}
