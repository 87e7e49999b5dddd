//! The request of each sequence number: tokens, chunks, blocks and keys. No I/O.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

use super::blocks::Allocator;
use super::config::RunConfig;
use super::flags::BlockAllocation;
use super::rpc::{Generation, Key};

/// The token id that fills a request after its first token, as in LMCache's bench.
const FILLER_TOKEN: u32 = 9906;
/// The model name of LMCache's bench, which is part of every key.
const MODEL_NAME: &str = "test-model";

/// How requests are divided into the server's chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub num_tokens: usize,
    pub chunk_tokens: usize,
    /// Blocks of one chunk.
    pub chunk_blocks: usize,
    /// Whole chunks per request. The remaining tokens are not stored.
    pub chunks: usize,
    /// The blocks that requests may take.
    usable: Range<u64>,
}

/// The two passes of a sequence number: the cold pass stores, the warm one retrieves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Cold,
    Warm,
}

/// The names that separate this run's entries and state at the server from those of other runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub run_id: String,
    pub model_name: String,
    pub cache_salt: String,
    /// The instance id of rank 0; other ranks follow, then other clients. Random; all ids fit in 31 bits.
    pub first_instance_id: u64,
}

/// The request of one sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub sequence: u64,
    pub tokens: Arc<[u32]>,
    /// The blocks of the current pass, in token order.
    pub blocks: Vec<u64>,
}

/// The ranks of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks {
    pub count: u32,
    /// With MLA all ranks hold the same KV: one stores, all retrieve.
    pub mla: bool,
}

impl Plan {
    /// The error is one sentence: the command line does not fit the server's chunk size.
    pub fn new(config: &RunConfig, chunk_tokens: usize, generation: Generation) -> Result<Plan, String> {
        let block_tokens = config.shape.block_tokens();
        let blocks = config.shape.blocks();
        if chunk_tokens == 0 || !chunk_tokens.is_multiple_of(block_tokens) {
            return Err(format!(
                "Server chunk_size {chunk_tokens} must be a multiple of block_size {block_tokens}; change BS in \
                 --kvcache-shape-spec or start the server with another --chunk-size"
            ));
        }
        let chunk_blocks = chunk_tokens / block_tokens;
        let chunks = (config.num_tokens + 1) / chunk_tokens;
        let needed = chunks * chunk_blocks;
        if chunks == 0 {
            return Err(format!(
                "a request of {} tokens has no whole chunk of {chunk_tokens}; raise --num-tokens to {} or more",
                config.num_tokens + 1,
                chunk_tokens - 1
            ));
        }
        if needed > blocks {
            return Err(format!(
                "a request needs {needed} blocks but the tensors have {blocks}; raise NB in --kvcache-shape-spec or lower \
                 --num-tokens"
            ));
        }
        // Servers with a null block leave out a chunk that consists of block 0 alone.
        let null_chunk = chunk_blocks == 1 && generation.skips_null_blocks;
        let usable = u64::from(null_chunk)..blocks as u64;
        if needed == blocks && null_chunk {
            return Err(format!(
                "a request needs all {blocks} blocks, but the server takes block 0 for no data; raise NB in \
                 --kvcache-shape-spec"
            ));
        }
        Ok(Plan {
            num_tokens: config.num_tokens,
            chunk_tokens,
            chunk_blocks,
            chunks,
            usable,
        })
    }

    /// Takes the blocks for one client's requests.
    pub fn allocator(&self, kind: BlockAllocation) -> Allocator {
        Allocator::new(kind, self.usable.clone(), self.chunks * self.chunk_blocks)
    }

    pub fn request(&self, sequence: u64, blocks: Vec<u64>) -> Request {
        let first = u32::try_from(sequence).expect("RunConfig checks --end");
        let tokens = std::iter::once(first).chain(std::iter::repeat_n(FILLER_TOKEN, self.num_tokens));
        Request {
            sequence,
            tokens: tokens.collect(),
            blocks,
        }
    }

    /// The blocks of some chunks of a request.
    pub fn blocks_of<'a>(&self, request: &'a Request, chunks: Range<usize>) -> &'a [u64] {
        &request.blocks[chunks.start * self.chunk_blocks..chunks.end * self.chunk_blocks]
    }
}

impl Identity {
    /// Random numbers are taken from the standard library's hash seeds, which come from the operating system.
    pub fn new(salted: bool) -> Identity {
        let random = || RandomState::new().build_hasher().finish();
        let run_id = format!("{:08x}", random() as u32);
        let (model_name, cache_salt) = match salted {
            true => (format!("{MODEL_NAME}-{run_id}"), run_id.clone()),
            false => (MODEL_NAME.to_owned(), String::new()),
        };
        Identity {
            run_id,
            model_name,
            cache_salt,
            // Above the ids of LMCache's bench, which begin at 1000.
            first_instance_id: (1 << 20) + random() % ((1 << 31) - (1 << 21)),
        }
    }

    /// The same for client `client`, counted from 0, whose ranks have instance ids of their own.
    pub fn of_client(&self, client: u64, ranks: u32) -> Identity {
        Identity {
            first_instance_id: self.first_instance_id + client * u64::from(ranks),
            ..self.clone()
        }
    }

    /// Unique for the run, the sequence number and the pass.
    pub fn request_id(&self, sequence: u64, pass: Pass) -> String {
        let pass = match pass {
            Pass::Cold => "cold",
            Pass::Warm => "warm",
        };
        format!("req-{sequence}-{pass}-{}", self.run_id)
    }

    /// The key of the chunks `chunks.0..chunks.1` of a request, for lookups.
    pub fn key(&self, plan: &Plan, request: &Request, ranks: Ranks, request_id: &str, chunks: (usize, usize)) -> Key {
        Key {
            model_name: self.model_name.clone(),
            world_size: if ranks.mla { 1 } else { ranks.count },
            worker_id: None,
            token_ids: Arc::clone(&request.tokens),
            start: (chunks.0 * plan.chunk_tokens) as u64,
            end: (chunks.1 * plan.chunk_tokens) as u64,
            request_id: request_id.to_owned(),
            cache_salt: self.cache_salt.clone(),
            num_kv_readers: if ranks.mla { ranks.count } else { 1 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::Machine;
    use crate::server::flags::{Mode, ServerArgs, TABLE};

    fn config(spec: &str, num_tokens: i64) -> RunConfig {
        let args = ServerArgs {
            mode: Mode::Cpu,
            kvcache_shape_spec: Some(spec.into()),
            num_tokens,
            ..TABLE.presets()
        };
        RunConfig::resolve(&args, Machine::default()).unwrap()
    }

    fn plan(spec: &str, num_tokens: i64, chunk: usize) -> Result<Plan, String> {
        Plan::new(&config(spec, num_tokens), chunk, Generation::V0_5_6)
    }

    #[test]
    fn requests_use_whole_chunks_and_the_lowest_blocks() {
        let plan = plan("(2,16,4,1,4):float16:2", 20, 8).unwrap();
        assert_eq!((plan.chunks, plan.chunk_blocks), (2, 2));
        let mut allocator = plan.allocator(BlockAllocation::Sequential);
        let request = plan.request(5, allocator.next_blocks());
        assert_eq!(
            (request.tokens.len(), request.tokens[0], request.tokens[20]),
            (21, 5, 9906)
        );
        assert_eq!(request.blocks, [0, 1, 2, 3]);
        assert_eq!(plan.blocks_of(&request, 1..2), [2, 3]);
    }

    #[test]
    fn no_chunk_consists_of_block_zero_alone() {
        let config = config("(2,4,8,1,4):float16:2", 15);
        for (generation, lowest) in [(Generation::V0_5_6, 1), (Generation::V0_5_0, 0)] {
            let plan = Plan::new(&config, 8, generation).unwrap();
            assert_eq!(plan.chunk_blocks, 1);
            for kind in [BlockAllocation::Sequential, BlockAllocation::Random] {
                let mut allocator = plan.allocator(kind);
                let taken = (0..40).flat_map(|_| allocator.next_blocks()).min();
                assert_eq!(taken, Some(lowest), "{generation:?} {kind:?}");
            }
        }
    }

    #[test]
    fn requests_that_do_not_fit_are_refused() {
        let refused = |spec, tokens, chunk| plan(spec, tokens, chunk).expect_err(spec);
        assert!(refused("(2,16,16,1,4):uint8:1", 99, 24).starts_with("Server chunk_size 24 must be a multiple of"));
        assert!(refused("(2,16,4,1,4):uint8:1", 6, 8).contains("raise --num-tokens to 7"));
        assert!(refused("(2,3,4,1,4):uint8:1", 15, 8).contains("needs 4 blocks but the tensors have 3"));
        assert!(refused("(2,2,8,1,4):uint8:1", 15, 8).contains("takes block 0 for no data"));
    }

    #[test]
    fn keys_have_the_number_of_readers() {
        let plan = plan("(1,16,4,1,4):float16:2", 20, 8).unwrap();
        let identity = Identity::new(true);
        let request = plan.request(1, Vec::new());
        let key = |ranks| identity.key(&plan, &request, ranks, "r", (1, 2));
        let shared = key(Ranks { count: 2, mla: true });
        assert_eq!((shared.world_size, shared.num_kv_readers), (1, 2));
        assert_eq!((shared.start, shared.end, shared.worker_id), (8, 16, None));
        let split = key(Ranks { count: 2, mla: false });
        assert_eq!((split.world_size, split.num_kv_readers), (2, 1));
    }

    #[test]
    fn salted_runs_have_their_own_keys_and_every_run_its_own_ids() {
        let (one, two) = (Identity::new(true), Identity::new(true));
        assert_ne!(one.cache_salt, two.cache_salt);
        assert_ne!(one.first_instance_id, two.first_instance_id);
        assert_ne!(one.request_id(1, Pass::Cold), one.request_id(1, Pass::Warm));
        let third = one.of_client(2, 4);
        assert_eq!(third.first_instance_id, one.first_instance_id + 8);
        assert_eq!(third.run_id, one.run_id);
        let plain = Identity::new(false);
        assert_eq!(
            (plain.model_name.as_str(), plain.cache_salt.as_str()),
            ("test-model", "")
        );
        assert_ne!(plain.request_id(1, Pass::Cold), one.request_id(1, Pass::Cold));
    }
}
