//! One method for each operation of the protocol. Keys are checked before a request is sent, because a server does not answer a
//! request that it cannot handle.

use std::time::Duration;

use super::client::Client;
use super::fault::{ReplyFault, RpcError};
use super::generation::{Inline, Operation};
use super::inline::{ChunkFrame, Form};
use super::messages;
use super::msgpack::{self, Decoder};
use super::records::{
    ChunkLayout, ChunkSink, ChunkSource, EngineContext, Key, KvRegistration, PreparedStore, SharedPool, Slot,
    TransferModes, Transferred,
};
use super::replies::FrameSource;
use super::wire::{Fault, Wire};
use crate::sys::deadline::Deadline;

/// Most bytes of chunks in one request: MessagePack stores the length of a byte string in 32 bits.
pub const INLINE_BYTES_MAX: u64 = u32::MAX as u64;

impl Client {
    // ---- server ------------------------------------------------------------------------------------------------------

    /// Does nothing: the shortest round trip.
    pub fn noop(&mut self) -> Result<(), RpcError> {
        self.exchange(&messages::without_parameters(Operation::Noop), |reply| {
            messages::present(reply)?.text("the result").map(|_| ())
        })
    }

    /// With an id, marks that instance as alive. After the first such ping the server expects them regularly.
    pub fn ping(&mut self, instance_id: Option<u64>) -> Result<bool, RpcError> {
        self.exchange(&messages::ping(instance_id), boolean)
    }

    /// Tokens per chunk.
    pub fn chunk_size(&mut self) -> Result<u64, RpcError> {
        self.exchange(&messages::without_parameters(Operation::GetChunkSize), |reply| {
            messages::present(reply)?.unsigned("the chunk size")
        })
    }

    /// Names of the experimental features that are on. Since 0.5.3.
    pub fn experimental(&mut self) -> Result<Vec<String>, RpcError> {
        self.exchange_in_order(&messages::without_parameters(Operation::GetExperimental), |reply| {
            messages::names(messages::present(reply)?)
        })
    }

    /// Removes all entries of the server, for tests. `force` removes locked entries too, as servers before 0.5.6 always do.
    pub fn clear(&mut self, force: bool) -> Result<(), RpcError> {
        let request = messages::clear(self.server.generation, force);
        self.exchange(&request, |_| Ok(()))
    }

    /// Detects the transfer modes that the server has loaded, by unregistering an unknown instance in both: only a loaded mode
    /// answers.
    pub fn transfer_modes(&mut self, unused_instance_id: u64) -> Result<TransferModes, RpcError> {
        let mut loaded = |operation| {
            let request = messages::instance_request(operation, unused_instance_id);
            match self.exchange_in_order(&request, |_| Ok(())) {
                Ok(()) => Ok(true),
                Err(RpcError::Refused { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        Ok(TransferModes {
            lmcache_driven: loaded(Operation::UnregisterKvCache)?,
            engine_driven: loaded(Operation::UnregisterEngineContext)?,
        })
    }

    // ---- lookups -----------------------------------------------------------------------------------------------------

    /// Starts a lookup of the leading chunks of the key. Hits are locked for reading. `tp_size` is the number of ranks, which
    /// servers before 0.5.5 use as the number of readers.
    pub fn lookup(&mut self, key: &Key, tp_size: u32) -> Result<(), RpcError> {
        check_key(key)?;
        let request = messages::lookup_request(Operation::Lookup, self.server.generation, key, tp_size);
        self.exchange(&request, |_| Ok(()))
    }

    /// The result of a lookup: the number of leading chunks that every rank has, or `None` while it is running. The server
    /// returns a result once: after that, as for an unknown request id, it is 0.
    pub fn query_prefetch_status(&mut self, request_id: &str) -> Result<Option<u64>, RpcError> {
        let request = messages::session_request(Operation::QueryPrefetchStatus, request_id);
        self.exchange(&request, optional_number)
    }

    /// As `query_prefetch_status`, but the server waits up to `timeout` for the result, and delays other requests meanwhile.
    pub fn wait_prefetch_status(&mut self, request_id: &str, timeout: Duration) -> Result<Option<u64>, RpcError> {
        let request = messages::wait_prefetch_status(request_id, timeout.as_secs_f64());
        self.exchange(&request, optional_number)
    }

    /// Releases the read locks of a range that a lookup hit and that was not retrieved.
    pub fn free_lookup_locks(&mut self, key: &Key, tp_size: u32) -> Result<(), RpcError> {
        check_key(key)?;
        let request = messages::lookup_request(Operation::FreeLookupLocks, self.server.generation, key, tp_size);
        self.exchange(&request, |_| Ok(()))
    }

    /// Drops the server's state of a request. No further operation may use its id.
    pub fn end_session(&mut self, request_id: &str) -> Result<(), RpcError> {
        let request = messages::session_request(Operation::EndSession, request_id);
        self.exchange(&request, |_| Ok(()))
    }

    // ---- lmcache-driven: the server copies ---------------------------------------------------------------------------

    /// Registers KV memory. When this returns the server has mapped it, so that the name of shared memory can be removed. A
    /// failure is `Refused`, without delay; the reason is only in the server's log.
    pub fn register_kv_cache(&mut self, registration: &KvRegistration) -> Result<(), RpcError> {
        let request = messages::register_kv_cache(self.server.generation, registration, self.server.is_0_5_0);
        self.exchange_in_order(&request, |_| Ok(()))
    }

    pub fn unregister_kv_cache(&mut self, instance_id: u64) -> Result<(), RpcError> {
        let request = messages::instance_request(Operation::UnregisterKvCache, instance_id);
        self.exchange_in_order(&request, |_| Ok(()))
    }

    /// Copies the key's range out of the blocks; `block_ids` has one list for each layer group. The chunks are published some
    /// time after the reply, which a lookup shows.
    pub fn store(
        &mut self,
        key: &Key,
        instance_id: u64,
        block_ids: &[Vec<u64>],
        event: &[u8],
    ) -> Result<Transferred, RpcError> {
        self.check_transfer(key)?;
        let request = messages::store(self.server.generation, key, instance_id, block_ids, event);
        self.exchange(&request, transferred)
    }

    /// Copies the key's range, which a lookup has locked, into the blocks. The whole blocks among the first
    /// `skip_first_n_tokens` tokens are not written.
    pub fn retrieve(
        &mut self,
        key: &Key,
        instance_id: u64,
        block_ids: &[Vec<u64>],
        event: &[u8],
        skip_first_n_tokens: u64,
    ) -> Result<Transferred, RpcError> {
        self.check_transfer(key)?;
        let generation = self.server.generation;
        let request = messages::retrieve(generation, key, instance_id, block_ids, event, skip_first_n_tokens);
        self.exchange(&request, transferred)
    }

    // ---- engine-driven: this program copies --------------------------------------------------------------------------

    /// Registers the shape of the chunks. Returns the server's shared memory, or `None` where chunks are sent inline.
    pub fn register_engine_context(&mut self, context: &EngineContext) -> Result<Option<SharedPool>, RpcError> {
        let request = messages::register_engine_context(self.server.generation, context);
        self.exchange_in_order(&request, |reply| messages::shared_pool(messages::present(reply)?))
    }

    /// Between `prepare_store` and `commit_store` this would make the server publish slots that have not been filled.
    pub fn unregister_engine_context(&mut self, instance_id: u64) -> Result<(), RpcError> {
        let request = messages::instance_request(Operation::UnregisterEngineContext, instance_id);
        self.exchange_in_order(&request, |_| Ok(()))
    }

    /// Allocates slots for the chunks that the server does not have yet. Inline transfers have no slots.
    pub fn prepare_store(&mut self, key: &Key, instance_id: u64) -> Result<PreparedStore, RpcError> {
        self.check_transfer(key)?;
        let request = messages::transfer_request(Operation::PrepareStore, self.server.generation, key, instance_id);
        self.exchange(&request, |reply| messages::prepared_store(messages::present(reply)?))
    }

    /// Publishes the slots of `prepare_store`, which the caller has filled.
    pub fn commit_store(&mut self, key: &Key, instance_id: u64) -> Result<bool, RpcError> {
        self.check_transfer(key)?;
        let mut request = messages::transfer_request(Operation::CommitStore, self.server.generation, key, instance_id);
        request.payloads.push(vec![0xc4, 0]);
        self.exchange(&request, boolean)
    }

    /// Sends all chunks of the range inside the request, at most `INLINE_BYTES_MAX` bytes, as they come from `source`.
    pub fn commit_store_inline(
        &mut self,
        key: &Key,
        instance_id: u64,
        layout: &ChunkLayout,
        source: &mut ChunkSource,
    ) -> Result<bool, RpcError> {
        self.check_transfer(key)?;
        let operation = Operation::CommitStore;
        let chunks = ChunkFrame::new(self.server.generation.inline, layout);
        let mut header = Vec::with_capacity(8);
        match u32::try_from(chunks.bytes()) {
            Ok(bytes) => msgpack::binary_header(&mut header, bytes),
            Err(_) => {
                return Err(RpcError::Invalid(format!(
                    "{} bytes of chunks do not fit one inline request of {INLINE_BYTES_MAX}; use fewer tokens",
                    chunks.bytes()
                )));
            }
        }
        let request = messages::transfer_request(operation, self.server.generation, key, instance_id);
        self.mark_begun();
        let wait = self.wait();
        let number = self.server.generation.id(operation).expect("every generation has it");
        let id = self.begin(operation, number, true)?;
        let connection = &mut *self.connection;
        request
            .payloads
            .iter()
            .for_each(|payload| connection.put_frame(payload, true));
        connection.put_frame_header(header.len() as u64 + chunks.bytes(), false);
        let sent = send_chunks(connection, &header, &chunks, source, wait);
        if let Err(fault) = sent {
            // A part of the request was sent, so the connection cannot be used any more.
            self.connection.abandon();
            return Err(self.request_error(operation, fault, wait));
        }
        self.finish(operation, wait)?;
        let wait = self.wait();
        let reply = self.receive(operation, &[id], wait)?;
        self.read(operation, &reply, wait, boolean)
    }

    /// The slots of all chunks of the range, or `None` if a lookup has not locked each of them.
    pub fn prepare_retrieve(&mut self, key: &Key, instance_id: u64) -> Result<Option<Vec<Slot>>, RpcError> {
        self.check_transfer(key)?;
        let request = messages::transfer_request(Operation::PrepareRetrieve, self.server.generation, key, instance_id);
        let prepared = self.exchange(&request, |reply| {
            messages::prepared_retrieve(messages::present(reply)?, None)
        })?;
        Ok(prepared.success.then_some(prepared.slots))
    }

    /// Receives all chunks of the range inside the reply and passes them to `sink` as they arrive. False, without a call of
    /// `sink`, if a lookup has not locked each of them.
    pub fn prepare_retrieve_inline(
        &mut self,
        key: &Key,
        instance_id: u64,
        layout: &ChunkLayout,
        sink: &mut ChunkSink,
    ) -> Result<bool, RpcError> {
        self.check_transfer(key)?;
        let request = messages::transfer_request(Operation::PrepareRetrieve, self.server.generation, key, instance_id);
        let form = match self.server.generation.inline {
            Inline::Pickle => Form::Torch,
            Inline::Envelope => Form::Envelope,
        };
        let prepared = self.exchange(&request, |reply| {
            messages::prepared_retrieve(messages::present(reply)?, Some((layout, form, sink)))
        })?;
        if prepared.success && prepared.inline_bytes == 0 && layout.chunks > 0 {
            return Err(RpcError::Malformed {
                operation: Operation::PrepareRetrieve,
                detail: "success without chunks".into(),
            });
        }
        Ok(prepared.success)
    }

    /// Releases the read locks of `prepare_retrieve`. After an inline transfer it has no effect, but the protocol has it.
    pub fn commit_retrieve(&mut self, key: &Key, instance_id: u64) -> Result<bool, RpcError> {
        self.check_transfer(key)?;
        let request = messages::transfer_request(Operation::CommitRetrieve, self.server.generation, key, instance_id);
        self.exchange(&request, boolean)
    }

    /// Refuses keys that a server would not answer, or would round to other chunks.
    fn check_transfer(&self, key: &Key) -> Result<(), RpcError> {
        check_key(key)?;
        let chunk_size = self.server.chunk_size;
        if key.worker_id.is_none() {
            return Err(RpcError::Invalid("a transfer needs the number of its worker".into()));
        }
        if !key.start.is_multiple_of(chunk_size) || !key.end.is_multiple_of(chunk_size) || key.start > key.end {
            return Err(RpcError::Invalid(format!(
                "tokens {}..{} are not whole chunks of {chunk_size}",
                key.start, key.end
            )));
        }
        Ok(())
    }
}

fn check_key(key: &Key) -> Result<(), RpcError> {
    let tokens = key.token_ids.len();
    if key.end > tokens as u64 {
        let text = format!(
            "tokens {}..{} are more than the {tokens} of the key",
            key.start, key.end
        );
        return Err(RpcError::Invalid(text));
    }
    if key.num_kv_readers == 0 {
        return Err(RpcError::Invalid("a key needs one reader at least".into()));
    }
    if key.model_name.contains('@') {
        return Err(RpcError::Invalid(format!(
            "model name '{}' contains '@'",
            key.model_name
        )));
    }
    let forbidden = ['@', '/', '\\', '\0'];
    if key.cache_salt.contains(forbidden) || key.cache_salt.chars().count() > 128 {
        let text = "a cache salt has at most 128 characters, none of them @, /, \\ or NUL";
        return Err(RpcError::Invalid(text.into()));
    }
    Ok(())
}

type Answer<'a, 'b> = Option<&'a mut Decoder<FrameSource<'b>>>;

fn boolean(reply: Answer) -> Result<bool, ReplyFault> {
    messages::present(reply)?.boolean("the result")
}

fn optional_number(reply: Answer) -> Result<Option<u64>, ReplyFault> {
    messages::optional_number(reply)
}

fn transferred(reply: Answer) -> Result<Transferred, ReplyFault> {
    messages::transferred(messages::present(reply)?)
}

fn send_chunks(
    connection: &mut dyn Wire,
    header: &[u8],
    chunks: &ChunkFrame,
    source: &mut ChunkSource,
    wait: Deadline,
) -> Result<(), Fault> {
    connection.put(header, wait)?;
    chunks.write(source, &mut |piece| connection.put(piece, wait))
}
