//! Encodes requests (here) and decodes replies (`decode`), for every operation and generation. No I/O: replies are read from a
//! `Source`.

use super::generation::{Generation, Operation, Tokens};
use super::records::{EngineContext, Key, KvMemory, KvRegistration, KvTensor, LayerGroup};
use super::{msgpack, pickle};

mod decode;

pub use decode::{
    PreparedRetrieve, names, optional_number, prepared_retrieve, prepared_store, present, shared_pool, transferred,
};

const EMPTY_ARRAY: &[u8] = &[0x90];

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
    let payloads = match generation.clear_takes_force {
        true => vec![encoded(|out| msgpack::boolean(out, force))],
        false => Vec::new(),
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
    let mut request = request(
        operation,
        vec![encode_key(generation, key, None), number(u64::from(tp_size))],
    );
    if operation == Operation::FreeLookupLocks && generation.frees_extra_ranges {
        // Ranges of earlier lookups of the same request, which this program does not leave locked.
        request.payloads.push(EMPTY_ARRAY.to_vec());
    }
    request
}

/// `FREE_LOOKUP_LOCKS` of no tokens: it shows whether a server reads keys and parameters as this generation does, and changes
/// nothing.
pub fn free_no_locks(generation: Generation) -> Request {
    let key = Key {
        model_name: "test-model".into(),
        world_size: 1,
        worker_id: None,
        token_ids: [].into(),
        start: 0,
        end: 0,
        request_id: "probe".into(),
        cache_salt: String::new(),
        num_kv_readers: 1,
    };
    lookup_request(Operation::FreeLookupLocks, generation, &key, 1)
}

/// An operation whose first parameters are the key of one worker and an instance id: the steps of engine-driven transfers, and
/// the start of `STORE` and `RETRIEVE`.
pub fn transfer_request(operation: Operation, generation: Generation, key: &Key, instance_id: u64) -> Request {
    let mut request = request(
        operation,
        vec![encode_key(generation, key, key.worker_id), number(instance_id)],
    );
    if operation == Operation::PrepareStore && generation.prepares_with_skipped_chunks {
        request.payloads.push(EMPTY_ARRAY.to_vec());
    }
    request
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
        let has_slots = generation.counts_physical_slots;
        let has_layouts = generation.groups_engine_layouts;
        msgpack::map(out, 8 + usize::from(has_slots) + usize::from(has_layouts));
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
        if has_layouts {
            msgpack::text(out, "group_layouts");
            msgpack::array(out, 0);
        }
    });
    request(Operation::RegisterEngineContext, vec![payload])
}

/// `release_0_5_0`: whether the release is exactly 0.5.0, whose CUDA classes are in another module.
pub fn register_kv_cache(generation: Generation, registration: &KvRegistration, release_0_5_0: bool) -> Request {
    let tensors = encoded(|out| {
        msgpack::array(out, registration.tensors.len());
        for tensor in &registration.tensors {
            let data = if generation.pickles_descriptors {
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
    let tagged = generation.tags_layer_groups;
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

/// The tensor descriptor since 0.5.6; `pickle::descriptor` writes that of earlier releases.
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
    let counts_readers = generation.key_counts_readers;
    let mut out = Vec::with_capacity(256 + 5 * key.token_ids.len());
    msgpack::map(&mut out, if counts_readers { 10 } else { 8 });
    entry_text(&mut out, "model_name", &key.model_name);
    entry_number(&mut out, "world_size", u64::from(key.world_size));
    msgpack::text(&mut out, "worker_id");
    match worker_id {
        Some(id) => msgpack::unsigned(&mut out, u64::from(id)),
        None => msgpack::nil(&mut out),
    }
    encode_tokens(&mut out, generation.tokens, &key.token_ids);
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

fn encode_tokens(out: &mut Vec<u8>, form: Tokens, token_ids: &[u32]) {
    match form {
        Tokens::Array => {
            msgpack::text(out, "token_ids");
            msgpack::numbers(out, token_ids.iter().map(|id| u64::from(*id)));
        }
        Tokens::Bytes => {
            msgpack::text(out, "token_bytes");
            // The number of tokens is limited far below 2^30.
            msgpack::binary_header(out, 4 * token_ids.len() as u32);
            token_ids.iter().for_each(|id| out.extend_from_slice(&id.to_be_bytes()));
        }
    }
}
