//! The questions of `engine` on a real pseudo-terminal, key for key against recorded screens. The reference's sentences are
//! not ours, so screens are compared without them.

use lmcache_bench::engine::workload::{ABOUTS, NAMES};
use serde_json::Value;

use crate::support::mock::Mock;
use crate::support::pty::Terminal;
use crate::support::{Dir, bench};

/// The workloads when the screens were recorded.
const RECORDED: [&str; 6] = [
    "long-doc-permutator",
    "long-doc-qa",
    "multi-round-chat",
    "prefix-suffix-tuner",
    "rag-qa-quality",
    "random-prefill",
];

/// The workloads of the menu today.
fn in_menu() -> &'static [&'static str] {
    &NAMES[..ABOUTS.len()]
}

fn recorded() -> Value {
    serde_json::from_str(include_str!("../golden/engine/interactive-tty.json")).unwrap()
}

/// A screen without the sentences about settings and choices, without the codes that keep menus from wrapping, which the
/// reference does not send, and without the kernel's echo of Ctrl-C: the signal goes out before the echo, so what the
/// program says about it may come first.
fn skeleton(screen: &str) -> Vec<String> {
    let screen = screen.replace("\x1b[?7l", "").replace("\x1b[?7h", "").replace("^C", "");
    let dim = "\x1b[2m";
    let mut lines = Vec::new();
    for line in screen.split_inclusive('\n') {
        let is_choice = !line.trim_start().starts_with(dim) && line.contains(dim);
        if is_choice {
            // The sentence stands last, in dim letters.
            lines.push(line.rsplit_once(dim).unwrap().0.to_string());
        } else if !line.starts_with("  ") || line.contains('\x1b') {
            lines.push(line.to_string());
        }
    }
    lines
}

/// A screen with the workloads of today in their menu. Rows keep their place, and what was last stays last, because keys move
/// by places.
fn with_todays_menu(screen: Vec<String>) -> Vec<String> {
    let is_row = |line: &String| RECORDED.iter().any(|name| line.contains(&format!(" {name}")));
    let mut lines = Vec::new();
    let mut rest = &screen[..];
    while let Some(line) = rest.first() {
        let rows = rest.iter().take_while(|line| is_row(line)).count();
        if rows == 0 {
            lines.push(line.clone());
            rest = &rest[1..];
            continue;
        }
        assert_eq!(rows % RECORDED.len(), 0, "{rest:?}");
        let (menu, after) = rest.split_at(RECORDED.len());
        let selected = menu.iter().position(|row| row.contains('●')).unwrap();
        let selected = if selected + 1 == RECORDED.len() {
            in_menu().len() - 1
        } else {
            selected
        };
        let before = line.split_once("\x1b[A").map(|(before, _)| before);
        let up = before
            .map(|before| format!("{before}{}", "\x1b[A".repeat(in_menu().len())))
            .unwrap_or_default();
        let clear = if line.contains("\x1b[2K") { "\x1b[2K" } else { "" };
        lines.extend(in_menu().iter().enumerate().map(|(at, name)| {
            let up = if at == 0 { up.as_str() } else { "" };
            let pad = " ".repeat(18_usize.saturating_sub(name.len()));
            match at == selected {
                true => format!("{up}{clear}  \x1b[96m● {name}\x1b[0m{pad} "),
                false => format!("{up}{clear}    {name}{pad} "),
            }
        }));
        rest = after;
    }
    lines
}

fn started(arguments: &Value, folder: &Dir) -> Terminal {
    let mut command = bench();
    command.current_dir(folder.path()).env_remove("OPENAI_API_KEY");
    command.args(arguments.as_array().unwrap().iter().map(|word| word.as_str().unwrap()));
    Terminal::start(command)
}

#[test]
fn recorded_screens_come_back_key_for_key() {
    let recorded = recorded();
    let cases = recorded["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let name = case["case"].as_str().unwrap();
        let folder = Dir::new();
        let mut terminal = started(&case["args"], &folder);
        let mut ignored = String::new();
        for keys in case["keys"].as_array().unwrap() {
            let keys = keys.as_str().unwrap();
            // Keys that mean nothing change nothing, so they are typed together with the next one.
            if ["x", "j", "\x1b[C"].contains(&keys) {
                ignored.push_str(keys);
                continue;
            }
            terminal.type_keys(&format!("{ignored}{keys}"));
            ignored.clear();
        }
        let (screen, status) = terminal.finish();
        assert_eq!(
            i64::from(status.code().unwrap()),
            case["exit_code"].as_i64().unwrap(),
            "{name}: {screen}"
        );
        let theirs = case["screen_bytes"]
            .as_str()
            .unwrap()
            .replace("lmcache bench engine", "lmcache-bench engine");
        assert_eq!(skeleton(&screen), with_todays_menu(skeleton(&theirs)), "{name}");
    }
}

#[test]
fn settings_are_exported_from_the_menu() {
    let folder = Dir::new();
    let arguments = serde_json::json!([
        "engine",
        "--engine-url",
        "u",
        "--model",
        "m",
        "--tokens-per-gb-kvcache",
        "7"
    ]);
    let mut terminal = started(&arguments, &folder);
    for keys in ["\x1b[A\r", "\r", "\r", "\x1b[B\r", "mine.json\r"] {
        terminal.type_keys(keys);
    }
    let (screen, status) = terminal.finish();
    assert!(status.success(), "{screen}");
    let text = std::fs::read_to_string(folder.join("mine.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&file["workload"], &file["rp_num_requests"]),
        (&"random-prefill".into(), &50.into())
    );
}

/// Asks for the engine's address, the workload, its size and the size of the run; then `start` is the next answer.
fn answered(mock: &Mock, requests: &str, folder: &Dir) -> Terminal {
    let mut terminal = started(&serde_json::json!(["engine", "--output-dir", "out"]), folder);
    // All digits are a port of this machine; the last workload; no LMCache server; tokens per GB.
    let port = mock.address.rsplit_once(':').unwrap().1;
    for keys in [&format!("{port}\r"), "\x1b[A\r", "n\r", "1000\r"] {
        terminal.type_keys(keys);
    }
    // General settings stay; the workload's are configured: two numbers.
    for keys in ["\r", "\x1b[B\r", "60\r", &format!("{requests}\r")] {
        terminal.type_keys(keys);
    }
    terminal
}

/// From the first question to the report, the client's own error and the display included.
#[test]
fn a_run_starts_from_the_menu_and_ends_with_its_report() {
    let (mock, folder) = (Mock::start(&["--ttft-ms", "2"]), Dir::new());
    let mut terminal = answered(&mock, "3", &folder);
    terminal.type_keys("\r");
    let (screen, status) = terminal.finish();
    assert_eq!(status.code(), Some(0), "{screen}");
    let order = [
        "Configuration Summary",
        "Measuring this client's own error",
        "Client error: TTFT p99 ",
        " Engine Benchmark\x1b[0m   elapsed: ",
        "[log] Benchmark complete",
        "= Engine Benchmark Result (random-prefill) =",
        "Successful requests:                                   3\r\n",
    ];
    let mut rest = screen.as_str();
    for text in order {
        let Some((_, after)) = rest.split_once(text) else {
            panic!("{text:?} is not where it belongs:\n{screen}")
        };
        rest = after;
    }
    assert_eq!(folder.names("out"), ["bench_results.csv"]);
}

/// Ctrl-C on a terminal reaches every process that the run has started, the built-in mock too.
#[test]
fn ctrl_c_on_the_terminal_ends_the_replay_and_the_run() {
    let (mock, folder) = (Mock::start(&["--ttft-ms", "600000"]), Dir::new());
    for moment in ["Measuring this client's own error", "[log] Measuring 1 requests"] {
        let mut terminal = answered(&mock, "1", &folder);
        terminal.type_keys("\r");
        terminal.type_keys_at(moment, "\x03");
        let (screen, status) = terminal.finish();
        assert_eq!(status.code(), Some(130), "{screen}");
        assert!(
            screen.contains("Partial, stopped by:                              SIGINT\r\n"),
            "{screen}"
        );
        let in_replay = moment.starts_with("Measuring");
        assert_eq!(screen.contains("Client error: TTFT"), !in_replay, "{screen}");
        assert_eq!(screen.contains("- 1 requests were under way"), !in_replay, "{screen}");
    }
}
