//! Result files: every command saves one that matches the schema and that `report` renders again; it contains no secrets; a run
//! that ends early saves what it has; invalid files are refused in one sentence.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::mock::Mock;
use crate::support::mock_server::MockServer;
use crate::support::{Dir, bench, l2, schema, stderr, stdout};

fn schema_file() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/result.schema.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn engine(mock: &Mock, dir: &Dir) -> Command {
    let mut command = bench();
    command.env("OPENAI_API_KEY", "sk-very-secret");
    command.args(["engine", "--engine-url", &format!("http://{}", mock.address)]);
    command.args([
        "--workload",
        "long-doc-qa",
        "--tokens-per-gb-kvcache",
        "100",
        "--kv-cache-volume",
        "2",
    ]);
    command.args([
        "--ldqa-document-length",
        "40",
        "--model",
        "mock-model",
        "--no-certificate",
    ]);
    command.arg("--output-dir").arg(dir.path());
    command
}

/// Runs a command that saves every form, and compares each with what `report` renders from the saved result.
fn saved(command: &mut Command, dir: &Dir) -> (Output, Value) {
    let at = |name: &str| dir.join(name).display().to_string();
    let output = command
        .args(["--save", &format!("result={}", at("run.json"))])
        .args(["--save", &format!("json={}", at("report.json"))])
        .args(["--save", &format!("csv={}", at("figures.csv"))])
        .args(["--save", &format!("terminal={}", at("report.txt"))])
        .args(["--save", &format!("json={}", at("again.json"))])
        .output()
        .unwrap();
    assert!(dir.join("run.json").exists(), "{}", stderr(&output));
    let result = read(&dir.join("run.json"));
    assert_eq!(schema::violations(&schema_file(), &result), Vec::<String>::new());
    for (form, file) in [
        ("json", "report.json"),
        ("json", "again.json"),
        ("csv", "figures.csv"),
        ("terminal", "report.txt"),
    ] {
        let shown = bench()
            .args(["report", &at("run.json"), "--format", form])
            .output()
            .unwrap();
        assert_eq!(stderr(&shown), "");
        assert_eq!(stdout(&shown), fs::read_to_string(dir.join(file)).unwrap(), "{form}");
    }
    let copied = bench()
        .args(["report", &at("run.json"), "--format", "result", "-o", &at("copy.json")])
        .output()
        .unwrap();
    assert_eq!((copied.status.code(), stdout(&copied)), (Some(0), String::new()));
    assert_eq!(
        read(&dir.join("copy.json")),
        result,
        "what was read is written again whole"
    );
    (output, result)
}

fn rows<'a>(result: &'a Value, table: &str) -> &'a Vec<Value> {
    result["samples"]["tables"][table]["rows"].as_array().unwrap()
}

#[test]
fn l2_saves_rounds_and_histograms() {
    let dir = Dir::new();
    let store = dir.join("store");
    let (output, result) = saved(l2(&store).args(["--rounds", "3", "--warmup-rounds", "0"]), &dir);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).ends_with(&format!(
        "{}{CLEANUP}",
        fs::read_to_string(dir.join("report.txt")).unwrap()
    )));
    assert_eq!((&result["command"], &result["partial"]), (&json!("l2"), &Value::Null));
    assert_eq!(
        (&result["settings"]["num-keys"], &result["settings"]["data-size-kb"]),
        (&json!(4), &json!(16))
    );
    assert!(result["target"]["file_system"].is_string() && result["machine"]["kernel"].is_string());
    assert_eq!(rows(&result, "rounds").len(), 9);
    let service = &result["samples"]["histograms"]["store.service"];
    assert_eq!((&service["count"], &service["unit"]), (&json!(12), &json!("ns")));
    let duration = &result["sections"][1]["entries"][6];
    assert_eq!(
        (&duration["key"], &duration["unit"], &duration["decimals"]),
        (&json!("duration_avg_ms"), &json!("ms"), &json!(2))
    );
    let ns: Vec<f64> = rows(&result, "rounds")[..3]
        .iter()
        .map(|row| row[2].as_f64().unwrap())
        .collect();
    let mean_ms = ns.iter().sum::<f64>() / 3.0 / 1e6;
    assert!(
        (duration["value"].as_f64().unwrap() - mean_ms).abs() < 1e-9,
        "{duration} {mean_ms}"
    );
}

const CLEANUP: &str = "[Cleanup] Closing adapter...\n[Cleanup] Done.\n";

#[test]
fn server_saves_each_operation() {
    let (server, dir) = (MockServer::start(&[]), Dir::new());
    let (output, result) = saved(&mut server.client(), &dir);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(result["command"], "server");
    assert_eq!(result["target"]["release"], result["sections"][6]["entries"][1]["text"]);
    for operation in ["cold_lookup", "cold_store", "warm_lookup", "warm_retrieve"] {
        assert_eq!(rows(&result, operation).len(), 2, "{operation}");
        assert_eq!(
            result["samples"]["histograms"][format!("{operation}.latency")]["count"],
            2
        );
    }
    assert_eq!(rows(&result, "cold_store")[0].as_array().unwrap().len(), 4);
}

#[test]
fn engine_saves_each_request_and_no_secret() {
    let (mock, dir) = (Mock::start(&[]), Dir::new());
    let (output, result) = saved(&mut engine(&mock, &dir), &dir);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        (&result["command"], &result["settings"]["workload"]),
        (&json!("engine"), &json!("long-doc-qa"))
    );
    assert_eq!(
        result["target"]["engine_version"],
        concat!("mock-", env!("CARGO_PKG_VERSION"))
    );
    let requests = rows(&result, "requests");
    assert_eq!(requests.len(), 10);
    assert!(
        requests.iter().all(|row| row[1] == true && row[5].as_f64() > Some(0.0)),
        "{requests:?}"
    );
    assert_eq!(result["samples"]["histograms"]["ttft"]["count"], 10);
    let text = fs::read_to_string(dir.join("run.json")).unwrap();
    assert!(!text.contains("secret"), "the key is in the result");
}

#[test]
fn outputs_of_engine_may_be_in_the_new_output_folder() {
    let (mock, dir) = (Mock::start(&[]), Dir::new());
    let at = |name: &str| dir.join("new").join(name).display().to_string();
    let mut command = engine(&mock, &dir);
    command.args(["--output-dir", &at(""), "--output", &at("report.txt")]);
    let output = command
        .args(["--save", &format!("result={}", at("run.json"))])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(dir.join("new/report.txt").exists() && dir.join("new/run.json").exists());
}

#[test]
fn a_run_that_is_stopped_saves_what_it_has() {
    let dir = Dir::new();
    let path = dir.join("run.json");
    let mut child = l2(&dir.join("store"))
        .args([
            "--only",
            "store",
            "--rounds",
            "1000000",
            "--warmup-rounds",
            "0",
            "--save",
        ])
        .arg(format!("result={}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("] Round 3:") {
        assert!(reader.read_line(&mut text).unwrap() > 0, "ended early: {text}");
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let result = read(&path);
    assert_eq!(result["partial"], "SIGINT");
    assert!(rows(&result, "rounds").len() >= 3);
}

#[test]
fn a_form_that_cannot_be_saved_is_refused_before_the_run() {
    let dir = Dir::new();
    let store = dir.join("store");
    for (save, expected) in [
        ("run.json", "--save run.json: write FORM=PATH"),
        (
            "xml=run.xml",
            "--save xml=run.xml: there is no form 'xml'; choose from result, terminal, json, csv",
        ),
        (
            "result=same.json",
            "--save result=same.json: another output has the same file",
        ),
        (
            "result=/no/such/folder/run.json",
            "could not write the result to --save /no/such/folder/run.json: ",
        ),
    ] {
        let output = l2(&store)
            .args(["--output", "same.json", "--save", save])
            .output()
            .unwrap();
        assert_eq!(stdout(&output), "");
        assert!(stderr(&output).starts_with(expected), "{}", stderr(&output));
        assert!(!store.exists());
    }
}

/// The error of `report` for a file with this content.
fn refused(content: &[u8]) -> String {
    let dir = Dir::new();
    let path = dir.join("r.json");
    fs::write(&path, content).unwrap();
    refusal(&path)
}

fn refusal(path: &Path) -> String {
    let output = bench().arg("report").arg(path).output().unwrap();
    let text = stderr(&output);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(2), String::new()),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
    let message = text.strip_prefix(&format!("{}: ", path.display()));
    message.unwrap_or_else(|| panic!("{text}")).trim_end().to_owned()
}

#[test]
fn invalid_result_files_are_refused_in_one_sentence() {
    let dir = Dir::new();
    let path = dir.join("run.json");
    let save = format!("result={}", path.display());
    assert!(
        l2(&dir.join("store"))
            .args(["-q", "--save", &save])
            .status()
            .unwrap()
            .success()
    );
    let good = fs::read(&path).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&good).unwrap();
        change(&mut value);
        serde_json::to_vec(&value).unwrap()
    };
    let text = String::from_utf8(good.clone()).unwrap();
    let with_nan = text.replacen("\"duration_ns\",\"unit\":\"ns\"", "\"duration_ns\",\"unit\":NaN", 1);
    assert_ne!(with_nan, text);
    let cases: [(Vec<u8>, &str); 11] = [
        (Vec::new(), "it is empty; give a file that --save result=PATH wrote"),
        (
            good[..good.len() / 2].to_vec(),
            "it ends in the middle, so it was cut; copy it again, or repeat the run",
        ),
        (
            with_nan.into_bytes(),
            "it holds NaN, which is no number in JSON, so another program wrote it; ",
        ),
        (b"\x7fELF\0\0".to_vec(), "it is not JSON: "),
        (b"[1, 2]".to_vec(), "it is not a result of lmcache-bench; "),
        (
            b"{\"title\": \"T\", \"metrics\": {}}".to_vec(),
            "it is a report of --format json, which has no samples; ",
        ),
        (
            changed(&|value| value["schema"] = 2.into()),
            "it has schema 2 and this version reads 1; use the newer ",
        ),
        (
            changed(&|value| value["schema"] = 0.into()),
            "it has schema 0 and this version reads 1; use the older ",
        ),
        (
            changed(&|value| value["command"] = "sail".into()),
            "it holds a result of the command 'sail', which ",
        ),
        (changed(&|value| value["sections"] = 3.into()), "it is damaged: "),
        (
            changed(&|value| value["samples"]["tables"]["rounds"]["rows"][0] = json!([1])),
            "it is damaged: a row of the table 'rounds' has 1 cells below 7 columns; ",
        ),
    ];
    for (content, expected) in cases {
        let text = refused(&content);
        assert!(text.starts_with(expected), "{text}");
    }
    assert!(refusal(&dir.join("missing.json")).starts_with("could not read the result file: No such file"));
    let large = fs::File::create(dir.join("large.json")).unwrap();
    large.set_len(200 << 20).unwrap();
    assert!(refusal(&dir.join("large.json")).starts_with("it is larger than 96 MiB, so it is no result file; "));
    assert!(refusal(Path::new("/dev/zero")).starts_with("it is larger than 96 MiB"));
}

#[test]
fn unknown_members_of_newer_versions_are_ignored() {
    let dir = Dir::new();
    let path = dir.join("run.json");
    let save = format!("result={}", path.display());
    assert!(
        l2(&dir.join("store"))
            .args(["-q", "--save", &save])
            .status()
            .unwrap()
            .success()
    );
    let before = bench().arg("report").arg(&path).output().unwrap();
    let mut value = read(&path);
    value["plan"] = json!({"a": [1, 2]});
    value["build"]["commit"] = "abc".into();
    value["sections"][0]["entries"][0]["note"] = "n".into();
    value["samples"]["series"] = json!({});
    value["samples"]["tables"]["rounds"]["columns"]
        .as_array_mut()
        .unwrap()
        .push(json!({"key": "new"}));
    for row in value["samples"]["tables"]["rounds"]["rows"].as_array_mut().unwrap() {
        row.as_array_mut().unwrap().push(Value::Null);
    }
    fs::write(&path, value.to_string()).unwrap();
    let after = bench().arg("report").arg(&path).output().unwrap();
    assert_eq!((stderr(&after), stdout(&after)), (String::new(), stdout(&before)));
}

#[test]
fn report_needs_one_file_and_a_form() {
    let error = |words: &[&str]| stderr(&bench().arg("report").args(words).output().unwrap());
    assert!(error(&[]).starts_with("lmcache-bench report: no result file given; "));
    assert!(error(&["a", "b"]).starts_with("lmcache-bench report: unexpected argument 'b'; "));
    assert!(error(&["a", "--format", "xml"]).starts_with("lmcache-bench report: there is no form 'xml'; choose from "));
}
