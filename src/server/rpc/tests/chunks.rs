//! Captured chunks inside of messages, pickles and envelopes, are read, and written again byte for byte.

use serde_json::Value as Json;

use super::super::inline::{self, ChunkFrame, Form};
use super::super::msgpack::Malformed;
use super::super::*;
use super::golden::{EXCHANGES, field, fixtures, frames, numbers, text, unhex, value};

const PICKLES: [(&str, &str); 5] = fixtures![
    "pickle-float16",
    "pickle-bfloat16",
    "pickle-float32",
    "pickle-uint8",
    "pickle-int8",
];

fn shape_of(case: &Json) -> Vec<u64> {
    let sides = case["shape"].as_array().unwrap().iter();
    sides.map(|side| side.as_u64().unwrap()).collect()
}

pub fn read_all(pickle: &[u8], layout: &ChunkLayout) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut chunks = vec![vec![0; layout.chunk_bytes() as usize]; layout.chunks];
    let mut from = pickle;
    inline::read_chunks(
        &mut from,
        pickle.len() as u64,
        layout,
        Form::Torch,
        &mut |chunk, at, piece| {
            chunks[chunk][at as usize..at as usize + piece.len()].copy_from_slice(piece);
        },
    )?;
    Ok(chunks)
}

#[test]
fn chunk_pickles_are_written_and_read_as_captured() {
    for (file, json) in PICKLES {
        let json: Json = serde_json::from_str(json).unwrap();
        let dtype = Dtype::of_name(json["meta"]["dtype"].as_str().unwrap()).unwrap();
        for case in json["cases"].as_array().unwrap() {
            let chunks = frames(&case["chunks"]);
            let layout = ChunkLayout {
                dtype,
                shape: shape_of(case),
                chunks: chunks.len(),
            };
            let pickle = ChunkFrame::new(Inline::Pickle, &layout);
            let mut written = Vec::new();
            let mut source = |chunk: usize, visit: &mut dyn FnMut(&[u8])| {
                let (first, second) = chunks[chunk].split_at(3);
                visit(first);
                visit(second);
            };
            let done: Result<(), ()> = pickle.write(&mut source, &mut |piece| {
                written.extend_from_slice(piece);
                Ok(())
            });
            done.unwrap();
            assert_eq!(written, unhex(case["commit"].as_str().unwrap()), "{file}");
            assert_eq!(written.len() as u64, pickle.bytes(), "{file}");
            let retrieved = unhex(case["retrieve"].as_str().unwrap());
            assert_eq!(read_all(&retrieved, &layout).unwrap(), chunks, "{file}");
        }
    }
}

/// What was captured as `data` of COMMIT_STORE and PREPARE_RETRIEVE is read, and written again byte for byte.
#[test]
fn envelopes_are_written_and_read_as_captured() {
    let mut compared = 0;
    for (file, json) in EXCHANGES
        .iter()
        .filter(|(file, _)| file.contains("0.5.7") && file.contains("pickle"))
    {
        let json: Json = serde_json::from_str(json).unwrap();
        for exchange in json["exchanges"].as_array().unwrap() {
            let number = frames(&exchange["request"])[1][0];
            let operation = Generation::V0_5_7.operation(u64::from(number));
            let payload = match operation {
                _ if exchange["response"].is_null() => continue,
                Some(Operation::CommitStore) => value(&frames(&exchange["request"])[4]),
                Some(Operation::PrepareRetrieve) => field(&value(&frames(&exchange["response"])[2]), "data").clone(),
                _ => continue,
            };
            let envelope = payload.as_slice().unwrap();
            if envelope.is_empty() {
                continue;
            }
            let map = value(envelope);
            let tensors = field(&map, "tensors").as_array().unwrap();
            let layout = ChunkLayout {
                dtype: Dtype::of_name(&text(field(&tensors[0], "dtype"))).unwrap(),
                shape: numbers(field(&tensors[0], "shape")),
                chunks: tensors.len(),
            };
            let mut chunks = vec![Vec::new(); layout.chunks];
            let mut from = envelope;
            let sink = &mut |chunk: usize, _: u64, piece: &[u8]| chunks[chunk].extend_from_slice(piece);
            inline::read_chunks(&mut from, envelope.len() as u64, &layout, Form::Envelope, sink).unwrap();
            let mut written = Vec::new();
            let frame = ChunkFrame::new(Inline::Envelope, &layout);
            let done: Result<(), ()> = frame.write(&mut |chunk, visit| visit(&chunks[chunk]), &mut |piece| {
                written.extend_from_slice(piece);
                Ok(())
            });
            done.unwrap();
            assert_eq!(written, envelope, "{file}");
            compared += 1;
        }
    }
    assert!(compared >= 7, "only {compared} were compared");
}

#[test]
fn large_pickles_are_read_across_their_frames() {
    let json = include_str!("../../../../tests/golden/server/pickles-large.json");
    let json: Json = serde_json::from_str(json).unwrap();
    for case in json["cases"].as_array().unwrap() {
        let mut pickle = Vec::new();
        for segment in case["segments"].as_array().unwrap() {
            match segment["zeros"].as_u64() {
                Some(zeros) => pickle.resize(pickle.len() + zeros as usize, 0),
                None => pickle.extend(unhex(segment["hex"].as_str().unwrap())),
            }
        }
        assert_eq!(pickle.len() as u64, case["total_len"].as_u64().unwrap());
        let layout = ChunkLayout {
            dtype: Dtype::of_name(case["dtype"].as_str().unwrap()).unwrap(),
            shape: shape_of(case),
            chunks: case["ops"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|op| op[0] != "FRAME")
                .count(),
        };
        let chunks = read_all(&pickle, &layout).unwrap();
        assert!(chunks.iter().flatten().all(|byte| *byte == 0));
        assert_eq!(layout.chunk_bytes(), case["tensor_bytes"].as_u64().unwrap());
    }
}
