//! Which responses are successes, which are retried, and the advice for the others.

use super::*;

fn check(kind: RequestKind, status: u16, headers: &[(&str, &str)], text: &str) -> Result<(), Box<Refusal>> {
    kind.check(&Head::made(status, "Reason", headers), text)
}

const ETAG: [(&str, &str); 1] = [("etag", "\"e\"")];
const DONE: &str = "<CompleteMultipartUploadResult xmlns=\"x\"><ETag>\"e\"</ETag></CompleteMultipartUploadResult>";
const BEGUN: &str = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";

#[test]
fn a_success_has_the_form_of_the_protocol() {
    let soap = "<PutObjectResponse><ETag>e</ETag></PutObjectResponse>";
    for (kind, status, headers, text) in [
        (RequestKind::Put, 200, &[][..], ""),
        (RequestKind::Put, 201, &ETAG, " \r\n"),
        (RequestKind::Put, 204, &[], ""),
        (RequestKind::Put, 200, &ETAG, soap),
        (RequestKind::Part, 200, &ETAG, ""),
        (RequestKind::Create, 200, &[], BEGUN),
        (RequestKind::Complete, 200, &[], DONE),
        (
            RequestKind::Head,
            200,
            &[("content-type", "application/octet-stream")],
            "",
        ),
        (RequestKind::Get, 206, &[("content-encoding", "aws-chunked")], ""),
    ] {
        assert!(check(kind, status, headers, text).is_ok(), "{kind:?} {status} {text}");
    }
    // As moto 5.2.1 names it.
    assert!(check(RequestKind::Complete, 200, &[], &DONE.replace("Result", "Response")).is_ok());
    assert!(check(RequestKind::Complete, 200, &[], &DONE.replace("Complete", "Abort")).is_err());
    let spaced = format!("   \n<?xml version=\"1.0\"?>{DONE}");
    assert!(check(RequestKind::Complete, 200, &[], &spaced).is_ok());
}

#[test]
fn other_bodies_with_a_good_status_are_no_success() {
    let html = "<!DOCTYPE html><html><title>Sign in</title></html>";
    let error = "\n<Error><Code>AccessDenied</Code></Error>";
    for (kind, status, headers, text) in [
        (RequestKind::Put, 200, &ETAG[..], html),
        (RequestKind::Put, 200, &ETAG, error),
        (RequestKind::Put, 200, &ETAG, "{\"error\":\"login\"}"),
        (RequestKind::Put, 202, &ETAG, ""),
        (RequestKind::Put, 206, &ETAG, ""),
        (RequestKind::Part, 200, &[], ""),
        (RequestKind::Part, 200, &[("etag", "")], ""),
        (RequestKind::Create, 200, &[], ""),
        (RequestKind::Create, 200, &[], html),
        (
            RequestKind::Create,
            200,
            &[],
            "<InitiateMultipartUploadResult><UploadId></UploadId>",
        ),
        (RequestKind::Complete, 200, &[], ""),
        (RequestKind::Complete, 200, &[], html),
        (RequestKind::Complete, 200, &[], error),
        (RequestKind::Complete, 200, &[], "<CompleteMultipartUploadResult/>"),
        (RequestKind::Complete, 204, &[], ""),
        (RequestKind::Head, 204, &[], ""),
        (
            RequestKind::Head,
            200,
            &[("content-type", "text/html; charset=utf-8")],
            "",
        ),
        (RequestKind::Get, 206, &[("content-encoding", "gzip")], ""),
    ] {
        let refusal = check(kind, status, headers, text).expect_err(text);
        assert!(!refusal.is_passing() && !refusal.is_missing_object(), "{kind:?} {text}");
    }
    let said = check(RequestKind::Put, 200, &ETAG, html).unwrap_err().to_string();
    assert!(said.contains("(it says \"Sign in\")"), "{said}");
    let empty = check(RequestKind::Complete, 200, &[], "").unwrap_err().to_string();
    assert!(
        empty.contains("is no CompleteMultipartUploadResult") && empty.contains("(it is empty)"),
        "{empty}"
    );
}

#[test]
fn an_error_is_retried_as_its_code_says_wherever_it_stands() {
    let passing = |status, code: &str| {
        let text = format!("<Error><Code>{code}</Code><Message>Reduce your\nrate</Message></Error>");
        let refusal = check(RequestKind::Complete, status, &[], &text).unwrap_err();
        assert!(
            refusal.to_string().ends_with(&format!(" {code}, Reduce your rate")),
            "{refusal}"
        );
        refusal.is_passing()
    };
    for status in [200, 400, 503] {
        assert!(PASSING_CODES.iter().all(|code| passing(status, code)), "{status}");
    }
    assert!(passing(500, "Other") && passing(429, "Other"));
    assert!(!passing(200, "AccessDenied") && !passing(400, "EntityTooSmall") && !passing(501, "NotImplemented"));
}

const PAGE: &str = "<html><body>WAF</body></html>";

fn advised(kind: RequestKind, status: u16, headers: &[(&str, &str)], text: &str, part: &str) {
    let text = check(kind, status, headers, text).unwrap_err().advice();
    assert!(
        text.starts_with("; ") && text.contains(part),
        "{kind:?} {status}: {text}"
    );
}

#[test]
fn advice_leads_to_what_the_code_says() {
    for (kind, status, code, part) in [
        (
            RequestKind::Create,
            501,
            "NotImplemented",
            "\"disable_multipart\": true",
        ),
        (
            RequestKind::Create,
            405,
            "MethodNotAllowed",
            "\"disable_multipart\": true",
        ),
        (RequestKind::Put, 501, "NotImplemented", "does not have this request"),
        (RequestKind::Get, 403, "AccessDenied", "s3:ListBucket"),
        (RequestKind::Put, 403, "AccessDenied", "s3:PutObject"),
        (RequestKind::Put, 403, "SignatureDoesNotMatch", "check the access key"),
        (RequestKind::Put, 403, "ExpiredToken", "renew the session token"),
        (RequestKind::Put, 500, "InternalError", "look at its log"),
        (RequestKind::Put, 400, "RequestTimeout", "came too slowly"),
        (RequestKind::Put, 503, "SlowDown", "lower --in-flight"),
        (
            RequestKind::Complete,
            404,
            "NoSuchUpload",
            "rules for incomplete uploads",
        ),
    ] {
        advised(kind, status, &[], &format!("<Error><Code>{code}</Code></Error>"), part);
    }
}

#[test]
fn advice_leads_to_whoever_answered() {
    let region = [("x-amz-bucket-region", "eu-west-1")];
    advised(RequestKind::Head, 403, &[], "", "s3:ListBucket");
    advised(RequestKind::Head, 301, &region, "", "region eu-west-1");
    advised(RequestKind::Head, 400, &region, "", "region eu-west-1");
    advised(
        RequestKind::Put,
        400,
        &[],
        "<E><Code>A</Code><Region>r-2</Region></E>",
        "region r-2",
    );
    advised(
        RequestKind::Put,
        307,
        &[],
        "<E><Code>A</Code><Endpoint>b.h</Endpoint></E>",
        "is at b.h",
    );
    advised(
        RequestKind::Get,
        206,
        &[("content-encoding", "gzip")],
        "",
        "switch compression off",
    );
    advised(RequestKind::Put, 403, &[], PAGE, "proxy or firewall");
    advised(RequestKind::Put, 502, &[], PAGE, "look at the service behind it");
    advised(RequestKind::Complete, 200, &[], "", "nothing proves");
    let control = check(RequestKind::Head, 200, &[("content-encoding", "gzip, \u{1b}[2J")], "").unwrap_err();
    assert!(!control.to_string().contains(char::is_control), "{control}");
    let refusal = check(RequestKind::Put, 403, &[], PAGE).unwrap_err();
    assert_eq!(refusal.to_string(), "403 Reason, WAF");
}

#[test]
fn a_missing_bucket_is_no_missing_object() {
    let missing = |text: &str| check(RequestKind::Get, 404, &[], text).unwrap_err().is_missing_object();
    assert!(missing("") && missing("<Error><Code>NoSuchKey</Code></Error>"));
    assert!(!missing("<Error><Code>NoSuchBucket</Code></Error>"));
}
