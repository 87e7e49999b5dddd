//! `engine` over https: whose certificate is believed, connections made before the clock, and tokens that are timed.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::mock::Mock;
use crate::support::tls_front::{TlsFront, golden};
use crate::support::{Dir, bench, stderr, stdout};

const TOKENS: u64 = 6;
const REQUESTS: u64 = 8;
const STREAMS: u64 = 4;

fn engine(url: &str, folder: &Path) -> Command {
    let mut command = bench();
    command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    command.args(["engine", "--engine-url", url, "--workload", "long-doc-qa"]);
    command.args([
        "--tokens-per-gb-kvcache",
        "100",
        "--kv-cache-volume",
        "4",
        "--format",
        "json",
    ]);
    command.args(["--ldqa-document-length", "100", "--ldqa-max-output-length", "6"]);
    command.args([
        "--ldqa-num-inflight-requests",
        "4",
        "--no-certificate",
        "--no-warmup",
        "--no-ledger",
    ]);
    command.arg("--output-dir").arg(folder);
    command.arg("--requests-jsonl").arg(folder.join("requests.jsonl"));
    command
}

fn mock() -> Mock {
    Mock::start(&["--ttft-ms", "20", "--itl-ms", "5"])
}

fn run(front: &TlsFront, certificates: Option<&str>) -> (Output, Dir) {
    let folder = Dir::new();
    let mut command = engine(&front.url(), folder.path());
    if let Some(name) = certificates {
        command.env("SSL_CERT_FILE", golden(name));
    }
    (command.output().unwrap(), folder)
}

/// The model is asked for over TLS too. Times are the kernel's, so none can be before the mock's own.
#[test]
fn tokens_are_timed_over_connections_that_were_made_before() {
    let mock = mock();
    let front = TlsFront::start(&mock.address, "server.pem");
    let (output, folder) = run(&front, Some("authority.pem"));
    assert_eq!((output.status.code(), stderr_lines(&output)), (Some(0), Vec::new()));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let metrics = &report["metrics"];
    assert_eq!(metrics["results"]["successful"], REQUESTS);
    assert_eq!(metrics["client"]["stamps"], "kernel");
    // Session tickets that arrive before the first request are no reason to connect again.
    assert_eq!(metrics["traffic"]["connections_reused"], REQUESTS);
    assert_eq!(metrics["traffic"]["connections_opened"], 0);
    let lines = std::fs::read_to_string(folder.join("requests.jsonl")).unwrap();
    let requests: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(requests.len() as u64, REQUESTS);
    for request in &requests {
        assert_eq!(request["token_events"], TOKENS);
        assert_eq!(request["gaps_ms"].as_array().unwrap().len() as u64, TOKENS - 1);
        assert_eq!(request["reads_without_kernel_stamp"], 0);
        let at = |key: &str| request[key].as_f64().unwrap();
        assert!(at("first_token_ms") >= 20.0, "{request}");
        assert!(at("last_token_ms") >= 45.0, "{request}");
        assert!(at("finished_ms") >= at("last_token_ms"), "{request}");
    }
    // One for the model; the rest are lanes.
    assert!(front.handshakes() as u64 <= STREAMS + 1, "{}", front.handshakes());
}

fn stderr_lines(output: &Output) -> Vec<String> {
    let said = stderr(output);
    let own = said.lines().filter(|line| line.contains("rror"));
    own.map(str::to_owned).collect()
}

#[test]
fn an_authority_that_is_not_known_is_refused_with_the_way_out() {
    let mock = mock();
    let front = TlsFront::start(&mock.address, "server.pem");
    let (output, _folder) = run(&front, None);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
    let said = stderr(&output);
    assert!(
        said.contains("UnknownIssuer") && said.contains("name its authority's PEM file in SSL_CERT_FILE"),
        "{said}"
    );
    // The same where the model is given and the lanes are the first to connect.
    let folder = Dir::new();
    let output = engine(&front.url(), folder.path())
        .args(["--model", "m"])
        .output()
        .unwrap();
    let said = stderr(&output);
    assert!(
        said.contains("Connection error: could not connect to https://localhost:") && said.contains("SSL_CERT_FILE"),
        "{said}"
    );
}

#[test]
fn a_server_with_an_authoritys_certificate_is_refused_with_the_way_out() {
    let mock = mock();
    let front = TlsFront::start(&mock.address, "self-signed.pem");
    let (output, _folder) = run(&front, Some("self-signed.pem"));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("basicConstraints=CA:FALSE"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_name_that_the_certificate_does_not_hold_is_refused() {
    let mock = mock();
    let front = TlsFront::start(&mock.address, "server.pem");
    let folder = Dir::new();
    let url = front.url().replace("localhost", "127.0.0.1");
    let mut command = engine(&url, folder.path());
    let output = command.env("SSL_CERT_FILE", golden("authority.pem")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("not valid for name"), "{}", stderr(&output));
}

/// The directory has the authority's certificate beside others and a key.
#[test]
fn a_directory_of_authorities_is_used_where_no_file_is_named() {
    let mock = mock();
    let front = TlsFront::start(&mock.address, "server.pem");
    for (directory, code, text) in [
        (golden(""), 0, ""),
        (format!("/nowhere:{}", golden("").display()).into(), 0, ""),
        (
            "/nowhere".into(),
            1,
            "SSL_CERT_DIR /nowhere cannot be used: no file in it has a PEM certificate",
        ),
    ] {
        let folder = Dir::new();
        let mut command = engine(&front.url(), folder.path());
        let output = command.env("SSL_CERT_DIR", &directory).output().unwrap();
        let said = stderr(&output);
        assert_eq!(
            (output.status.code(), said.contains(text)),
            (Some(code), true),
            "{said}"
        );
    }
}

/// A file that cannot be used matters to https and to nothing else.
#[test]
fn a_file_without_certificates_is_refused() {
    let mock = mock();
    let front = TlsFront::start(&mock.address, "server.pem");
    let (output, _folder) = run(&front, Some("server-key.pem"));
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
    let said = stderr(&output);
    assert!(
        said.contains("SSL_CERT_FILE /") && said.contains("holds no PEM certificate"),
        "{said}"
    );
    let folder = Dir::new();
    let mut plain = engine(&format!("http://{}", mock.address), folder.path());
    let output = plain.env("SSL_CERT_FILE", "/nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
