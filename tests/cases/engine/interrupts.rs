//! Ctrl-C in every phase of a run: exit code 130, and the results up to then are kept.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::runs::{certified, code, csv_rows, engine, good};
use crate::support::script::{After, ScriptServer, begin_stream, chunk, plain_answer, token};
use crate::support::{Dir, stderr, stdout};

/// After this time a test fails: the run does not end, or does not reach the phase to be interrupted.
const LIMIT: Duration = Duration::from_secs(20);
const EMPTY: &str = "Successful requests:                                   0\n";

/// Signals that a request has arrived.
#[derive(Default)]
struct Gate {
    waiting: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    fn arrive(&self) {
        *self.waiting.lock().unwrap() += 1;
        self.changed.notify_all();
    }

    fn await_one(&self) {
        let mut waiting = self.waiting.lock().unwrap();
        while *waiting == 0 {
            waiting = self.changed.wait(waiting).unwrap();
        }
    }
}

/// A server that answers `good_answers` requests and then stops in the middle of an answer.
fn hangs_after(good_answers: usize) -> (ScriptServer, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let (answered, at_gate) = (AtomicUsize::new(0), Arc::clone(&gate));
    let server = ScriptServer::start(move |request, stream| {
        if answered.fetch_add(1, Ordering::SeqCst) < good_answers {
            return good(request, stream);
        }
        begin_stream(stream);
        chunk(stream, &token("a"));
        at_gate.arrive();
        // Until the client disconnects.
        let _ = std::io::copy(stream, &mut std::io::sink());
        After::Close
    });
    (server, gate)
}

fn interrupt(command: Command, gate: &Gate) -> Output {
    let child = spawned(command);
    gate.await_one();
    kill(&child);
    child.wait_with_output().unwrap()
}

fn spawned(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub fn kill(child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
}

#[test]
fn an_interrupt_keeps_what_was_finished() {
    // Five warmup requests and three measured ones; the fourth hangs.
    let (server, gate) = hangs_after(8);
    let folder = Dir::new();
    let output = interrupt(engine(server.url(), &folder, &["--json"]), &gate);
    assert_eq!(code(&output), 130, "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(
        shown.contains("Successful requests:                                   3\n"),
        "{shown}"
    );
    assert!(
        shown.contains("Partial, stopped by:                              SIGINT\n"),
        "{shown}"
    );
    assert!(shown.contains("- 1 requests were under way"), "{shown}");
    assert_eq!(csv_rows(&folder).len(), 3);
    assert!(folder.join("bench_summary.json").exists());
}

/// The loads of the steps in a report, of which there is one, by the first column of its table.
fn step_loads(shown: &str) -> Vec<&str> {
    let table = shown.lines().skip_while(|line| !line.contains(" Steps ")).skip(2);
    let rows = table.take_while(|line| !line.starts_with('-'));
    rows.map(|row| row.split_whitespace().nth(1).unwrap()).collect()
}

#[test]
fn an_interrupt_in_any_phase_of_a_step_keeps_the_steps_that_are_whole() {
    let sweep = ["--sweep", "concurrency=1,2,4", "--num-requests", "3", "--cooldown", "0"];
    let by_rate = [
        "--sweep",
        "rate=10,20,40",
        "--arrival",
        "constant",
        "--duration",
        "300ms",
    ];
    let search = [
        "--find-max",
        "--find-max-over",
        "concurrency",
        "--slo",
        "ttft.p50=60s",
        "--num-requests",
        "3",
    ];
    let cases = [
        // Three requests of the first step and one of the second.
        (4, 1, [&sweep[..], &["--no-warmup"]].concat()),
        // The last answer of the second step is awaited.
        (3 + 2, 1, [&sweep[..], &["--no-warmup"]].concat()),
        // The first load again, after three steps.
        (3 * 3 + 1, 3, [&sweep[..], &["--no-warmup"]].concat()),
        // The workload's own warmup, of five requests.
        (5 + 3 + 2, 1, sweep.to_vec()),
        // The warm-up time and the duration of the first step, the warm-up time of the second.
        (
            6 + 2,
            1,
            [&by_rate[..], &["--warmup-time", "300ms", "--no-warmup"]].concat(),
        ),
        // The ramp of the second step, whose second request is due after 173 ms.
        (
            5 + 1,
            1,
            [&by_rate[..], &["--ramp-up", "300ms", "--no-warmup"]].concat(),
        ),
        (4, 1, [&search[..], &["--no-warmup"]].concat()),
    ];
    for (good_answers, whole, flags) in cases {
        let (server, gate) = hangs_after(good_answers);
        let folder = Dir::new();
        let saved = folder.join("run.json");
        let save = format!("result={}", saved.display());
        let flags = [&flags[..], &["--save", &save]].concat();
        let output = interrupt(engine(server.url(), &folder, &flags), &gate);
        assert_eq!(code(&output), 130, "{}", stderr(&output));
        let result: Value = serde_json::from_slice(&std::fs::read(saved).unwrap()).unwrap();
        let rows = result["samples"]["tables"]["steps"]["rows"].as_array().unwrap();
        assert_eq!(rows.len(), whole, "{flags:?}: {result}");
        let shown = stdout(&output);
        assert_eq!(step_loads(&shown).len(), whole, "{flags:?}: {shown}");
        let ends = ["before the last step", "by a signal"];
        let is_end = |line: &str| line.contains("nded:") && ends.iter().any(|end| line.ends_with(end));
        assert!(shown.lines().any(is_end), "{flags:?}: {shown}");
    }
}

#[test]
fn an_interrupt_in_the_pause_between_steps_keeps_the_first() {
    let server = ScriptServer::start(good);
    let flags = [
        "--sweep",
        "concurrency=1,2",
        "--num-requests",
        "3",
        "--cooldown",
        "1h",
        "--no-warmup",
    ];
    let mut child = spawned(engine(server.url(), &Dir::new(), &flags));
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut shown = String::new();
    // A line each second.
    while !shown.contains("] 3 successful, 0 in flight") {
        assert!(out.read_line(&mut shown).unwrap() > 0, "{shown}");
    }
    kill(&child);
    out.read_to_string(&mut shown).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(step_loads(&shown), ["1"], "{shown}");
}

#[test]
fn an_interrupt_while_the_last_answer_is_awaited_keeps_the_others() {
    let (server, gate) = hangs_after(9);
    let folder = Dir::new();
    let output = interrupt(engine(server.url(), &folder, &["--no-warmup"]), &gate);
    assert_eq!((code(&output), csv_rows(&folder).len()), (130, 9));
}

#[test]
fn an_interrupt_while_the_model_is_asked_for_ends_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = Dir::new();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let child = spawned(engine(&url, &folder, &["--model", ""]));
    let asking = listener.accept().unwrap().0;
    kill(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (code(&output), stdout(&output).as_str()),
        (130, ""),
        "{}",
        stderr(&output)
    );
    drop(asking);
}

#[test]
fn an_interrupt_in_the_warmup_ends_with_an_empty_report() {
    let (server, gate) = hangs_after(2);
    let folder = Dir::new();
    let output = interrupt(engine(server.url(), &folder, &[]), &gate);
    assert_eq!(code(&output), 130);
    assert!(stdout(&output).contains("Successful requests:                                   0\n"));
    assert_eq!(csv_rows(&folder).len(), 0);
}

#[test]
fn an_interrupt_while_tokens_are_counted_ends_at_once() {
    let (server, gate) = hangs_after(0);
    let folder = Dir::new();
    let output = interrupt(engine(server.url(), &folder, &["--exact-lengths"]), &gate);
    assert_eq!(server.seen()[0].head.lines().next(), Some("POST /tokenize HTTP/1.1"));
    assert_eq!(
        (code(&output), stdout(&output).as_str()),
        (130, ""),
        "{}",
        stderr(&output)
    );
}

/// At the first question about tokens, and in the middle of the vocabulary: nothing is made up instead.
#[test]
fn an_interrupt_while_words_are_looked_for_ends_at_once() {
    for questions in [0, 7] {
        let gate = Arc::new(Gate::default());
        let (asked, at_gate) = (AtomicUsize::new(0), Arc::clone(&gate));
        let server = ScriptServer::start(move |request, stream| {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            if number == questions {
                at_gate.arrive();
                let _ = std::io::copy(stream, &mut std::io::sink());
                return After::Close;
            }
            let question: Value = serde_json::from_slice(&request.body).unwrap();
            // Every id is a bar, so no block can be told apart and all are halved.
            let text = match question["tokens"].as_array() {
                Some(ids) => format!(r#"{{"prompt":"{}"}}"#, "|".repeat(ids.len())),
                None => r#"{"count":1,"tokens":[5]}"#.to_owned(),
            };
            plain_answer(stream, "200 OK", "application/json", &text);
            After::Keep
        });
        let folder = Dir::new();
        let permutator = engine(server.url(), &folder, &["--workload", "long-doc-permutator"]);
        let output = interrupt(permutator, &gate);
        assert_eq!(server.seen().len(), questions + 1);
        let last: Value = serde_json::from_slice(&server.seen()[questions].body).unwrap();
        let ids = last["tokens"].as_array().map(Vec::len);
        // A quarter of the first block, with a bar before each id and one behind.
        assert_eq!(ids, (questions > 0).then_some(2 * 1024 + 1));
        assert_eq!(
            (code(&output), stdout(&output).as_str()),
            (130, ""),
            "{}",
            stderr(&output)
        );
    }
}

/// A listener with a full accept queue: the next connection attempt gets no answer.
struct Unreachable {
    listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Unreachable {
    #[allow(unsafe_code)]
    fn new() -> Unreachable {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // SAFETY: the descriptor is open for as long as `listener` lives.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let address = listener.local_addr().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        let waiting = std::iter::from_fn(connect).collect();
        Unreachable {
            listener,
            _waiting: waiting,
        }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Waits until the kernel shows a connection attempt without an answer.
    fn await_attempt(&self) {
        let peer = format!(":{:04X} 02 ", self.address().port());
        let began = Instant::now();
        while !std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&peer) {
            assert!(began.elapsed() < LIMIT, "nobody tries to connect");
            std::thread::yield_now();
        }
    }
}

/// The output of the child, which is killed if it does not end in time.
fn ended(mut child: Child) -> Output {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > LIMIT {
            child.kill().unwrap();
        }
        std::thread::yield_now();
    }
    child.wait_with_output().unwrap()
}

#[test]
fn an_interrupt_while_connections_are_opened_ends_the_wait_for_them() {
    let (server, folder) = (Unreachable::new(), Dir::new());
    let url = format!("http://{}", server.address());
    let child = spawned(engine(&url, &folder, &["--connect-timeout-s", "1000"]));
    server.await_attempt();
    kill(&child);
    let output = ended(child);
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(shown.contains(EMPTY) && shown.contains("SIGINT\n"), "{shown}");
    assert_eq!(csv_rows(&folder).len(), 0);
}

/// Waits until the mock of the replay has logged an answer. Its log is in a folder of its own.
fn await_answer_of_replay(temporary: &Path) {
    let began = Instant::now();
    let is_logged = || {
        let folders = std::fs::read_dir(temporary).unwrap();
        let mut logs = folders.map(|folder| folder.unwrap().path().join("mock.jsonl"));
        logs.any(|log| std::fs::read_to_string(log).is_ok_and(|text| text.contains('\n')))
    };
    while !is_logged() {
        assert!(began.elapsed() < LIMIT, "nothing is answered in the replay");
        std::thread::yield_now();
    }
}

/// The message appears before the replay, which takes two seconds.
#[test]
fn an_interrupt_in_the_replay_leaves_nothing_behind() {
    for some_are_answered in [false, true] {
        let (server, folder) = (ScriptServer::start(good), Dir::new());
        let temporary = folder.join("temporary");
        std::fs::create_dir(&temporary).unwrap();
        let mut command = certified(server.url(), &folder, &[]);
        command.env("TMPDIR", &temporary);
        let mut child = spawned(command);
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut shown = String::new();
        while !shown.contains("Measuring this client's own error") {
            assert!(lines.read_line(&mut shown).unwrap() > 0, "ended early: {shown}");
        }
        if some_are_answered {
            await_answer_of_replay(&temporary);
        }
        kill(&child);
        let output = ended(child);
        lines.read_to_string(&mut shown).unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
        assert!(shown.contains(EMPTY), "{shown}");
        assert!(
            shown.contains("Client error:                               not measured\n"),
            "{shown}"
        );
        assert!(folder.names("temporary").is_empty());
        assert!(server.seen().is_empty());
    }
}
