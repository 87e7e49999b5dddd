//! The certificate of this program's own error: a workload of the run's shape is replayed against the built-in mock, in a
//! separate process on this machine, and every request is compared with the mock's log. The user's engine is not involved.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use serde::Deserialize;

use super::live::Live;
use super::runner::Runner;
use crate::engine::api_key::engine_key;
use crate::engine::args::Endpoint;
use crate::engine::failure::FailureClass;
use crate::engine::samples::record::Record;
use crate::engine::timestamp::Clock;
use crate::engine::wire::line::Timeouts;
use crate::engine::wire::target::Target;
use crate::engine::workload::{Finished, Phase, Plan, Request, Step, Workload};
use crate::report::banner::Banner;
use crate::stats::percentile::linear_unsorted;
use crate::stats::summary::mean;
use crate::sys::limits;

/// Duration of the replay.
const REPLAY: Duration = Duration::from_secs(2);
/// The mock's schedule: an engine under load that still answers 50 tokens per second to each stream.
pub const TTFT: Duration = Duration::from_millis(50);
pub const GAP: Duration = Duration::from_millis(20);
/// Answers are limited to this many tokens, so that each stream sends more than one request.
const TOKENS_MAX: u64 = 40;
/// Prompts are limited to this many bytes; a longer one costs the mock more than this program.
const BODY_BYTES_MAX: u64 = 256 << 10;
/// Streams beyond these are not replayed.
const STREAMS_MAX: u64 = 4096;
/// How long the mock may take to start, to answer and to write its log.
const PATIENCE: Duration = Duration::from_secs(5);

/// The error of this program in the replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientError {
    /// Absolute difference between the measured TTFT and the mock's.
    pub ttft_ms_mean: f64,
    pub ttft_ms_p99: f64,
    /// From the scheduled time to dispatch, which is outside TTFT.
    pub lateness_ms_p99: f64,
    /// The sum of both per request, so that a late request with an exact TTFT counts as late.
    pub whole_ms_p99: f64,
    /// From the arrival of the first token to the end of the read that returned it.
    pub first_token_lag_ms_p99: f64,
    /// Error of TPOT, in percent of the mock's; `None` with one token per answer.
    pub decode_percent: Option<f64>,
    pub streams: u64,
    pub requests: u64,
    pub events_per_s: f64,
}

impl ClientError {
    /// One line for the report: how far off a TTFT may be, late dispatch included.
    pub fn sentence(&self) -> String {
        format!(
            "TTFT p99 {:.1} ms (reading {:.1}, late dispatch {:.1})",
            self.whole_ms_p99, self.ttft_ms_p99, self.lateness_ms_p99
        )
    }
}

/// Replays a workload with the shape of `plan` on the mock's endpoint of the same kind. The error says why there is no certificate.
pub fn measure(plan: &Plan, endpoint: Endpoint) -> Result<ClientError, String> {
    let shape = Plan {
        streams: plan.streams.clamp(1, STREAMS_MAX),
        tokens_per_answer: plan.tokens_per_answer.clamp(1, TOKENS_MAX),
        body_bytes: plan.body_bytes.min(BODY_BYTES_MAX),
        ..plan.clone()
    };
    let folder = Folder::new()?;
    let log = folder.0.join("mock.jsonl");
    let mock = Mock::start(&log)?;
    let key = engine_key(String::new());
    let target = Target::new(&format!("{}/v1", mock.url), endpoint, &key).map_err(|error| error.to_string())?;
    let timeouts = Timeouts {
        connect: PATIENCE,
        first_token: PATIENCE,
        stall: PATIENCE,
        total: PATIENCE,
    };
    let mut runner = Runner::new(Clock::start(), Arc::new(target), timeouts, Arc::new(Live::default()));
    let streams = usize::try_from(shape.streams).unwrap_or(usize::MAX);
    runner.open(streams).map_err(|failure| failure.text)?;
    let samples = runner.run(&mut Replay::new(&shape, endpoint), Phase::Measured);
    // The requests that ended before are fewer than the plan has, so they say nothing about it.
    if runner.is_interrupted() {
        return Err("the replay was interrupted".into());
    }
    if let Some(failure) = samples.records.iter().find_map(Record::why_failed) {
        return Err(match failure.class {
            // The failure's own text names a timeout flag of the run, which does not apply here.
            FailureClass::Timeout => too_slow("answered late"),
            _ => format!("the built-in mock failed: {}", failure.text),
        });
    }
    let seconds = samples.ended.seconds_since(samples.began);
    let truth = read_log(&log, samples.records.len())?;
    compare(&samples.records, &truth, shape.streams, seconds)
}

fn too_slow(what: &str) -> String {
    let limit = PATIENCE.as_secs();
    format!("the built-in mock {what} (its limit is {limit} s), so this machine is too busy for a replay")
}

/// One request in the mock's log.
#[derive(Debug, Deserialize)]
struct Served {
    id: String,
    arrival_ns: u64,
    first_token_ns: u64,
    last_token_ns: u64,
    events: u64,
}

fn compare(records: &[Record], truth: &[Served], streams: u64, seconds: f64) -> Result<ClientError, String> {
    let by_id: HashMap<&str, &Served> = truth.iter().map(|served| (served.id.as_str(), served)).collect();
    let (mut ttft_ms, mut lateness_ms, mut whole_ms) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lag_ms, mut decode_percent) = (Vec::new(), Vec::new());
    let mut events = 0;
    for record in records {
        let name = record.answer.response_id.as_deref().unwrap_or("");
        let Some(served) = by_id.get(name) else { continue };
        let true_ttft_ms = served.first_token_ns.saturating_sub(served.arrival_ns) as f64 / 1e6;
        let off_ms = (record.ttft_s() * 1e3 - true_ttft_ms).abs();
        ttft_ms.push(off_ms);
        lateness_ms.push(record.lateness_s() * 1e3);
        whole_ms.push(off_ms + record.lateness_s() * 1e3);
        lag_ms.push(record.first_token_lag_ns as f64 / 1e6);
        events += served.events;
        if let Some(tpot_s) = record.tpot_s().filter(|_| served.events > 1) {
            let span_ns = served.last_token_ns.saturating_sub(served.first_token_ns) as f64;
            let true_tpot_s = span_ns / 1e9 / (served.events - 1) as f64;
            decode_percent.push((tpot_s / true_tpot_s - 1.0) * 100.0);
        }
    }
    if ttft_ms.is_empty() {
        return Err("the built-in mock logged none of the requests".into());
    }
    let requests = ttft_ms.len() as u64;
    let p99 = |values| linear_unsorted(values, 99.0);
    Ok(ClientError {
        ttft_ms_mean: mean(&ttft_ms),
        ttft_ms_p99: p99(ttft_ms),
        lateness_ms_p99: p99(lateness_ms),
        whole_ms_p99: p99(whole_ms),
        first_token_lag_ms_p99: p99(lag_ms),
        decode_percent: (!decode_percent.is_empty()).then(|| mean(&decode_percent).abs()),
        streams,
        requests,
        events_per_s: events as f64 / seconds.max(1e-9),
    })
}

/// Waits for the log to be complete: the mock writes it when no event is due.
fn read_log(path: &Path, requests: usize) -> Result<Vec<Served>, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(path)
            .map_err(|error| format!("could not read the mock's log: {}", limits::with_advice(&error)))?;
        if text.lines().count() >= requests || Instant::now() > deadline {
            let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            return Ok(lines.collect());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The built-in mock in its own process, which is killed on drop.
struct Mock {
    child: Child,
    url: String,
}

impl Mock {
    fn start(log: &Path) -> Result<Mock, String> {
        let program = std::env::current_exe().map_err(|error| format!("could not find this program: {error}"))?;
        let milliseconds = |duration: Duration| duration.as_millis().to_string();
        let mut child = Command::new(program)
            .args(["mock", "engine", "--port", "0"])
            .args(["--ttft-ms", &milliseconds(TTFT), "--itl-ms", &milliseconds(GAP)])
            .arg("--log")
            .arg(log)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("could not start the built-in mock: {}", limits::with_advice(&error)))?;
        let stdout = child.stdout.take().expect("it was asked for a pipe");
        let mut mock = Mock {
            child,
            url: String::new(),
        };
        let (send, received) = bounded(1);
        // In a thread, because a read from a pipe has no timeout; it ends with the child at the latest.
        let read = move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = send.send(line);
        };
        std::thread::Builder::new()
            .spawn(read)
            .map_err(|error| format!("could not start a thread: {}", limits::thread_with_advice(&error)))?;
        let line = received
            .recv_timeout(PATIENCE)
            .map_err(|_| too_slow("did not start in time"))?;
        let url = line.trim().strip_prefix("listening on ");
        url.ok_or("the built-in mock did not start")?.clone_into(&mut mock.url);
        Ok(mock)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A temporary folder that only this user can read, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, String> {
        let now = Instant::now();
        let name = format!(
            "lmcache-bench-{}-{:x}",
            std::process::id(),
            std::ptr::from_ref(&now) as usize
        );
        let path = std::env::temp_dir().join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| {
            let (path, cause) = (path.display(), limits::with_advice(&error));
            format!("could not create a temporary folder {path}: {cause}; TMPDIR can name another place")
        })?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A workload that keeps all streams busy for the duration of the replay.
struct Replay {
    plan: Plan,
    body: Vec<u8>,
    in_flight: u64,
    sent: u64,
    /// The last moment at which a request can start and still end in time.
    last_begin: Duration,
}

impl Replay {
    fn new(shape: &Plan, endpoint: Endpoint) -> Replay {
        let answer = TTFT + GAP * u32::try_from(shape.tokens_per_answer - 1).unwrap_or(u32::MAX);
        let (before, after) = match endpoint {
            Endpoint::Chat => (r#""messages":[{"role":"user","content":""#, r#""}]"#),
            Endpoint::Completions => (r#""prompt":""#, r#"""#),
        };
        let body = |prompt: &str| {
            format!(
                "{{\"model\":\"mock-model\",\"stream\":true,{before}{prompt}{after},\"max_tokens\":{},\"stream_options\":{{\"include_usage\":true}},\"temperature\":0.0}}",
                shape.tokens_per_answer
            )
        };
        let words = shape.body_bytes.saturating_sub(body("").len() as u64) / 3;
        let prompt = vec!["hi"; usize::try_from(words).unwrap_or(0) + 1].join(" ");
        Replay {
            plan: shape.clone(),
            body: body(&prompt).into_bytes(),
            in_flight: 0,
            sent: 0,
            last_begin: REPLAY.saturating_sub(answer),
        }
    }
}

impl Workload for Replay {
    fn banner(&self) -> Banner {
        Banner::new("replay", 0)
    }

    fn plan(&self) -> Plan {
        self.plan.clone()
    }

    fn begin(&mut self, _: Phase) {}

    fn step(&mut self, elapsed: Duration, finished: &[Finished]) -> Step {
        self.in_flight -= finished.len() as u64;
        // Every stream sends one request, however long that takes.
        let over = elapsed > self.last_begin && self.sent >= self.plan.streams;
        if over || self.in_flight == self.plan.streams {
            return if self.in_flight > 0 { Step::Await } else { Step::Done };
        }
        self.in_flight += 1;
        self.sent += 1;
        Step::Send(Request::new(
            format!("replay{}", self.sent),
            self.body.clone(),
            self.plan.tokens_per_answer,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::finished;
    use crate::engine::timestamp::Stamp;

    const MS: i64 = 1_000_000;

    /// Dispatched at 0.
    fn record(id: &str, first_ms: i64, last_ms: i64) -> Record {
        let mut record = Record::begin(id.into(), Stamp(0), Stamp(0));
        for at in [first_ms, last_ms] {
            let data = format!(r#"{{"id":"{id}","choices":[{{"delta":{{"content":"w"}}}}]}}"#);
            record.answer.event(data.as_bytes(), Stamp(at * MS)).unwrap();
        }
        record
    }

    fn served(id: &str, first_ms: u64, last_ms: u64) -> Served {
        Served {
            id: id.into(),
            arrival_ns: 0,
            first_token_ns: first_ms * 1_000_000,
            last_token_ns: last_ms * 1_000_000,
            events: 2,
        }
    }

    #[test]
    fn the_error_is_the_difference_from_the_mocks_log() {
        let records = [record("a", 21, 31), record("b", 20, 30), record("stranger", 99, 100)];
        let truth = [served("a", 20, 30), served("b", 20, 30)];
        let error = compare(&records, &truth, 7, 2.0).unwrap();
        assert_eq!((error.ttft_ms_mean, error.requests, error.streams), (0.5, 2, 7));
        assert!((error.ttft_ms_p99 - 0.99).abs() < 1e-9);
        assert!(error.decode_percent.unwrap() < 1e-9);
        assert_eq!(error.events_per_s, 2.0);
        assert!(compare(&records, &[], 7, 2.0).is_err());
    }

    #[test]
    fn a_late_dispatch_is_in_the_error_although_ttft_is_exact() {
        let mut late = record("a", 20, 30);
        late.scheduled = Stamp(-8 * MS);
        let error = compare(&[late], &[served("a", 20, 30)], 1, 1.0).unwrap();
        assert_eq!(
            (error.ttft_ms_p99, error.lateness_ms_p99, error.whole_ms_p99),
            (0.0, 8.0, 8.0)
        );
    }

    #[test]
    fn a_replay_uses_every_stream_and_ends_in_time() {
        let plan = Plan {
            streams: 2,
            tokens_per_answer: 10,
            body_bytes: 1000,
            requests: 5,
            requests_per_second: None,
        };
        let of_prompts = Replay::new(&plan, Endpoint::Completions);
        let mut replay = Replay::new(&plan, Endpoint::Chat);
        for body in [&of_prompts.body, &replay.body] {
            assert!((990..=1010).contains(&body.len()), "{}", body.len());
            assert!(serde_json::from_slice::<serde_json::Value>(body).is_ok());
        }
        assert!(matches!(replay.step(REPLAY * 2, &[]), Step::Send(_)));
        assert!(matches!(replay.step(REPLAY * 2, &[]), Step::Send(_)));
        assert_eq!(replay.step(REPLAY * 2, &[]), Step::Await);
        let ended = finished("replay1", "");
        assert_eq!(replay.step(REPLAY * 2, std::slice::from_ref(&ended)), Step::Await);
        assert_eq!(replay.step(REPLAY * 2, &[ended]), Step::Done);
    }
}
