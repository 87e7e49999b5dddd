//! Ways in for the targets of `fuzz/`, to readers that nobody else needs to reach from outside. Built only for fuzzing; it must
//! never read anything itself.

use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

use crate::args::engine::EngineArgs;
use crate::engine::ask::{discover, server_counters};
use crate::engine::settings::file;
use crate::engine::{tokens, trust};
use crate::l2::adapters::aesgcm::cipher::Keys;
use crate::l2::adapters::bridge::frame;
use crate::l2::adapters::raw_block::checkpoint::{self, Header};
use crate::l2::adapters::raw_block::geometry::{Geometry, slot_header_matches};
use crate::l2::adapters::s3;
use crate::l2::spec::{AdapterKind, parse_specs};
use crate::mock::engine::{ask, http as engine_http, tokens as words};
use crate::mock::server::{chunk_pickle, descriptor, http as server_http, request};
use crate::server::rpc::{ChunkLayout, Generation};

// ---- engine -----------------------------------------------------------------------------------------------------------

/// What a list of models and a cache server's status say.
pub fn discovered(answer: &Value, model: &str) {
    let _ = discover::first_id(answer);
    let _ = discover::names_beside(answer, model);
    let _ = discover::from_status(answer, model, || discover::names_beside(answer, model));
    let _ = tokens::remote::counted(answer);
}

/// Counters of a page of metrics, by their key in the report.
pub fn counters(page: &str) -> Vec<(&'static str, f64)> {
    let (sources, _) = server_counters::sources(page);
    let (tiers, _) = server_counters::tiers(page);
    sources.into_iter().chain(tiers).collect()
}

pub fn config_file(path: &Path) -> Result<(EngineArgs, usize), String> {
    let (args, notes) = file::load(path).map_err(|error| error.to_string())?;
    Ok((args, notes.len()))
}

/// The settings as a file again.
pub fn rendered(args: &EngineArgs) -> String {
    file::render(args, &file::exported_items(args))
}

pub fn special_tokens(path: &Path) -> usize {
    tokens::special_tokens(path).len()
}

pub fn authorities(path: &Path) -> bool {
    trust::from_file(path.as_os_str()).is_ok()
}

// ---- l2 ---------------------------------------------------------------------------------------------------------------

fn geometry() -> &'static Geometry {
    static GEOMETRY: OnceLock<Geometry> = OnceLock::new();
    GEOMETRY.get_or_init(|| {
        let spec = r#"{"type": "raw_block", "device_path": "/d", "slot_bytes": 8192, "meta_total_bytes": 2097152}"#;
        let parsed = parse_specs(&[spec.to_owned()]).expect("a spec of ours");
        let AdapterKind::RawBlock(config) = parsed.first.kind else {
            panic!("raw_block is native");
        };
        // A sparse file may claim to be as large.
        Geometry::new(&config, || Ok(1 << 40)).expect("a layout of ours")
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

/// Elements of an S3 document, and every judgement over it as an answer.
pub fn s3_document(status: u16, headers: &[(&str, &str)], text: &str) {
    use s3::refusal::Asked;
    let _ = s3::answer::root(text);
    for name in ["UploadId", "ETag", "Code", "Message"] {
        let _ = s3::answer::filled(text, name);
    }
    let head = s3::http::Head::made(status, "Reason", headers);
    let all = [
        Asked::Put,
        Asked::Begin,
        Asked::Part,
        Asked::Complete,
        Asked::GiveUp,
        Asked::Head,
        Asked::Get,
    ];
    for asked in all {
        if let Err(refusal) = asked.judge(&head, text) {
            let _ = (refusal.is_passing(), refusal.is_missing_object());
            let said = format!("{refusal}{}", refusal.advice());
            assert!(!said.contains(char::is_control), "{said:?}");
        }
    }
}

pub fn content_range(range: &str, begin: u64, body_bytes: u64) -> Result<u64, String> {
    s3::answer::total_of(range, begin, body_bytes)
}

// ---- the mocks --------------------------------------------------------------------------------------------------------

/// One payload of a request to the mock server, read as the kind says.
pub fn server_request(kind: u8, generation: Generation, payload: &[u8]) -> bool {
    match kind % 10 {
        0 => request::number(payload).is_ok(),
        1 => request::text(payload).is_ok(),
        2 => request::optional_number(payload).is_ok(),
        3 => request::binary(payload).is_ok(),
        4 => request::key(payload, generation).is_ok(),
        5 => request::block_ids(payload).is_ok(),
        6 => request::engine_registration(payload, generation, 256).is_ok(),
        7 => request::groups(payload).is_ok(),
        8 => request::kv_layout(payload).is_ok(),
        _ => descriptor::descriptors(payload, generation).is_ok(),
    }
}

/// How many descriptors of KV memory there are.
pub fn descriptors(payload: &[u8], generation: Generation) -> Result<usize, String> {
    let found = descriptor::descriptors(payload, generation);
    found.map(|found| found.len()).map_err(|malformed| malformed.0)
}

/// Chunks as the mock sends them inline.
pub fn chunk_list(layout: &ChunkLayout, fill: u8) -> Vec<u8> {
    chunk_pickle::chunk_list(layout, &mut |_, chunk| chunk.fill(fill))
}

/// The length of a request head to the mock engine, and of its body.
pub fn engine_head(input: &[u8]) -> Result<Option<(usize, usize)>, u16> {
    let head = engine_http::parse_head(input).map_err(|refusal| refusal.0)?;
    Ok(head.map(|head| (head.head_bytes, head.body_bytes)))
}

/// Tokens that the mock engine finds in a request's body.
pub fn engine_body(body: &[u8], chat: bool) -> Option<usize> {
    let body = ask::Body::parse(body).ok()?;
    let _ = (body.texts().len(), body.streams(), body.wants_running_usage());
    let _ = body.answer_tokens(16, Some(8));
    let tokens = body.prompt_tokens(chat, &words::Tokenizer::Words);
    tokens.ok().map(|tokens| tokens.len())
}

/// One request to the mock server's HTTP side.
pub fn server_http(mut stream: impl Read) -> io::Result<bool> {
    let request = server_http::read_request(&mut stream)?;
    let Some(request) = request else { return Ok(false) };
    let _ = server_http::check_query(&request.query);
    Ok(true)
}
