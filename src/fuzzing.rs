//! Public access for the targets of `fuzz/` to parsers that are private otherwise. Built only for fuzzing, and free of logic of
//! its own.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;

use crate::engine::args::Endpoint;
use crate::engine::ask::clear::lmcache;
use crate::engine::ask::lookups::LookupCounts;
use crate::engine::ask::{discover, prompt_sources};
use crate::engine::flags::EngineArgs;
use crate::engine::settings::file;
use crate::engine::template_kwargs::TemplateKwargs;
use crate::engine::tokens::library::{Library, Special};
use crate::engine::tokens::reply;
use crate::engine::tokens::special::SpecialTokens;
use crate::engine::tokens::template::ChatTemplate;
use crate::engine::tokens::vocabulary::Separator;
use crate::engine::workload::custom;
use crate::engine::workload::custom::intake::Content;
use crate::engine::workload::rag_qa_quality::dataset::Dataset;
use crate::http::trust;
use crate::l2::adapters::aesgcm::cipher::Keys;
use crate::l2::adapters::bridge::frame;
use crate::l2::adapters::raw_block::checkpoint::{self, Header};
use crate::l2::adapters::raw_block::config::RawBlockConfig;
use crate::l2::adapters::raw_block::geometry::{Geometry, slot_header_matches};
use crate::l2::adapters::resp::cluster::{Cluster, NODES_MAX};
use crate::l2::adapters::resp::wire;
use crate::l2::adapters::s3;
use crate::l2::adapters::s3::http::HttpConnection;
use crate::l2::adapters::service::link::{Address, Link};
use crate::l2::spec::parse_specs;
use crate::ledger::tiers::{l1_objects, stores_pending};
use crate::mock::engine::{ask, http as engine_http, tokens as words};
use crate::mock::server::api_keys::ApiKeys;
use crate::mock::server::{descriptor, engine, http as server_http, request};
use crate::server::rpc::wire::Wire;
use crate::server::rpc::zmtp::{self, Fault};
use crate::server::rpc::{ChunkLayout, Generation, Inline};
use crate::sys::deadline::Deadline;
use crate::sys::stream::Stream;

// ---- engine -----------------------------------------------------------------------------------------------------------

/// What a list of models and a cache server's status say, also before and after its L1 is cleared.
pub fn discovered(answer: &Value, model: &str) {
    let _ = discover::first_id(answer);
    let _ = discover::names_beside(answer, model);
    let _ = discover::most_tokens(answer, model);
    let _ = discover::from_status(answer, model, || discover::names_beside(answer, model));
    let _ = discover::cache_facts(answer);
    let _ = (l1_objects(answer), stores_pending(answer));
    let _ = lmcache::l2(answer);
}

/// Counters of a page of metrics, by their key in the report.
pub fn counters(page: &str) -> Vec<(&'static str, f64)> {
    let (sources, _) = prompt_sources::sources(page);
    let (tiers, _) = prompt_sources::lookups(page);
    let (lookups, _) = LookupCounts::of(page);
    let lookups = lookups.since(&LookupCounts::of("").0).larger();
    let lookups = lookups.map(|(_, tokens)| [("requested", tokens.requested), ("hit", tokens.hit)]);
    let counts = sources.into_iter().chain(tiers);
    let counts = counts.filter_map(|(key, count)| Some((key, count?)));
    counts.chain(lookups.into_iter().flatten()).collect()
}

pub fn config_file(path: &Path) -> Result<(EngineArgs, usize), String> {
    let (args, notes) = file::load(path).map_err(|error| error.to_string())?;
    Ok((args, notes.len()))
}

/// The messages of a file of prompts that comes in pieces of this size.
pub fn prompts(text: &[u8], piece: usize, completions: bool) -> Result<Vec<String>, String> {
    let endpoint = if completions {
        Endpoint::Completions
    } else {
        Endpoint::Chat
    };
    let loaded = custom::read(text, piece, endpoint, Some(1))?;
    let messages = loaded.items.into_iter().filter_map(|item| match item.content {
        Content::Messages(messages) => Some(messages.into_string()),
        _ => None,
    });
    Ok(messages.collect())
}

/// How many records a dataset of questions has, and how many of the first ones can be used. `lines`: a record a line.
pub fn rag_dataset(text: &[u8], lines: bool) -> Option<(u64, u64)> {
    let read = if lines { Dataset::of_lines } else { Dataset::of_list };
    let dataset = read(text, u64::MAX).ok()?;
    Some((dataset.records, dataset.samples.len() as u64))
}

/// The settings as a file again.
pub fn rendered(args: &EngineArgs) -> String {
    file::render(args, &file::exported_items(args))
}

/// What an engine's answer about tokens says: a count, ids of a short text, the text of ids.
pub fn token_reply(answer: &[u8]) -> (Option<u64>, Option<Vec<u32>>, Option<String>) {
    let count = reply::count(answer).ok().and_then(Result::ok);
    let ids = reply::ids::<{ reply::IDS_MAX }>(answer).ok().and_then(Result::ok);
    (count, ids, reply::text(answer).ok().and_then(Result::ok))
}

/// What a chat template puts before the text of a user, with a variable of its own. Needs a stack of some hundred MiB.
pub fn chat_head(template: &str, variable: &str) -> Result<String, String> {
    let kwargs = TemplateKwargs::parse([variable])?;
    ChatTemplate::of_source(template).head_on_this_stack(&kwargs)
}

/// The text of each of `count` ids with "\n|" between them.
pub fn token_texts(text: &str, count: usize) -> Option<Vec<&str>> {
    let texts = ["\n|", "\n|\n|", "\n|\n|\n|"].map(str::to_owned);
    Separator::from_texts(Vec::new(), &texts)?.texts(text, count)
}

/// Reads a tokenizer.json, and has it encode and decode a text.
pub fn tokenizer(bytes: &[u8], text: &str) -> bool {
    let Ok(tokenizer) = Library::read(bytes) else {
        return false;
    };
    if let Ok(ids) = tokenizer.encode(text) {
        let _ = tokenizer.decode(&ids, Special::Skipped);
    }
    true
}

pub fn special_tokens(path: &Path) -> usize {
    SpecialTokens::of_config(path).texts().count()
}

pub fn authorities(path: &Path) -> bool {
    trust::Authorities::from_pem(path).is_ok()
}

// ---- l2 ---------------------------------------------------------------------------------------------------------------

fn geometry() -> &'static Geometry {
    static GEOMETRY: OnceLock<Geometry> = OnceLock::new();
    GEOMETRY.get_or_init(|| {
        let spec = r#"{"type": "raw_block", "device_path": "/d", "slot_bytes": 8192, "meta_total_bytes": 2097152}"#;
        let parsed = parse_specs(&[spec.to_owned()]).expect("a spec of ours");
        let config = parsed.first.kind.get::<RawBlockConfig>().expect("raw_block is native");
        // A sparse file may claim to be as large.
        Geometry::new(config, || Ok(1 << 40)).expect("a layout of ours")
    })
}

/// Whether a container's header is valid, and its payload too.
pub fn checkpoint_header(bytes: &[u8]) -> bool {
    match Header::read(geometry(), bytes) {
        Ok(header) => header.check(&bytes[checkpoint::HEADER_BYTES..]).is_ok(),
        Err(_) => false,
    }
}

/// What a checkpoint that was read would be written as, and how many of its entries were impossible.
pub fn checkpoint(payload: &[u8]) -> Option<(Vec<u8>, u64)> {
    let recovered = checkpoint::parse(geometry(), payload).ok()?;
    Some((checkpoint::render(geometry(), &recovered.index), recovered.impossible))
}

pub fn slot_header(header: &[u8], identity: [u8; 8], object_bytes: u64) -> bool {
    slot_header_matches(header, identity, object_bytes)
}

pub struct Cipher(Keys);

impl Cipher {
    pub fn new(key_bytes: usize) -> Cipher {
        let mut keys = Keys::new(b"a master key", key_bytes);
        keys.prepare("").expect("a key for no salt");
        Cipher(keys)
    }

    pub fn seal(&self, plain: &[u8], frame: &mut [u8]) -> Result<(), String> {
        self.0.seal("", plain, frame)
    }

    pub fn open(&self, frame: &mut [u8], plain: &mut [u8]) -> Result<(), String> {
        self.0.open("", frame, plain)
    }
}

/// All frames in `received`: how many there were, and how many of them were understood.
pub fn bridge_frames(received: &[u8]) -> (usize, usize) {
    let (mut rest, mut frames, mut understood) = (received, 0, 0);
    while let Ok(Some(end)) = frame::first_frame(rest) {
        understood += usize::from(frame::reply(&rest[..end]).is_ok());
        frames += 1;
        rest = &rest[end..];
    }
    (frames, understood)
}

pub fn credentials(text: &str, profile: &str) -> bool {
    s3::credentials::section(text, profile).is_some()
}

/// Elements of an S3 document, and what one operation makes of it as an answer.
pub fn s3_document(status: u16, headers: &[(&str, &str)], text: &str) {
    use s3::refusal::RequestKind;
    let _ = s3::answer::root(text);
    for name in ["UploadId", "ETag", "Code", "Message"] {
        let _ = s3::answer::filled(text, name);
    }
    let head = s3::http::Head::made(status, "Reason", headers);
    let all = [
        RequestKind::Put,
        RequestKind::Create,
        RequestKind::Part,
        RequestKind::Complete,
        RequestKind::Abort,
        RequestKind::Head,
        RequestKind::Get,
    ];
    if let Err(refusal) = all[usize::from(status) % all.len()].check(&head, text) {
        let _ = (refusal.is_passing(), refusal.is_missing_object());
        let said = format!("{refusal}{}", refusal.advice());
        assert!(!said.contains(char::is_control), "{said:?}");
    }
}

pub fn content_range(range: &str, begin: u64, body_bytes: u64) -> Result<u64, String> {
    s3::answer::total_of(range, begin, body_bytes)
}

/// Replies of a server until there are no more, as messages show them.
pub fn resp_replies(received: &[u8], piece: usize, mut on_reply: impl FnMut(String)) {
    let mut connection = wire::Connection::over(Link::memory(received, piece));
    while let Ok(reply) = connection.reply() {
        on_reply(reply.shown());
    }
}

/// Answers to GET until there are no more, each with the value that came.
pub fn resp_values(received: &[u8], piece: usize, slot: &mut [u8], mut on_value: impl FnMut(&wire::Body, &[u8])) {
    let mut connection = wire::Connection::over(Link::memory(received, piece));
    while let Ok(body) = connection.reply_into(slot) {
        let bytes = match &body {
            wire::Body::Filled => slot.len(),
            wire::Body::Short(bytes) => *bytes as usize,
            _ => 0,
        };
        on_value(&body, &slot[..bytes]);
        if matches!(body, wire::Body::Longer(_)) {
            break;
        }
    }
}

/// Whether the first reply is a map of a cluster; errors behind it redirect.
pub fn cluster_map(received: &[u8]) -> bool {
    let from = Arc::new(Address::new("seed", 6379, "port").expect("an address of ours"));
    let cluster = Cluster::new(vec![Arc::clone(&from)]);
    let mut connection = wire::Connection::over(Link::memory(received, usize::MAX));
    let Ok(reply) = connection.reply() else { return false };
    let learned = cluster.learn(&reply, &from);
    let primaries = cluster.primaries();
    assert!(primaries.len() <= NODES_MAX && primaries.is_empty() != learned);
    let _ = cluster.owner(b"some{key}");
    while let Ok(wire::Reply::Error(text)) = connection.reply() {
        let _ = cluster.redirection(&text, &from);
    }
    learned
}

/// Status, headers and bodies of a server's answers, until the connection is of no more use. A body that `place` does not
/// hold counts as one byte longer.
pub fn s3_answers(received: &[u8], piece: usize, method: &str, place: &mut [u8]) -> Vec<(u16, u64, Vec<u8>, bool)> {
    let mut connection = HttpConnection::over(Link::memory(received, piece));
    let mut answers = Vec::new();
    while connection.reusable {
        let Ok(head) = connection.head(method) else { break };
        let _ = (head.content_length(), head.compression(), head.is_page());
        if head.status >= 300 {
            let Ok(text) = connection.text(&head) else { break };
            answers.push((head.status, text.len() as u64, text.into_bytes(), connection.reusable));
        } else {
            let Ok(bytes) = connection.body_into(&head, place) else {
                break;
            };
            let held = usize::try_from(bytes).unwrap_or(usize::MAX).min(place.len());
            let body = if bytes > place.len() as u64 {
                &[][..]
            } else {
                &place[..held]
            };
            let bytes = bytes.min(place.len() as u64 + 1);
            answers.push((head.status, bytes, body.to_vec(), connection.reusable));
        }
    }
    answers
}

// ---- server -----------------------------------------------------------------------------------------------------------

/// Frames of a ZeroMQ peer: whether more of their message follow, and their bytes as far as they came, in pieces.
pub fn zmtp_frames(
    received: &[u8],
    piece: usize,
    socket_type: &str,
    mut on_frame: impl FnMut(bool),
    mut on_piece: impl FnMut(&[u8]),
) -> Result<(), String> {
    let wait = Deadline::after(Duration::from_secs(3600));
    let stream = Stream::memory(received, piece, wait);
    let mut connection = zmtp::Connection::greet(stream, socket_type, wait).map_err(|fault| kind_of(&fault))?;
    while let Ok(head) = connection.frame_header(wait) {
        on_frame(head.more);
        let mut left = head.bytes;
        while left > 0
            && let Ok(piece) = connection.piece(left, wait)
        {
            left -= piece.len() as u64;
            on_piece(piece);
        }
    }
    assert!(connection.is_broken(), "nothing can follow");
    Ok(())
}

/// Without the first bytes, which depend on the pieces.
fn kind_of(fault: &Fault) -> String {
    match fault {
        Fault::NotZmtp(_) => "no ZeroMQ".into(),
        other => format!("{other:?}"),
    }
}

// ---- the mocks --------------------------------------------------------------------------------------------------------

/// One payload of a request to the mock server, read as the kind says.
pub fn server_request(kind: u8, generation: Generation, payload: &[u8]) -> bool {
    match kind % 11 {
        0 => request::number(payload).is_ok(),
        1 => request::text(payload).is_ok(),
        2 => request::optional_number(payload).is_ok(),
        3 => request::binary(payload).is_ok(),
        4 => request::key(payload, generation).is_ok(),
        5 => request::block_ids(payload).is_ok(),
        6 => request::engine_registration(payload, generation, 256).is_ok(),
        7 => request::groups(payload).is_ok(),
        8 => request::kv_layout(payload).is_ok(),
        10 => request::ranges(payload).is_ok(),
        _ => descriptor::descriptors(payload, generation).is_ok(),
    }
}

/// How many descriptors of KV memory there are.
pub fn descriptors(payload: &[u8], generation: Generation) -> Result<usize, String> {
    let found = descriptor::descriptors(payload, generation);
    found.map(|found| found.len()).map_err(|malformed| malformed.0)
}

/// Chunks as the mock sends them inline.
pub fn chunk_data(form: Inline, layout: &ChunkLayout, fill: u8) -> Vec<u8> {
    engine::inline::chunk_data(form, layout, &mut |_, chunk| chunk.fill(fill))
}

/// The length of a request head to the mock engine, and of its body.
pub fn engine_head(input: &[u8]) -> Result<Option<(usize, usize)>, u16> {
    let head = engine_http::parse_head(input).map_err(|refusal| refusal.0)?;
    Ok(head.map(|head| (head.head_bytes, head.body_bytes)))
}

/// Tokens that the mock engine finds in a request's body.
pub fn engine_body(body: &[u8], chat: bool) -> Option<usize> {
    let _ = ask::Ids::parse(body);
    let body = ask::Body::parse(body).ok()?;
    let _ = (body.texts().len(), body.streams(), body.wants_running_usage());
    let _ = body.answer_tokens(16, Some(8));
    let tokens = body.prompt_tokens(chat, &words::Tokenizer::Words);
    tokens.ok().map(|tokens| tokens.len())
}

/// One request to the mock server's HTTP side.
pub fn server_http(mut stream: impl Read) -> io::Result<bool> {
    let keys = ApiKeys::new(vec!["k".to_owned()]);
    let request = server_http::read_request(&mut stream, &keys)?;
    let Some(request) = request else { return Ok(false) };
    let _ = server_http::check_query(&request.query);
    Ok(true)
}
