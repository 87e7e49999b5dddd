//! Rules that the compiler does not check: which module may use which, sizes of files and functions, where `unsafe` is allowed.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 420;
/// The aim is 70; one match over all warnings is a little longer.
const FUNCTION_LINES_MAX: usize = 75;
/// The files that may contain `unsafe`, each with a reason in its first lines.
const UNSAFE_FILES: [&str; 22] = [
    "cuda/context.rs",
    "cuda/driver.rs",
    "cuda/kernel.rs",
    "cuda/locked.rs",
    "cuda/memory.rs",
    "cuda/module.rs",
    "cuda/plain_read.rs",
    "cuda/stream.rs",
    "sys/arena.rs",
    "sys/connect.rs",
    "sys/counters.rs",
    "sys/ending.rs",
    "sys/file_map.rs",
    "sys/files.rs",
    "sys/mapping.rs",
    "sys/poll.rs",
    "sys/shm.rs",
    "sys/signal.rs",
    "sys/socket.rs",
    "sys/tcp.rs",
    "sys/terminal.rs",
    "sys/uring/mod.rs",
];
/// The layers of modules, lowest first. A module may use those of lower layers, but no other of its own layer. Files are
/// listed with their extension. `lib.rs`, `main.rs`, `fuzzing.rs`, `testing.rs` and `bin` may use all.
const LAYERS: [&[&str]; 9] = [
    &["units.rs", "error.rs", "status.rs", "text.rs", "url.rs"],
    &["sys", "stats", "python"],
    &["http", "result", "load", "cuda"],
    &["ledger"],
    &["cli", "report"],
    &["run"],
    &["engine", "server", "l2"],
    &["saved", "mock"],
    &["commands.rs"],
];
/// Lower layers that a module has no use for.
const NEVER: [(&str, &str); 10] = [
    ("engine", "cuda"),
    ("l2", "cuda"),
    ("report", "cuda"),
    ("mock", "l2"),
    ("ledger", "cuda"),
    ("cli", "ledger"),
    ("report", "ledger"),
    ("run", "ledger"),
    ("cli", "http"),
    ("cli", "cuda"),
];
/// The modules of `engine`, lowest first: each may use those before it.
const ENGINE_ORDER: [&str; 19] = [
    "api_key",
    "failure",
    "timestamp",
    "template_kwargs",
    "args",
    "config",
    "hub_cache",
    "ask",
    "tokens",
    "workload",
    "flags",
    "settings",
    "stream",
    "samples",
    "wire",
    "run",
    "results",
    "report",
    "bench",
];

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let relative = |path: &PathBuf| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    rust_files(&root)
        .iter()
        .map(|path| (relative(path), fs::read_to_string(path).unwrap()))
        .collect()
}

/// A file without its unit tests and other items for tests.
fn shipped(text: &str) -> String {
    let whole = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut parts = whole.split("#[cfg(test)]\n");
    let mut shipped = parts.next().unwrap().to_owned();
    for part in parts {
        // One line, such as `mod tests;`, or a block that ends at the margin.
        let line = part.find('\n').unwrap_or(part.len());
        let end = match part[..line].ends_with('{') {
            true => part.find("\n}\n").map_or(part.len(), |at| at + 3),
            false => line,
        };
        shipped.push_str(&part[end..]);
    }
    shipped
}

/// Whether the text uses a top-level module: `crate::NAME` as a whole word, also in braces.
fn uses(text: &str, module: &str) -> bool {
    let name = module.trim_end_matches(".rs");
    let is_word = |text: &str, at: usize| {
        let ends = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        text[at..].starts_with(name)
            && ends(text[at + name.len()..].chars().next())
            && ends(text[..at].chars().next_back())
    };
    text.match_indices("crate::").any(|(at, found)| {
        let rest = &text[at + found.len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 1;
                let end = list.find(|c| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    depth == 0
                });
                let list = &list[..end.unwrap_or(list.len())];
                list.match_indices(name).any(|(at, _)| is_word(list, at))
            }
            None => is_word(rest, 0),
        }
    })
}

#[test]
fn modules_use_only_the_layers_below_their_own() {
    for (file, text) in sources() {
        let module = file.split('/').next().unwrap();
        if ["lib.rs", "main.rs", "fuzzing.rs", "testing.rs", "bin"].contains(&module) {
            continue;
        }
        let is_test = file.ends_with("tests.rs") || file.contains("/tests/") || file.ends_with("testing.rs");
        let is_test = is_test || file == "cli/table_rules.rs" || file == "report/golden.rs";
        let layer = LAYERS.iter().position(|layer| layer.contains(&module));
        let layer = layer.unwrap_or_else(|| panic!("src/{file} has no place in LAYERS"));
        let above = LAYERS[layer..].iter().flat_map(|layer| layer.iter());
        let never = NEVER.iter().filter(|(user, _)| *user == module).map(|(_, used)| used);
        for other in above.chain(never).filter(|other| **other != module && !is_test) {
            assert!(!uses(&shipped(&text), other), "src/{file} must not use {other}");
        }
    }
}

#[test]
fn every_form_of_use_is_detected() {
    for text in [
        "use crate::cli::Format;",
        "use crate::{report, cli};",
        "crate::cli::parse()",
        "use crate::{\n    cli,\n};",
        "use crate::{engine::{a, b}, cli};",
    ] {
        assert!(uses(text, "cli"), "{text}");
    }
    for text in [
        "use crate::client;",
        "use crate::{clients, mock::cli_};",
        "use super::cli;",
    ] {
        assert!(!uses(text, "cli"), "{text}");
    }
}

/// Paths to other modules of `engine` must begin with `crate::engine::`, so that this test finds them.
#[test]
fn modules_of_the_engine_use_only_those_below_them() {
    for (file, text) in sources() {
        let Some(inside) = file.strip_prefix("engine/") else {
            continue;
        };
        let module = inside.split('/').next().unwrap().trim_end_matches(".rs");
        let is_test = module == "testing" || inside.contains("/tests/") || inside.ends_with("/tests.rs");
        if is_test || module == "mod" {
            continue;
        }
        let place = ENGINE_ORDER.iter().position(|name| *name == module);
        let place = place.unwrap_or_else(|| panic!("src/engine/{inside} has no place in ENGINE_ORDER"));
        let text = shipped(&text);
        let depth = inside.trim_end_matches("/mod.rs").split('/').count();
        let climbs = "super::".repeat(depth);
        assert!(!text.contains(&climbs), "src/{file} leaves its module with super");
        for above in &ENGINE_ORDER[place + 1..] {
            let used = text
                .match_indices(&format!("crate::engine::{above}"))
                .any(|(at, path)| {
                    let next = text[at + path.len()..].chars().next();
                    !next.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
                });
            assert!(!used, "src/{file} must not use {above}");
        }
    }
}

/// Reads from a bare socket have no deadline; those of `sys::stream` have one. The mock engine's event loop is exempt: it uses
/// non-blocking sockets.
#[test]
fn sockets_are_read_through_streams_with_limits() {
    const BARE: [&str; 3] = ["TcpStream", "UnixStream", "to_socket_addrs"];
    const MAY: [&str; 3] = ["sys/", "mock/", "l2/adapters/bridge/link.rs"];
    for (file, text) in sources() {
        let is_for_tests = ["tests", "testing.rs"].iter().any(|part| file.contains(part));
        if is_for_tests || MAY.iter().any(|place| file.starts_with(place)) {
            continue;
        }
        for word in BARE {
            assert!(
                !shipped(&text).contains(word),
                "src/{file} uses {word}; take sys::stream"
            );
        }
    }
}

#[test]
fn unsafe_is_only_in_the_listed_files() {
    for (file, text) in sources() {
        let has = text
            .lines()
            .any(|line| !line.trim_start().starts_with("//") && line.contains("unsafe "));
        assert_eq!(has, UNSAFE_FILES.contains(&file.as_str()), "src/{file}");
    }
}

#[test]
fn files_begin_with_a_header_and_are_not_too_long() {
    for (file, text) in sources() {
        assert!(text.starts_with("//! "), "src/{file} must begin with a `//! ` header");
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "src/{file} has {lines} lines");
    }
}

#[test]
fn functions_are_not_too_long() {
    for (file, text) in sources() {
        let mut open: Option<(usize, usize, String)> = None;
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let code = line.trim_start();
            let begins = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn "]
                .iter()
                .any(|word| code.starts_with(word));
            if begins && open.is_none() && !code.ends_with(';') {
                open = Some((number, indent, code.to_owned()));
            }
            if let Some((begin, depth, name)) = &open
                && indent == *depth
                && line.trim_end().ends_with('}')
            {
                let lines = number - begin + 1;
                assert!(lines <= FUNCTION_LINES_MAX, "src/{file}: {name} has {lines} lines");
                open = None;
            }
        }
    }
}

#[test]
fn only_report_and_the_shell_write_text() {
    for (file, text) in sources() {
        // Files of unit tests are exempt.
        let may = file == "run/shell.rs" || file.starts_with("report/") || file.ends_with("tests.rs");
        let writes = ["println!", "eprintln!", "print!(", "io::stdout", "io::stderr"];
        let found = writes.iter().find(|word| shipped(&text).contains(*word));
        assert!(may || found.is_none(), "src/{file} uses {found:?}");
    }
}

fn document(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Scripts match on the codes of warnings, so docs/formats.md must list each.
#[test]
fn every_warning_code_is_documented() {
    let formats = document("docs/formats.md");
    let mut codes = 0;
    for (file, text) in sources() {
        if !file.ends_with("/warning.rs") && !file.contains("/warning/") {
            continue;
        }
        for line in shipped(&text).lines() {
            let literal = line.split_once("=> \"").and_then(|(_, rest)| rest.strip_suffix("\","));
            let Some(code) = literal.filter(|text| text.chars().all(|c| c.is_ascii_lowercase() || c == '-')) else {
                continue;
            };
            codes += 1;
            assert!(
                formats.contains(&format!("`{code}`")),
                "docs/formats.md lacks `{code}` of src/{file}"
            );
        }
    }
    assert!(codes > 30, "only {codes} codes were found");
}

#[test]
fn every_dependency_is_explained() {
    let reasons = document("docs/dependencies.md");
    let manifest = document("Cargo.toml");
    let mut listed = false;
    let mut crates = 0;
    for line in manifest.lines() {
        if line.starts_with('[') {
            listed = line == "[dependencies]" || line == "[dev-dependencies]";
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| listed) {
            crates += 1;
            let named = reasons.lines().filter(|line| line.starts_with("| ")).any(|line| {
                let first = line.split('|').nth(1).unwrap_or_default();
                first.split([' ', ',', '(', ')']).any(|word| word == name)
            });
            assert!(named, "docs/dependencies.md lacks {name}");
        }
    }
    assert!(crates > 10, "only {crates} crates were found");
}

#[test]
fn every_fuzz_target_is_built_and_has_a_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |directory: &str| -> Vec<String> {
        let entries = fs::read_dir(root.join(directory))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut names: Vec<String> = entries
            .map(|path| path.file_stem().unwrap().to_string_lossy().into())
            .collect();
        names.sort();
        names
    };
    let manifest = document("fuzz/Cargo.toml");
    let mut built: Vec<String> = manifest
        .split("[[bin]]")
        .skip(1)
        .map(|table| table.split('"').nth(1).unwrap().to_owned())
        .collect();
    built.sort();
    assert!(built.len() > 10, "only {} targets were found", built.len());
    assert_eq!(built, names("fuzz_targets"));
    assert_eq!(built, names("corpus"));
    for target in built {
        assert!(
            !names(&format!("corpus/{target}")).is_empty(),
            "corpus/{target} is empty"
        );
    }
}

/// A module with parts is `name/mod.rs`, never `name.rs` beside `name/`.
#[test]
fn modules_with_parts_are_folders() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["src", "tests/cases", "tests/support"];
    for path in folders.iter().flat_map(|folder| rust_files(&root.join(folder))) {
        assert!(
            !path.with_extension("").is_dir(),
            "{} stands beside its folder",
            path.display()
        );
    }
}
