//! A run that cannot begin says what is wrong and what to do about that, and suspects nothing else.

use std::io::Write;
use std::process::{Command, Output};

use super::runs::{certified, engine};
use crate::support::script::{After, ScriptServer, good_answer};
use crate::support::{Dir, bench, stderr};

fn server() -> ScriptServer {
    ScriptServer::start(|_, stream| {
        good_answer(stream, 2);
        After::Keep
    })
}

/// The same command where a process may open few files.
fn with_open_files(command: &Command, files: u32) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

fn refused(output: &Output, code: i32) -> String {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

#[test]
fn too_few_open_files_are_no_fault_of_the_engine() {
    let (server, folder) = (server(), Dir::new());
    let many = ["--kv-cache-volume", "48", "--ldqa-num-inflight-requests", "120"];
    for command in [
        engine(server.url(), &folder, &many),
        certified(server.url(), &folder, &many),
    ] {
        let said = refused(&with_open_files(&command, 40).output().unwrap(), 1);
        assert!(
            said.contains("Too many open files") && said.contains("(ulimit -n)"),
            "{said}"
        );
        assert!(!said.contains("--engine-url"), "{said}");
    }
}

#[test]
fn an_invalid_api_key_is_refused_before_any_request() {
    let (server, folder) = (server(), Dir::new());
    let mut command = engine(server.url(), &folder, &[]);
    let said = refused(&command.env("OPENAI_API_KEY", "sk-very-secret\n").output().unwrap(), 2);
    assert!(said.starts_with("OPENAI_API_KEY ends in a line break"), "{said}");
    assert!(!said.contains("very-secret") && server.seen().is_empty(), "{said}");
    // Sent as it is, and told.
    command.env("OPENAI_API_KEY", "Bearer sk-very-secret");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("Note: OPENAI_API_KEY begins with Bearer"), "{told}");
    assert!(!told.contains("very-secret"), "{told}");
}

#[test]
fn a_list_of_models_that_moved_names_where_to() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let moved = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere/v1/models\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(moved.as_bytes()).unwrap();
        // Until the client has read it and gone.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let mut command = bench();
    command.args(["engine", "--engine-url", &url, "--workload", "random-prefill"]);
    let output = command.args(["--tokens-per-gb-kvcache", "1"]).output().unwrap();
    let said = refused(&output, 1);
    let want = format!(
        "Failed to fetch models from {url}/v1/models: it answered 307 Temporary Redirect and points to \
         {url}/elsewhere/v1/models; give {url}/elsewhere/v1 as --engine-url\n"
    );
    assert_eq!(said, want);
    answering.join().unwrap();
}
