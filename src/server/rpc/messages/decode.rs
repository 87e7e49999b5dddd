//! Decodes replies, from a frame that is still arriving or complete.

use crate::server::rpc::inline::{self, Form};
use crate::server::rpc::msgpack::{Decoder, Header, Malformed, Source};
use crate::server::rpc::records::{ChunkLayout, ChunkSink, PreparedStore, SharedPool, Slot, Transferred};

/// Most slots of a transfer, one for each chunk.
const SLOTS_MAX: u64 = 1 << 20;
/// Most dimensions of a chunk; real ones have three or four.
const DIMENSIONS_MAX: usize = 16;

/// A number or nil. A missing third frame means nil.
pub fn optional_number<S: Source>(reply: Option<&mut Decoder<S>>) -> Result<Option<u64>, S::Error> {
    let Some(decoder) = reply else { return Ok(None) };
    match decoder.header()? {
        Header::Nil => Ok(None),
        Header::Unsigned(value) => Ok(Some(value)),
        _ => Err(Malformed("the result is neither a number nor nothing".into()).into()),
    }
}

/// The third frame; an error if the reply has none.
pub fn present<S: Source>(reply: Option<&mut Decoder<S>>) -> Result<&mut Decoder<S>, S::Error> {
    reply.ok_or_else(|| Malformed("the result is missing".into()).into())
}

pub fn transferred<S: Source>(decoder: &mut Decoder<S>) -> Result<Transferred, S::Error> {
    match decoder.array("the result")? {
        2 => Ok(Transferred {
            event: decoder.binary("the event")?,
            accepted: decoder.boolean("the outcome")?,
        }),
        items => Err(Malformed(format!("the result has {items} items, not 2")).into()),
    }
}

/// The server's shared memory; `None` where transfers are inline.
pub fn shared_pool<S: Source>(decoder: &mut Decoder<S>) -> Result<Option<SharedPool>, S::Error> {
    let (mut shm_name, mut pool_bytes) = (None, None);
    for _ in 0..decoder.map("the result")? {
        match decoder.text("a field's name")?.as_str() {
            "shm_name" => shm_name = Some(decoder.text("shm_name")?),
            "pool_size" => pool_bytes = Some(decoder.unsigned("pool_size")?),
            _ => decoder.skip()?,
        }
    }
    match (shm_name, pool_bytes) {
        (Some(shm_name), Some(pool_bytes)) => {
            let there = !shm_name.is_empty() && pool_bytes > 0;
            Ok(there.then_some(SharedPool { shm_name, pool_bytes }))
        }
        _ => Err(Malformed("the result lacks shm_name or pool_size".into()).into()),
    }
}

pub fn prepared_store<S: Source>(decoder: &mut Decoder<S>) -> Result<PreparedStore, S::Error> {
    let mut prepared = PreparedStore::default();
    for _ in 0..decoder.map("the result")? {
        match decoder.text("a field's name")?.as_str() {
            "context" => prepared = context(decoder)?,
            _ => decoder.skip()?,
        }
    }
    if prepared.slots.len() != prepared.chunk_indices.len() {
        let (slots, indices) = (prepared.slots.len(), prepared.chunk_indices.len());
        return Err(Malformed(format!("{slots} slots for {indices} chunks")).into());
    }
    Ok(prepared)
}

fn context<S: Source>(decoder: &mut Decoder<S>) -> Result<PreparedStore, S::Error> {
    let mut found = PreparedStore::default();
    for _ in 0..decoder.map("the context")? {
        match decoder.text("a field's name")?.as_str() {
            "slots" => {
                let slots = decoder.array("slots")?;
                if slots > SLOTS_MAX {
                    return Err(Malformed(format!("{slots} slots; {SLOTS_MAX} are the most that is taken")).into());
                }
                found.slots = decoder.collect(slots, slot)?;
            }
            "chunk_indices" => found.chunk_indices = decoder.numbers("chunk_indices", SLOTS_MAX as usize)?,
            _ => decoder.skip()?,
        }
    }
    Ok(found)
}

fn slot<S: Source>(decoder: &mut Decoder<S>) -> Result<Slot, S::Error> {
    let (mut offset, mut length, mut shape, mut dtype) = (None, None, Vec::new(), String::new());
    for _ in 0..decoder.map("a slot")? {
        match decoder.text("a field's name")?.as_str() {
            "offset" => offset = Some(decoder.unsigned("offset")?),
            "length" => length = Some(decoder.unsigned("length")?),
            "shape" => shape = decoder.numbers("shape", DIMENSIONS_MAX)?,
            "dtype" => dtype = decoder.text("dtype")?,
            _ => decoder.skip()?,
        }
    }
    match (offset, length) {
        (Some(offset), Some(length)) => Ok(Slot {
            offset,
            length,
            shape,
            dtype,
        }),
        _ => Err(Malformed("a slot lacks its offset or length".into()).into()),
    }
}

/// The reply to `PREPARE_RETRIEVE`.
#[derive(Debug, Default)]
pub struct PreparedRetrieve {
    pub success: bool,
    pub slots: Vec<Slot>,
    /// Length of the frame's part with the chunks, which were passed to the sink.
    pub inline_bytes: u64,
}

/// `inline`: the layout, form and sink of chunks inside the reply. Without it, a reply with chunks is malformed.
pub fn prepared_retrieve<S: Source>(
    decoder: &mut Decoder<S>,
    mut inline: Option<(&ChunkLayout, Form, &mut ChunkSink)>,
) -> Result<PreparedRetrieve, S::Error> {
    let mut success = None;
    let mut found = PreparedRetrieve::default();
    for _ in 0..decoder.map("the result")? {
        match decoder.text("a field's name")?.as_str() {
            "success" => success = Some(decoder.boolean("success")?),
            "context" => found.slots = context(decoder)?.slots,
            "data" => match (decoder.header()?, &mut inline) {
                (Header::Binary(0), _) => {}
                (Header::Binary(bytes), Some((layout, form, sink))) if found.inline_bytes == 0 => {
                    inline::read_chunks(&mut decoder.0, bytes, layout, *form, sink)?;
                    found.inline_bytes = bytes;
                }
                (Header::Binary(bytes), _) => {
                    return Err(Malformed(format!("{bytes} bytes of chunks where none are due")).into());
                }
                _ => return Err(Malformed("data is not a byte string".into()).into()),
            },
            _ => decoder.skip()?,
        }
    }
    found.success = match success {
        Some(success) => success,
        None => return Err(Malformed("the result lacks success".into()).into()),
    };
    Ok(found)
}

/// Names of experimental features: at most 1,000, each of at most 64 KiB.
pub fn names<S: Source>(decoder: &mut Decoder<S>) -> Result<Vec<String>, S::Error> {
    const NAMES_MAX: u64 = 1000;
    match decoder.array("the result")? {
        items @ 0..=NAMES_MAX => (0..items).map(|_| decoder.text("a name")).collect(),
        items => Err(Malformed(format!("{items} names")).into()),
    }
}
