//! Encodes requests and decodes replies, for every operation and generation. No I/O: replies are read from a `Source`.

use super::msgpack::{self, Decoder, Header, Malformed, Source};
use super::pickle::{self, Form};
use super::records::{
    ChunkLayout, ChunkSink, EngineContext, Key, KvMemory, KvRegistration, KvTensor, LayerGroup, PreparedStore,
    SharedPool, Slot, Transferred,
};
use super::version::{Generation, Operation};

/// Most slots of a transfer, one for each chunk.
const SLOTS_MAX: u64 = 1 << 20;
/// Most dimensions of a chunk; real ones have three or four.
const DIMENSIONS_MAX: usize = 16;

/// A request without its id: the operation, and one MessagePack value for each parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub operation: Operation,
    pub payloads: Vec<Vec<u8>>,
}

fn request(operation: Operation, payloads: Vec<Vec<u8>>) -> Request {
    Request { operation, payloads }
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

fn number(value: u64) -> Vec<u8> {
    encoded(|out| msgpack::unsigned(out, value))
}

fn text(value: &str) -> Vec<u8> {
    encoded(|out| msgpack::text(out, value))
}

// ---- requests ---------------------------------------------------------------------------------------------------------

/// A request without parameters.
pub fn without_parameters(operation: Operation) -> Request {
    request(operation, Vec::new())
}

pub fn ping(instance_id: Option<u64>) -> Request {
    let payload = encoded(|out| match instance_id {
        Some(id) => msgpack::unsigned(out, id),
        None => msgpack::nil(out),
    });
    request(Operation::Ping, vec![payload])
}

/// `CLEAR`. Since 0.5.6 it has a parameter, `force`: whether locked entries are removed too. Earlier releases always remove them.
pub fn clear(generation: Generation, force: bool) -> Request {
    let payloads = match generation {
        Generation::V0_5_6 => vec![encoded(|out| msgpack::boolean(out, force))],
        _ => Vec::new(),
    };
    request(Operation::Clear, payloads)
}

/// An operation whose only parameter is an instance id.
pub fn instance_request(operation: Operation, instance_id: u64) -> Request {
    request(operation, vec![number(instance_id)])
}

/// An operation whose only parameter is a request id.
pub fn session_request(operation: Operation, request_id: &str) -> Request {
    request(operation, vec![text(request_id)])
}

pub fn wait_prefetch_status(request_id: &str, seconds: f64) -> Request {
    let seconds = encoded(|out| msgpack::float(out, seconds));
    request(Operation::WaitPrefetchStatus, vec![text(request_id), seconds])
}

/// `LOOKUP` or `FREE_LOOKUP_LOCKS`, whose key has no worker id.
pub fn lookup_request(operation: Operation, generation: Generation, key: &Key, tp_size: u32) -> Request {
    request(
        operation,
        vec![encode_key(generation, key, None), number(u64::from(tp_size))],
    )
}

/// An operation whose first parameters are the key of one worker and an instance id: the steps of engine-driven transfers, and
/// the start of `STORE` and `RETRIEVE`.
pub fn transfer_request(operation: Operation, generation: Generation, key: &Key, instance_id: u64) -> Request {
    request(
        operation,
        vec![encode_key(generation, key, key.worker_id), number(instance_id)],
    )
}

/// `STORE`, of lmcache-driven transfers. `block_ids` has one list for each layer group.
pub fn store(generation: Generation, key: &Key, instance_id: u64, block_ids: &[Vec<u64>], event: &[u8]) -> Request {
    let mut request = transfer_request(Operation::Store, generation, key, instance_id);
    request.payloads.push(encoded(|out| {
        msgpack::array(out, block_ids.len());
        block_ids
            .iter()
            .for_each(|group| msgpack::numbers(out, group.iter().copied()));
    }));
    request.payloads.push(encoded(|out| msgpack::binary(out, event)));
    request
}

/// `RETRIEVE`, of lmcache-driven transfers.
pub fn retrieve(
    generation: Generation,
    key: &Key,
    instance_id: u64,
    block_ids: &[Vec<u64>],
    event: &[u8],
    skip_first_n_tokens: u64,
) -> Request {
    let mut request = store(generation, key, instance_id, block_ids, event);
    request.operation = Operation::Retrieve;
    request.payloads.push(number(skip_first_n_tokens));
    request
}

pub fn register_engine_context(generation: Generation, context: &EngineContext) -> Request {
    let payload = encoded(|out| {
        let has_slots = generation >= Generation::V0_5_5;
        msgpack::map(out, if has_slots { 9 } else { 8 });
        entry_number(out, "instance_id", context.instance_id);
        entry_text(out, "model_name", &context.model_name);
        entry_number(out, "world_size", u64::from(context.world_size));
        entry_number(out, "block_size", context.block_size);
        entry_number(out, "num_layers", context.num_layers);
        entry_number(out, "hidden_dim_size", context.hidden_dim_size);
        entry_text(out, "dtype_str", context.dtype.name());
        msgpack::text(out, "use_mla");
        msgpack::boolean(out, context.use_mla);
        if has_slots {
            entry_number(out, "num_physical_slots", context.num_physical_slots);
        }
    });
    request(Operation::RegisterEngineContext, vec![payload])
}

/// `release_0_5_0`: whether the release is exactly 0.5.0, whose CUDA classes are in another module.
pub fn register_kv_cache(generation: Generation, registration: &KvRegistration, release_0_5_0: bool) -> Request {
    let tensors = encoded(|out| {
        msgpack::array(out, registration.tensors.len());
        for tensor in &registration.tensors {
            let data = if generation.pickles_descriptors() {
                pickle::descriptor(tensor, generation, release_0_5_0)
            } else {
                descriptor(tensor)
            };
            msgpack::extension_1(out, &data);
        }
    });
    let hints = encoded(|out| {
        msgpack::map(out, 1);
        entry_text(out, "kv_layout", &registration.kv_layout);
    });
    let groups = encoded(|out| {
        msgpack::array(out, registration.groups.len());
        for group in &registration.groups {
            encode_group(out, generation, group);
        }
    });
    let payloads = vec![
        number(registration.instance_id),
        tensors,
        text(&registration.model_name),
        number(u64::from(registration.world_size)),
        text(&registration.engine_type),
        hints,
        groups,
    ];
    request(Operation::RegisterKvCache, payloads)
}

fn encode_group(out: &mut Vec<u8>, generation: Generation, group: &LayerGroup) {
    let tagged = generation >= Generation::V0_5_5;
    msgpack::map(out, if tagged { 6 } else { 4 });
    entry_number(out, "engine_group_id", group.engine_group_id);
    msgpack::text(out, "layer_indices");
    msgpack::numbers(out, group.layer_indices.iter().copied());
    entry_number(out, "tokens_per_block", group.tokens_per_block);
    msgpack::text(out, "sw_size_tokens");
    msgpack::signed(out, group.sw_size_tokens);
    if tagged {
        entry_number(out, "extra_object_group_tag", 0);
        msgpack::text(out, "recurrent_state");
        msgpack::boolean(out, false);
    }
}

/// The tensor descriptor of 0.5.6; `pickle::descriptor` writes that of earlier releases.
pub(super) fn descriptor(tensor: &KvTensor) -> Vec<u8> {
    encoded(|out| {
        match &tensor.memory {
            KvMemory::CpuShm { shm_name, bytes } => {
                msgpack::map(out, 5);
                entry_text(out, "type", "cpu_shm");
                entry_text(out, "shm_name", shm_name);
                entry_number(out, "nbytes", *bytes);
            }
            KvMemory::CudaRaw {
                ipc_handle,
                offset,
                bytes,
            } => {
                msgpack::map(out, 6);
                entry_text(out, "type", "cuda_raw");
                msgpack::text(out, "ipc_handle");
                msgpack::binary(out, ipc_handle);
                entry_number(out, "alloc_offset", *offset);
                entry_number(out, "nbytes", *bytes);
            }
        }
        entry_number(out, "version", 1);
        msgpack::text(out, "metadata");
        msgpack::map(out, 5);
        entry_text(out, "dtype", tensor.dtype.name());
        msgpack::text(out, "shape");
        msgpack::numbers(out, tensor.shape.iter().copied());
        msgpack::text(out, "stride");
        msgpack::numbers(out, tensor.stride.iter().copied());
        entry_number(out, "storage_offset", tensor.storage_offset);
        entry_text(out, "device_uuid", &tensor.device_uuid);
    })
}

fn entry_number(out: &mut Vec<u8>, name: &str, value: u64) {
    msgpack::text(out, name);
    msgpack::unsigned(out, value);
}

fn entry_text(out: &mut Vec<u8>, name: &str, value: &str) {
    msgpack::text(out, name);
    msgpack::text(out, value);
}

fn encode_key(generation: Generation, key: &Key, worker_id: Option<u32>) -> Vec<u8> {
    let counts_readers = generation.key_counts_readers();
    let mut out = Vec::with_capacity(256 + 5 * key.token_ids.len());
    msgpack::map(&mut out, if counts_readers { 10 } else { 8 });
    entry_text(&mut out, "model_name", &key.model_name);
    entry_number(&mut out, "world_size", u64::from(key.world_size));
    msgpack::text(&mut out, "worker_id");
    match worker_id {
        Some(id) => msgpack::unsigned(&mut out, u64::from(id)),
        None => msgpack::nil(&mut out),
    }
    msgpack::text(&mut out, "token_ids");
    msgpack::numbers(&mut out, key.token_ids.iter().map(|id| u64::from(*id)));
    entry_number(&mut out, "start", key.start);
    entry_number(&mut out, "end", key.end);
    entry_text(&mut out, "request_id", &key.request_id);
    entry_text(&mut out, "cache_salt", &key.cache_salt);
    if counts_readers {
        msgpack::text(&mut out, "request_configs");
        msgpack::nil(&mut out);
        entry_number(&mut out, "num_kv_readers", u64::from(key.num_kv_readers));
    }
    out
}

// ---- replies ----------------------------------------------------------------------------------------------------------

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
    /// Length of the pickle with the chunks, which were passed to the sink.
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
                    pickle::read_chunks(&mut decoder.0, bytes, layout, *form, sink)?;
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
