//! Frames of the bridge: a length and a body each, little-endian (docs/formats.md). `helper.py` is the other side.

use serde::Deserialize;
use serde_json::json;

use crate::l2::adapter::Operation;
use crate::l2::keys::ObjectKey;
use crate::sys::arena::SharedParts;

pub const PROTOCOL: u64 = 1;
/// Longer than any frame of a real run; bounds what a faulty helper can make this side buffer.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
const LENGTH_BYTES: usize = 4;
const COMPLETED_BYTES: usize = 24;
const TASK_FAILED_BYTES: usize = 8;

/// The adapter that a task goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Measured = 0,
    /// LMCache's mock, beside the measured adapter.
    Mock = 1,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// LMCache is imported; the adapter is created next.
    Imported,
    Ready {
        class_name: String,
        python_version: String,
        lmcache_version: String,
    },
    Completed {
        operation: Operation,
        success: bool,
        task: u32,
        stored_bytes: u64,
        adapter_ns: u64,
        /// A bit per key, lowest first; empty for a store.
        bits: Vec<u8>,
    },
    /// The adapter refused the task.
    TaskFailed {
        task: u32,
        message: String,
    },
    /// The adapter could not be created.
    Failed {
        stage: String,
        message: String,
        /// The module that could not be imported.
        module: Option<String>,
    },
    Closed,
}

/// The first frame to the helper.
pub fn hello(spec: &str, memory: &SharedParts<'_>, align_bytes: usize) -> Vec<u8> {
    let hello = json!({
        "protocol": PROTOCOL,
        "parent": std::process::id(),
        "spec": spec,
        "mapped_bytes": memory.mapped_bytes,
        "start": memory.start,
        "used_bytes": memory.used_bytes,
        "align": align_bytes.max(4096),
        "align_bytes": align_bytes,
    });
    let mut frame = begin(1);
    frame.extend(hello.to_string().into_bytes());
    finish(frame)
}

/// Keys with the offsets of their buffers. `None` unless all keys have one model, group, salt and hash length, as the
/// benchmark's have.
pub fn submit<'a>(
    target: Target,
    operation: Operation,
    task: u32,
    keyed: impl ExactSizeIterator<Item = (&'a ObjectKey, usize)> + Clone,
    object_bytes: usize,
) -> Option<Vec<u8>> {
    let mut frame = begin(2);
    frame.extend([target as u8, operation_code(operation), 0]);
    frame.extend(task.to_le_bytes());
    push_keys(&mut frame, keyed, object_bytes)?;
    Some(finish(frame))
}

pub fn unlock(keys: &[ObjectKey]) -> Option<Vec<u8>> {
    let mut frame = begin(3);
    frame.extend([Target::Measured as u8, 0, 0]);
    frame.extend(0_u32.to_le_bytes());
    push_keys(&mut frame, keys.iter().map(|key| (key, 0)), 0)?;
    Some(finish(frame))
}

pub fn close() -> Vec<u8> {
    finish(begin(4))
}

fn begin(kind: u8) -> Vec<u8> {
    let mut frame = vec![0; LENGTH_BYTES];
    frame.push(kind);
    frame
}

fn finish(mut frame: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(frame.len() - LENGTH_BYTES).unwrap_or(u32::MAX);
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    frame
}

fn operation_code(operation: Operation) -> u8 {
    match operation {
        Operation::Store => 0,
        Operation::Lookup => 1,
        Operation::Load => 2,
    }
}

fn push_keys<'a>(
    frame: &mut Vec<u8>,
    keyed: impl ExactSizeIterator<Item = (&'a ObjectKey, usize)> + Clone,
    object_bytes: usize,
) -> Option<()> {
    let (first, _) = keyed.clone().next()?;
    let hash_len = first.chunk_hash().as_bytes().len();
    frame.extend(u32::try_from(keyed.len()).ok()?.to_le_bytes());
    frame.extend((object_bytes as u64).to_le_bytes());
    frame.extend(first.object_group_id().to_le_bytes());
    for length in [hash_len, first.model_name().len(), first.cache_salt().len()] {
        frame.extend(u16::try_from(length).ok()?.to_le_bytes());
    }
    frame.extend(first.model_name().as_bytes());
    frame.extend(first.cache_salt().as_bytes());
    for (key, offset) in keyed {
        let alike = key.model_name() == first.model_name()
            && key.object_group_id() == first.object_group_id()
            && key.cache_salt() == first.cache_salt()
            && key.chunk_hash().as_bytes().len() == hash_len;
        if !alike {
            return None;
        }
        frame.extend(key.chunk_hash().as_bytes());
        frame.extend(key.kv_rank().to_le_bytes());
        frame.extend((offset as u64).to_le_bytes());
    }
    Some(())
}

/// The length of the first frame in `received`, its own four bytes included; `None` while it is incomplete.
pub fn first_frame(received: &[u8]) -> Result<Option<usize>, String> {
    let Some(length) = received.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(format!("it announced a frame of {length} bytes"));
    }
    let end = LENGTH_BYTES + length;
    Ok((received.len() >= end).then_some(end))
}

/// Reads one whole frame.
pub fn reply(frame: &[u8]) -> Result<Reply, String> {
    let body = frame.get(LENGTH_BYTES..).unwrap_or_default();
    let reply = match body.first() {
        Some(1) => ready(&body[1..]),
        Some(2) => completed(body),
        Some(3) => task_failed(body),
        Some(4) => failed(&body[1..]),
        Some(5) if body.len() == 1 => Some(Reply::Closed),
        Some(6) if body.len() == 1 => Some(Reply::Imported),
        _ => None,
    };
    reply.ok_or_else(|| "it sent a frame that this version does not know".to_owned())
}

/// What a created adapter reports about itself. Other fields are ignored.
#[derive(Deserialize)]
struct ReadyFields {
    protocol: u64,
    class: String,
    python: String,
    lmcache: String,
}

fn ready(json: &[u8]) -> Option<Reply> {
    let fields: ReadyFields = serde_json::from_slice(json).ok()?;
    (fields.protocol == PROTOCOL).then_some(Reply::Ready {
        class_name: fields.class,
        python_version: fields.python,
        lmcache_version: fields.lmcache,
    })
}

#[derive(Deserialize)]
struct FailedFields {
    stage: String,
    message: String,
    module: Option<String>,
}

fn failed(json: &[u8]) -> Option<Reply> {
    let fields: FailedFields = serde_json::from_slice(json).ok()?;
    Some(Reply::Failed {
        stage: fields.stage,
        message: fields.message,
        module: fields.module,
    })
}

fn completed(body: &[u8]) -> Option<Reply> {
    let head = body.first_chunk::<COMPLETED_BYTES>()?;
    let u64_at = |at: usize| Some(u64::from_le_bytes(*head.get(at..at + 8)?.first_chunk()?));
    Some(Reply::Completed {
        operation: match head[1] {
            0 => Operation::Store,
            1 => Operation::Lookup,
            2 => Operation::Load,
            _ => return None,
        },
        success: head[2] != 0,
        task: u32::from_le_bytes(*head[4..].first_chunk()?),
        stored_bytes: u64_at(8)?,
        adapter_ns: u64_at(16)?,
        bits: body[COMPLETED_BYTES..].to_vec(),
    })
}

fn task_failed(body: &[u8]) -> Option<Reply> {
    let head = body.first_chunk::<TASK_FAILED_BYTES>()?;
    Some(Reply::TaskFailed {
        task: u32::from_le_bytes(*head[4..].first_chunk()?),
        message: String::from_utf8_lossy(&body[TASK_FAILED_BYTES..]).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2::keys::bench_key;

    #[test]
    fn a_submit_is_as_documented() {
        let keys = [bench_key(1), bench_key(0x0102)];
        let keyed = keys.iter().zip([0, 4096]);
        let frame = submit(Target::Mock, Operation::Load, 7, keyed, 4096).unwrap();
        let mut expected = vec![2, 1, 2, 0, 7, 0, 0, 0, 2, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([16, 0, 11, 0, 0, 0]);
        expected.extend(b"bench-model");
        for (rank, offset) in [(1_u64, 0_u64), (0x0102, 4096)] {
            expected.extend(u128::from(rank).to_be_bytes());
            expected.extend(rank.to_le_bytes());
            expected.extend(offset.to_le_bytes());
        }
        assert_eq!(frame[..4], u32::try_from(expected.len()).unwrap().to_le_bytes());
        assert_eq!(frame[4..], expected);
        assert_eq!(first_frame(&frame), Ok(Some(frame.len())));
        assert_eq!(first_frame(&frame[..frame.len() - 1]), Ok(None));
        assert!(unlock(&[]).is_none());
    }

    #[test]
    fn replies_are_read_back() {
        let mut body = vec![2, 2, 1, 0];
        body.extend(9_u32.to_le_bytes());
        body.extend(0_u64.to_le_bytes());
        body.extend(1234_u64.to_le_bytes());
        body.push(0b101);
        let frame = |body: &[u8]| {
            let mut frame = begin(body[0]);
            frame.extend(&body[1..]);
            finish(frame)
        };
        let expected = Reply::Completed {
            operation: Operation::Load,
            success: true,
            task: 9,
            stored_bytes: 0,
            adapter_ns: 1234,
            bits: vec![0b101],
        };
        assert_eq!(reply(&frame(&body)), Ok(expected));
        let failed = frame(b"\x04{\"stage\": \"create\", \"message\": \"no\", \"module\": null}");
        let expected = Reply::Failed {
            stage: "create".to_owned(),
            message: "no".to_owned(),
            module: None,
        };
        assert_eq!(reply(&failed), Ok(expected));
        assert_eq!(reply(&frame(b"\x05")), Ok(Reply::Closed));
    }

    #[test]
    fn what_is_not_a_frame_is_refused() {
        for body in [
            &b""[..],
            b"\x09",
            b"\x05x",
            b"\x06\0",
            b"\x04{\"stage\": \"create\", \"message\": \"no\", \"module\": 5}",
            b"\x01{}",
            b"\x02abc",
            b"\x04[]",
            b"\x02\x07\x00\x00aaaabbbbbbbbcccccccc",
        ] {
            let mut frame = vec![0; LENGTH_BYTES];
            frame.extend(body);
            assert!(reply(&finish(frame)).is_err(), "{body:?}");
        }
        assert!(first_frame(&[255; 4]).is_err());
        assert_eq!(first_frame(&[1, 0]), Ok(None));
    }
}
