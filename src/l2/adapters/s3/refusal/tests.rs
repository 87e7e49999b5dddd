//! What is a yes, what is tried again, and where advice leads.

use super::*;

fn judge(asked: Asked, status: u16, headers: &[(&str, &str)], text: &str) -> Result<(), Box<Refusal>> {
    asked.judge(&Head::made(status, "Reason", headers), text)
}

const ETAG: [(&str, &str); 1] = [("etag", "\"e\"")];
const DONE: &str = "<CompleteMultipartUploadResult xmlns=\"x\"><ETag>\"e\"</ETag></CompleteMultipartUploadResult>";
const BEGUN: &str = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";

#[test]
fn a_yes_has_the_form_of_the_protocol() {
    let soap = "<PutObjectResponse><ETag>e</ETag></PutObjectResponse>";
    for (asked, status, headers, text) in [
        (Asked::Put, 200, &[][..], ""),
        (Asked::Put, 201, &ETAG, " \r\n"),
        (Asked::Put, 204, &[], ""),
        (Asked::Put, 200, &ETAG, soap),
        (Asked::Part, 200, &ETAG, ""),
        (Asked::Begin, 200, &[], BEGUN),
        (Asked::Complete, 200, &[], DONE),
        (Asked::Head, 200, &[("content-type", "application/octet-stream")], ""),
        (Asked::Get, 206, &[("content-encoding", "aws-chunked")], ""),
    ] {
        assert!(judge(asked, status, headers, text).is_ok(), "{asked:?} {status} {text}");
    }
    // As moto 5.2.1 names it.
    assert!(judge(Asked::Complete, 200, &[], &DONE.replace("Result", "Response")).is_ok());
    assert!(judge(Asked::Complete, 200, &[], &DONE.replace("Complete", "Abort")).is_err());
    let spaced = format!("   \n<?xml version=\"1.0\"?>{DONE}");
    assert!(judge(Asked::Complete, 200, &[], &spaced).is_ok());
}

#[test]
fn whatever_else_comes_with_a_good_status_is_none() {
    let html = "<!DOCTYPE html><html><title>Sign in</title></html>";
    let error = "\n<Error><Code>AccessDenied</Code></Error>";
    for (asked, status, headers, text) in [
        (Asked::Put, 200, &ETAG[..], html),
        (Asked::Put, 200, &ETAG, error),
        (Asked::Put, 200, &ETAG, "{\"error\":\"login\"}"),
        (Asked::Put, 202, &ETAG, ""),
        (Asked::Put, 206, &ETAG, ""),
        (Asked::Part, 200, &[], ""),
        (Asked::Part, 200, &[("etag", "")], ""),
        (Asked::Begin, 200, &[], ""),
        (Asked::Begin, 200, &[], html),
        (
            Asked::Begin,
            200,
            &[],
            "<InitiateMultipartUploadResult><UploadId></UploadId>",
        ),
        (Asked::Complete, 200, &[], ""),
        (Asked::Complete, 200, &[], html),
        (Asked::Complete, 200, &[], error),
        (Asked::Complete, 200, &[], "<CompleteMultipartUploadResult/>"),
        (Asked::Complete, 204, &[], ""),
        (Asked::Head, 204, &[], ""),
        (Asked::Head, 200, &[("content-type", "text/html; charset=utf-8")], ""),
        (Asked::Get, 206, &[("content-encoding", "gzip")], ""),
    ] {
        let refusal = judge(asked, status, headers, text).expect_err(text);
        assert!(
            !refusal.is_passing() && !refusal.is_missing_object(),
            "{asked:?} {text}"
        );
    }
    let said = judge(Asked::Put, 200, &ETAG, html).unwrap_err().to_string();
    assert!(said.contains("(it says \"Sign in\")"), "{said}");
    let empty = judge(Asked::Complete, 200, &[], "").unwrap_err().to_string();
    assert!(
        empty.contains("is no CompleteMultipartUploadResult") && empty.contains("(it is empty)"),
        "{empty}"
    );
}

#[test]
fn an_error_is_retried_as_its_code_says_wherever_it_stands() {
    let passing = |status, code: &str| {
        let text = format!("<Error><Code>{code}</Code><Message>Reduce your\nrate</Message></Error>");
        let refusal = judge(Asked::Complete, status, &[], &text).unwrap_err();
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

fn advised(asked: Asked, status: u16, headers: &[(&str, &str)], text: &str, part: &str) {
    let text = judge(asked, status, headers, text).unwrap_err().advice();
    assert!(
        text.starts_with("; ") && text.contains(part),
        "{asked:?} {status}: {text}"
    );
}

#[test]
fn advice_leads_to_what_the_code_says() {
    for (asked, status, code, part) in [
        (Asked::Begin, 501, "NotImplemented", "\"disable_multipart\": true"),
        (Asked::Begin, 405, "MethodNotAllowed", "\"disable_multipart\": true"),
        (Asked::Put, 501, "NotImplemented", "does not have this request"),
        (Asked::Get, 403, "AccessDenied", "s3:ListBucket"),
        (Asked::Put, 403, "AccessDenied", "s3:PutObject"),
        (Asked::Put, 403, "SignatureDoesNotMatch", "check the access key"),
        (Asked::Put, 403, "ExpiredToken", "renew the session token"),
        (Asked::Put, 500, "InternalError", "look at its log"),
        (Asked::Put, 400, "RequestTimeout", "came too slowly"),
        (Asked::Put, 503, "SlowDown", "lower --in-flight"),
        (Asked::Complete, 404, "NoSuchUpload", "rules for incomplete uploads"),
    ] {
        advised(asked, status, &[], &format!("<Error><Code>{code}</Code></Error>"), part);
    }
}

#[test]
fn advice_leads_to_whoever_answered() {
    let region = [("x-amz-bucket-region", "eu-west-1")];
    advised(Asked::Head, 403, &[], "", "s3:ListBucket");
    advised(Asked::Head, 301, &region, "", "region eu-west-1");
    advised(Asked::Head, 400, &region, "", "region eu-west-1");
    advised(
        Asked::Put,
        400,
        &[],
        "<E><Code>A</Code><Region>r-2</Region></E>",
        "region r-2",
    );
    advised(
        Asked::Put,
        307,
        &[],
        "<E><Code>A</Code><Endpoint>b.h</Endpoint></E>",
        "is at b.h",
    );
    advised(
        Asked::Get,
        206,
        &[("content-encoding", "gzip")],
        "",
        "switch compression off",
    );
    advised(Asked::Put, 403, &[], PAGE, "proxy or firewall");
    advised(Asked::Put, 502, &[], PAGE, "look at the service behind it");
    advised(Asked::Complete, 200, &[], "", "nothing proves");
    let control = judge(Asked::Head, 200, &[("content-encoding", "gzip, \u{1b}[2J")], "").unwrap_err();
    assert!(!control.to_string().contains(char::is_control), "{control}");
    let refusal = judge(Asked::Put, 403, &[], PAGE).unwrap_err();
    assert_eq!(refusal.to_string(), "403 Reason, WAF");
}

#[test]
fn a_missing_bucket_is_no_missing_object() {
    let missing = |text: &str| judge(Asked::Get, 404, &[], text).unwrap_err().is_missing_object();
    assert!(missing("") && missing("<Error><Code>NoSuchKey</Code></Error>"));
    assert!(!missing("<Error><Code>NoSuchBucket</Code></Error>"));
}
