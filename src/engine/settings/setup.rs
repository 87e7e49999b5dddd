//! Turns a command line into the settings of a run, with config file, questions, servers and checks; or exports them.

use std::path::{Path, PathBuf};

use super::completed::{asked_tokens, checked, completed};
use super::file;
use super::interactive::{Action, Interview};
use super::items::{Item, needs_cache_size, workload_items};
use super::load;
use super::staircase::is_asked_for;
use crate::cli::PROGRAM;
use crate::engine::args::EngineArgs;
use crate::engine::ask::discover::{CacheServer, Engine};
use crate::engine::config::{CacheFacts, EngineConfig, base_url};
use crate::engine::flags::TABLE;
use crate::error::Error;
use crate::http::api_key::ApiKey;
use crate::http::lmcache_key;
use crate::report::prompt::{Ended, Heading, Prompter, Reply};
use crate::url::literal_path_note;

/// Paths added to the URL of an engine or server.
const PAGES: [&str; 3] = ["/chat/completions", "/completions", "/v1/models"];
const EXPORT_DEFAULT: &str = "bench_config.json";

/// What to do for a command line.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// Settings that can be run, notes to show before the run, and the key of the LMCache server.
    Run {
        config: Box<EngineConfig>,
        notes: Vec<String>,
        lmcache_key: Option<ApiKey>,
    },
    /// A config file was written.
    Exported,
    /// The user quit the questions.
    Quit,
}

/// Finds the settings of a run. Asks questions only if a required setting is missing and they are not turned off.
pub fn resolve(args: &EngineArgs, key: &ApiKey, prompter: &mut Prompter) -> Result<Outcome, Error> {
    let (mut from_file, mut notes) = match &args.config {
        Some(path) => file::load(path)?,
        None => Default::default(),
    };
    if let Some(name) = args.workload.or(from_file.workload) {
        file::clear_other_workloads(&mut from_file, name);
    }
    let given = args.clone().or(from_file);
    load::check_given(&given)?;
    let missing = missing(&given);
    if !missing.is_empty() && is_asked_for(&given) {
        return Err(Error::Settings(format!(
            "{PROGRAM} engine: missing {}; --staircase asks no questions, so give it",
            missing.join(", ")
        )));
    }
    let may_ask = args.config.is_none() && args.export_config.is_none() && args.no_interactive != Some(true);
    if !missing.is_empty() && may_ask {
        return interview(&given, key, prompter);
    }
    if !missing.is_empty() {
        let (missing, asked) = (
            missing.join(", "),
            if args.config.is_some() {
                "--config"
            } else {
                "--no-interactive"
            },
        );
        let without = if args.export_config.is_some() {
            "--export-config"
        } else {
            asked
        };
        return Err(Error::Settings(format!(
            "{PROGRAM} engine: missing {missing}; give it, or leave {without} out to be asked for it"
        )));
    }
    let completed = completed(&given, key)?;
    if let Some(path) = &args.export_config {
        export(&completed.args, path, prompter)?;
        return Ok(Outcome::Exported);
    }
    let config = completed.checked()?;
    notes.extend(unused(args));
    notes.extend(literal_paths(&config));
    Ok(Outcome::Run {
        config: Box::new(config),
        notes,
        lmcache_key: completed.lmcache_key,
    })
}

/// The required flags that are missing.
fn missing(args: &EngineArgs) -> Vec<String> {
    let present = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let sized = args.tokens_per_gb_kvcache.is_some() || present(&args.lmcache_url) || !needs_cache_size(args);
    let mut missing = Vec::new();
    if args.engine_url.is_none() {
        missing.push("--engine-url".to_owned());
    }
    if args.workload.is_none() && !is_asked_for(args) {
        missing.push("--workload".to_owned());
    }
    if !sized {
        missing.push("--tokens-per-gb-kvcache or --lmcache-url".to_owned());
    }
    let of_workload = workload_items(args.workload).into_iter();
    let of_workload = of_workload.filter(|item| item.required && !item.is_set(args));
    missing.extend(of_workload.map(|item| format!("--{}", item.flag)));
    missing
}

/// Refuses a URL with a user or password, because reports and messages show URLs, and a malformed one, which would be read as
/// a host name or with the default port.
pub(super) fn check_address(flag: &str, url: Option<&str>) -> Result<(), Error> {
    let Some(url) = url else { return Ok(()) };
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let port = authority.rsplit_once(']').map_or(authority, |(_, after)| after);
    let port = port.split_once(':').map_or("", |(_, port)| port);
    let why = if authority.contains('@') {
        let variable = match flag {
            "--lmcache-url" => "LMCACHE_API_KEY",
            _ => "OPENAI_API_KEY",
        };
        format!("holds a user or a password, which is not sent anyway; leave it out, a key goes into {variable}")
    } else if authority.is_empty() {
        "names no host; give one as in http://host:8000".to_owned()
    } else if let Some(odd) = url.chars().find(|c| !c.is_ascii_graphic()) {
        format!("{url:?} holds {odd:?}, which no address can have; leave it out, or give it as %XX (in a host as xn--)")
    } else if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        format!("{url} begins with {scheme}://; give an address of http:// or https://")
    } else if !port.is_empty() && port.parse::<u16>().is_err() {
        format!("{url} has the port {port}; give a number up to 65535")
    } else if let Some(page) = PAGES.iter().find(|page| rest.trim_end_matches('/').ends_with(**page)) {
        format!("{url} ends in {page}, which is added to it; leave that out")
    } else {
        return Ok(());
    };
    Err(Error::Settings(format!("{flag} {why}")))
}

/// A note about typed settings that the workload ignores. LMCache has none.
fn unused(args: &EngineArgs) -> Vec<String> {
    let Some(name) = args.workload else {
        return Vec::new();
    };
    let mut others = args.clone();
    // What this clears was typed without effect.
    file::clear_other_workloads(&mut others, name);
    let lost = TABLE
        .specs()
        .into_iter()
        .map(|spec| (spec.long, spec.long.replace('-', "_")))
        .filter(|(_, key)| args.value(key) != others.value(key))
        .map(|(flag, _)| format!("--{flag}"));
    let lost: Vec<String> = lost.collect();
    if lost.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "{} has no effect with the workload {}",
        lost.join(", "),
        name.text()
    )]
}

/// Notes about paths such as `~/x` that the shell did not expand: the file is not written where the user expects.
fn literal_paths(config: &EngineConfig) -> Vec<String> {
    let output = &config.output;
    let folder = (output.csv || output.json_summary).then_some(&output.folder);
    let given = [
        ("--output-dir", folder),
        ("--requests-jsonl", output.requests_jsonl.as_ref()),
    ];
    let note = |(flag, path): (&str, Option<&PathBuf>)| literal_path_note(flag, path?);
    given.into_iter().filter_map(note).collect()
}

fn export(args: &EngineArgs, path: &Path, prompter: &mut Prompter) -> Result<(), Error> {
    checked(args, CacheFacts::default())?;
    file::write(path, &file::render(args, &file::exported_items(args)))?;
    let saved = format!("Configuration exported to {}", path.display());
    prompter.saved("", &saved, &replay(path)).map_err(unwritable)
}

fn replay(path: &Path) -> String {
    format!("{PROGRAM} engine --engine-url <URL> --config {}", path.display())
}

fn unwritable(ended: Ended) -> Error {
    match ended {
        Ended::Failed(cause) => Error::Environment(format!(
            "could not ask for the settings: {cause}; give them as flags, with --no-interactive"
        )),
        Ended::Cancelled | Ended::EndOfInput => Error::Internal("a message was cancelled".into()),
    }
}

/// Asks for missing settings and does what the user chooses.
fn interview(given: &EngineArgs, key: &ApiKey, prompter: &mut Prompter) -> Result<Outcome, Error> {
    let mut interview = Interview::new(given);
    let outcome = prompter
        .title(&format!("{PROGRAM} engine — Interactive Setup"))
        .and_then(|()| interview.run(prompter));
    let action = match outcome {
        Ok(action) => action,
        Err(ended) => return cancelled(ended, &interview.args, prompter),
    };
    match action {
        Action::Start => {
            let completed = completed(&interview.args, key)?;
            let config = completed.checked()?;
            Ok(Outcome::Run {
                notes: literal_paths(&config),
                config: Box::new(config),
                lmcache_key: completed.lmcache_key,
            })
        }
        Action::Export => match export_interview(interview, key, prompter)? {
            Ok(()) => Ok(Outcome::Exported),
            Err(ended) => cancelled(ended, given, prompter),
        },
        Action::Quit => {
            let shown = prompter
                .blank_line()
                .and_then(|()| prompter.remark("Quit without running."));
            shown.map_err(unwritable)?;
            Ok(Outcome::Quit)
        }
    }
}

/// Quitting is no error. An input that ends is one: a script with too few answers.
fn cancelled(ended: Ended, args: &EngineArgs, prompter: &mut Prompter) -> Result<Outcome, Error> {
    if let Ended::Failed(_) = ended {
        return Err(unwritable(ended));
    }
    let shown = prompter.blank_line().and_then(|()| prompter.remark("Setup cancelled."));
    shown.map_err(unwritable)?;
    match ended {
        Ended::EndOfInput => {
            let missing = missing(args);
            let what = if missing.is_empty() {
                "what to do with them".to_string()
            } else {
                missing.join(", ")
            };
            Err(Error::Settings(format!(
                "{PROGRAM} engine: the input ended before the settings were complete: missing {what}; give the flags, or \
                 answer on a terminal"
            )))
        }
        _ => Ok(Outcome::Quit),
    }
}

/// Exports the answers. Settings that a server did not supply are left out with a warning, and the exit code is 1.
fn export_interview(interview: Interview, key: &ApiKey, prompter: &mut Prompter) -> Result<Result<(), Ended>, Error> {
    let Interview {
        mut args, mut order, ..
    } = interview;
    let mut unresolved = Vec::new();
    let mut warn = |prompter: &mut Prompter, text: String| {
        unresolved.push(text.clone());
        prompter.remark(&format!("Warning: {text}"))
    };
    let base_url = base_url(args.engine_url.as_deref().unwrap_or_default());
    let engine = Engine {
        base_url: &base_url,
        key,
    };
    if args.model.as_ref().is_none_or(|model| model.is_empty()) {
        match engine.first_model() {
            Ok(model) => args.model = Some(model),
            Err(why) => warn(prompter, format!("could not auto-detect model: {why}")).map_err(unwritable)?,
        }
    }
    let server = args
        .lmcache_url
        .clone()
        .filter(|_| args.tokens_per_gb_kvcache.is_none() && needs_cache_size(&args));
    if let Some(url) = server {
        let tokens = lmcache_key::for_url(Some(&url)).map_err(|error| error.to_string());
        let tokens = tokens.and_then(|key| {
            let server = CacheServer {
                url: &url,
                key: key.as_ref(),
            };
            asked_tokens(server, args.model.as_deref().unwrap_or_default(), engine)
        });
        match tokens {
            Ok((tokens, _)) => args.tokens_per_gb_kvcache = Some(tokens),
            Err(why) => {
                warn(prompter, format!("could not resolve tokens_per_gb from LMCache: {why}")).map_err(unwritable)?;
            }
        }
    }
    let heading = Heading {
        title: "Export filename",
        about: "",
        back: false,
    };
    let path = match prompter.text(&heading, EXPORT_DEFAULT) {
        Ok(Reply::Value(name)) => PathBuf::from(name),
        Ok(Reply::Back) => return Ok(Ok(())),
        Err(ended) => return Ok(Err(ended)),
    };
    append_unasked(&mut order, &args);
    file::write(&path, &file::render(&args, &order))?;
    let saved = format!("Saved to {}", path.display());
    prompter
        .blank_line()
        .and_then(|()| prompter.saved("  ", &saved, &replay(&path)))
        .and_then(|()| prompter.blank_line())
        .map_err(unwritable)?;
    if unresolved.is_empty() {
        return Ok(Ok(()));
    }
    Err(Error::Environment(format!(
        "{} was written but is incomplete: {}",
        path.display(),
        unresolved.join("; ")
    )))
}

/// Appends settings from servers, then the defaults. URLs are left out.
fn append_unasked(order: &mut Vec<Item>, args: &EngineArgs) {
    order.retain(|item| !["engine-url", "lmcache-url"].contains(&item.flag));
    let all = file::exported_items(args);
    let found = ["model", "tokens-per-gb-kvcache"].into_iter();
    let found = found.filter_map(|flag| all.iter().find(|item| item.flag == flag && item.is_set(args)));
    for item in found.chain(&all) {
        if !order.iter().any(|listed| listed.flag == item.flag) {
            order.push(*item);
        }
    }
}
