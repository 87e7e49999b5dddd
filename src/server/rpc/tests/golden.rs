//! Captured requests are encoded again from typed values and compared byte for byte; captured replies are decoded.

use rmpv::Value;
use serde_json::Value as Json;

use super::super::messages::{self, Request};
use super::super::msgpack::Decoder;
use super::super::pickle;
use super::super::*;

macro_rules! fixtures {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../../tests/golden/server/", $name, ".json")))),*]
    };
}
pub(super) use fixtures;

pub const EXCHANGES: [(&str, &str); 33] = fixtures![
    "v0.5.0-0.5.2-handle",
    "v0.5.0-0.5.2-pickle",
    "v0.5.0-0.5.2-shm",
    "v0.5.3-0.5.4-handle",
    "v0.5.3-0.5.4-pickle",
    "v0.5.3-0.5.4-shm",
    "v0.5.5-handle",
    "v0.5.5-pickle",
    "v0.5.5-shm",
    "v0.5.6-handle",
    "v0.5.6-pickle",
    "v0.5.6-shm",
    "reference-v0.5.0-handle",
    "reference-v0.5.0-shm",
    "reference-v0.5.4-handle",
    "reference-v0.5.4-shm",
    "reference-v0.5.5-handle",
    "reference-v0.5.5-shm",
    "reference-v0.5.6-handle",
    "reference-v0.5.6-pickle",
    "reference-v0.5.6-shm",
    "reference-v0.5.6-handle-tp2",
    "reference-v0.5.6-pickle-mla-tp2",
    "v0.5.7rc2-handle",
    "v0.5.7rc2-pickle",
    "v0.5.7rc2-shm",
    "reference-v0.5.7rc2-handle",
    "reference-v0.5.7rc2-handle-random",
    "reference-v0.5.7rc2-handle-tp2",
    "reference-v0.5.7rc2-pickle",
    "reference-v0.5.7rc2-pickle-mla-tp2",
    "reference-v0.5.7rc2-shm",
    "reference-v0.5.7rc2-shm-concurrency2",
];

pub fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

pub fn frames(json: &Json) -> Vec<Vec<u8>> {
    let frames = json.as_array().unwrap().iter();
    frames.map(|frame| unhex(frame.as_str().unwrap())).collect()
}

fn generation_of(file: &str) -> Generation {
    let release = file.trim_start_matches("reference-").trim_start_matches('v');
    Generation::of_release(release).unwrap()
}

/// A payload, decoded by an independent library.
pub fn value(payload: &[u8]) -> Value {
    rmpv::decode::read_value(&mut &payload[..]).unwrap()
}

pub fn field<'a>(map: &'a Value, name: &str) -> &'a Value {
    let entries = map.as_map().unwrap().iter();
    let mut found = entries.filter(|(key, _)| key.as_str() == Some(name));
    &found.next().unwrap_or_else(|| panic!("{name} in {map}")).1
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_string()
}

pub fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn key(payload: &[u8], generation: Generation) -> Key {
    let map = value(payload);
    let tokens: Vec<u32> = match generation.tokens {
        Tokens::Array => numbers(field(&map, "token_ids")).iter().map(|id| *id as u32).collect(),
        Tokens::Bytes => {
            let (tokens, odd) = field(&map, "token_bytes").as_slice().unwrap().as_chunks::<4>();
            assert_eq!(odd.len(), 0);
            tokens.iter().map(|token| u32::from_be_bytes(*token)).collect()
        }
    };
    let worker = field(&map, "worker_id");
    Key {
        model_name: text(field(&map, "model_name")),
        world_size: number(field(&map, "world_size")) as u32,
        worker_id: (!worker.is_nil()).then(|| number(worker) as u32),
        token_ids: tokens.into(),
        start: number(field(&map, "start")),
        end: number(field(&map, "end")),
        request_id: text(field(&map, "request_id")),
        cache_salt: text(field(&map, "cache_salt")),
        num_kv_readers: match generation.key_counts_readers {
            true => number(field(&map, "num_kv_readers")) as u32,
            false => 1,
        },
    }
}

fn engine_context(payload: &[u8]) -> EngineContext {
    let map = value(payload);
    EngineContext {
        instance_id: number(field(&map, "instance_id")),
        model_name: text(field(&map, "model_name")),
        world_size: number(field(&map, "world_size")) as u32,
        block_size: number(field(&map, "block_size")),
        num_layers: number(field(&map, "num_layers")),
        hidden_dim_size: number(field(&map, "hidden_dim_size")),
        dtype: Dtype::of_name(&text(field(&map, "dtype_str"))).unwrap(),
        use_mla: field(&map, "use_mla").as_bool().unwrap(),
        num_physical_slots: 8,
    }
}

/// The two layers of the handle fixtures.
fn registration() -> KvRegistration {
    let tensor = |layer: u64| KvTensor {
        memory: KvMemory::CpuShm {
            shm_name: format!("/lmcache_kv_fixture_{layer}"),
            bytes: 1024,
        },
        dtype: Dtype::Float16,
        shape: vec![2, 16, 4, 1, 4],
        stride: vec![256, 16, 4, 4, 1],
        storage_offset: 0,
        device_uuid: "cpu".into(),
    };
    KvRegistration {
        instance_id: 1000,
        tensors: vec![tensor(0), tensor(1)],
        model_name: "test-model".into(),
        world_size: 1,
        engine_type: "vllm".into(),
        kv_layout: "NHD".into(),
        groups: vec![LayerGroup {
            engine_group_id: 0,
            layer_indices: vec![0, 1],
            tokens_per_block: 4,
            sw_size_tokens: -1,
        }],
    }
}

/// The request that this program builds from the values of a captured one, which an independent library decodes.
fn rebuilt(operation: Operation, generation: Generation, payloads: &[Vec<u8>]) -> Request {
    let instance = |at: usize| number(&value(&payloads[at]));
    let key = |at: usize| key(&payloads[at], generation);
    let blocks = || -> Vec<Vec<u64>> { value(&payloads[2]).as_array().unwrap().iter().map(numbers).collect() };
    let event = || value(&payloads[3]).as_slice().unwrap().to_vec();
    match operation {
        Operation::Noop | Operation::GetChunkSize | Operation::GetExperimental => {
            messages::without_parameters(operation)
        }
        Operation::Ping => messages::ping(value(&payloads[0]).as_u64()),
        Operation::Clear => messages::clear(generation, payloads.first().is_some_and(|force| force == b"\xc3")),
        Operation::Lookup | Operation::FreeLookupLocks => {
            messages::lookup_request(operation, generation, &key(0), instance(1) as u32)
        }
        Operation::QueryPrefetchStatus | Operation::EndSession | Operation::QueryPrefetchLookupHits => {
            messages::session_request(operation, &text(&value(&payloads[0])))
        }
        Operation::WaitPrefetchStatus => {
            messages::wait_prefetch_status(&text(&value(&payloads[0])), value(&payloads[1]).as_f64().unwrap())
        }
        Operation::NegotiateChunkSize => panic!("it has no number"),
        Operation::RegisterKvCache => messages::register_kv_cache(generation, &registration(), false),
        Operation::UnregisterKvCache | Operation::UnregisterEngineContext => {
            messages::instance_request(operation, instance(0))
        }
        Operation::Store => messages::store(generation, &key(0), instance(1), &blocks(), &event()),
        Operation::Retrieve => messages::retrieve(generation, &key(0), instance(1), &blocks(), &event(), instance(4)),
        Operation::RegisterEngineContext => {
            messages::register_engine_context(generation, &engine_context(&payloads[0]))
        }
        Operation::PrepareStore | Operation::PrepareRetrieve | Operation::CommitRetrieve => {
            messages::transfer_request(operation, generation, &key(0), instance(1))
        }
        Operation::CommitStore => {
            let mut request = messages::transfer_request(operation, generation, &key(0), instance(1));
            // The chunks have tests of their own.
            request.payloads.push(payloads[2].clone());
            request
        }
    }
}

#[test]
fn captured_requests_are_rebuilt_byte_for_byte() {
    let mut compared = 0;
    for (file, json) in EXCHANGES {
        let generation = generation_of(file);
        let json: Json = serde_json::from_str(json).unwrap();
        for exchange in json["exchanges"].as_array().unwrap() {
            let request = frames(&exchange["request"]);
            // Requests that are wrong on purpose.
            if exchange["step"].as_str().is_some_and(|step| step.contains("silent")) {
                continue;
            }
            let operation = generation
                .operation(u64::from(request[1][0]))
                .expect("a known operation");
            // The memory of the reference captures differs from that of the fixtures.
            if operation == Operation::RegisterKvCache && file.starts_with("reference") {
                continue;
            }
            let ours = rebuilt(operation, generation, &request[2..]);
            assert_eq!(
                ours.payloads,
                request[2..],
                "{file}: {} {}",
                exchange["step"],
                operation.name()
            );
            assert_eq!([generation.id(operation).unwrap()], request[1][..]);
            compared += 1;
        }
    }
    assert!(compared > 380, "only {compared} requests were compared");
}

#[test]
fn captured_replies_are_decoded() {
    let json: Json = serde_json::from_str(EXCHANGES[11].1).unwrap();
    let reply = |step: &str| {
        let exchanges = json["exchanges"].as_array().unwrap();
        let exchange = exchanges.iter().find(|exchange| exchange["step"] == step).unwrap();
        frames(&exchange["response"]).swap_remove(2)
    };
    let pool = messages::shared_pool(&mut Decoder(reply("register").as_slice())).unwrap();
    let pool = pool.unwrap();
    assert_eq!(pool.shm_name, "lmcache_l1_pool_fixture");
    assert_eq!(pool.pool_bytes, 0x1000_0000);
    let prepared = messages::prepared_store(&mut Decoder(reply("prepare store").as_slice())).unwrap();
    assert_eq!(prepared.chunk_indices, [0, 1]);
    assert_eq!(
        prepared.slots[1],
        Slot {
            offset: 4096,
            length: 256,
            shape: vec![2, 2, 8, 4],
            dtype: "float16".into()
        }
    );
    let again = messages::prepared_store(&mut Decoder(reply("prepare store again (all present)").as_slice())).unwrap();
    assert_eq!(again, PreparedStore::default());
    let hit = messages::prepared_retrieve(&mut Decoder(reply("prepare retrieve").as_slice()), None).unwrap();
    assert!(hit.success && hit.slots == prepared.slots);
    let miss = reply("prepare retrieve without lookup (fails)");
    assert!(
        !messages::prepared_retrieve(&mut Decoder(miss.as_slice()), None)
            .unwrap()
            .success
    );
}

#[test]
fn descriptors_are_written_as_captured() {
    let json = include_str!("../../../../tests/golden/server/descriptors.json");
    let json: Json = serde_json::from_str(json).unwrap();
    let tensor = registration().tensors.swap_remove(0);
    let pickled = pickle::descriptor(&tensor, Generation::V0_5_5, false);
    assert_eq!(
        pickled,
        unhex(json["cpu_shm_pickle_0_5_0_to_0_5_5"]["hex"].as_str().unwrap())
    );
}

/// The file is checked against the classes of every release by scripts/interop/cuda_descriptors.py.
#[test]
fn cuda_descriptors_are_those_that_every_release_loads() {
    let json = include_str!("../../../../tests/golden/server/cuda-descriptors.json");
    let json: Json = serde_json::from_str(json).unwrap();
    let tensor = KvTensor {
        memory: KvMemory::CudaRaw {
            ipc_handle: std::array::from_fn(|index| index as u8 ^ 0xa5),
            offset: 0,
            bytes: 3 << 30,
        },
        dtype: Dtype::Bfloat16,
        shape: vec![2, 98_304, 16, 8, 64],
        stride: vec![805_306_368, 8192, 512, 64, 1],
        storage_offset: 0,
        device_uuid: "00112233-4455-6677-8899-aabbccddeeff".to_owned(),
    };
    let written = [
        ("0.5.0", pickle::descriptor(&tensor, Generation::V0_5_0, true)),
        ("0.5.1-0.5.4", pickle::descriptor(&tensor, Generation::V0_5_3, false)),
        ("0.5.5", pickle::descriptor(&tensor, Generation::V0_5_5, false)),
        ("0.5.6", messages::descriptor(&tensor)),
    ];
    for (release, bytes) in written {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, json[release].as_str().unwrap_or_default(), "{release}");
    }
}
