//! One method per operation of the protocol. It must never send what a server would answer with silence and could have
//! been seen here: ranges are checked first.

use std::time::Duration;

use super::client::Client;
use super::fault::{ReplyFault, RpcError};
use super::messages;
use super::msgpack::{self, Decoder};
use super::pickle::{ChunkPickle, Form};
use super::records::{
    ChunkLayout, ChunkSink, ChunkSource, EngineContext, Key, KvRegistration, PreparedStore, SharedPool, Slot,
    TransferModes, Transferred,
};
use super::replies::FrameSource;
use super::version::Operation;
use super::zmtp::{Connection, Fault};
use crate::sys::deadline::Deadline;

/// MessagePack counts the bytes of a byte string with 32 bits.
pub const INLINE_BYTES_MAX: u64 = u32::MAX as u64;

impl Client {
    // ---- server ------------------------------------------------------------------------------------------------------

    /// Asks for nothing; the smallest round trip.
    pub fn noop(&mut self) -> Result<(), RpcError> {
        self.exchange(&messages::bare(Operation::Noop), |reply| {
            messages::present(reply)?.text("the result").map(|_| ())
        })
    }

    /// With an id, refreshes that instance and binds it to be pinged from then on (docs/protocol.md).
    pub fn ping(&mut self, instance_id: Option<u64>) -> Result<bool, RpcError> {
        self.exchange(&messages::ping(instance_id), boolean)
    }

    /// Tokens of a chunk.
    pub fn chunk_size(&mut self) -> Result<u64, RpcError> {
        self.exchange(&messages::bare(Operation::GetChunkSize), |reply| {
            messages::present(reply)?.unsigned("the chunk size")
        })
    }

    /// Names of the experimental features that are on. Since 0.5.3.
    pub fn experimental(&mut self) -> Result<Vec<String>, RpcError> {
        self.exchange_in_order(&messages::bare(Operation::GetExperimental), |reply| {
            messages::names(messages::present(reply)?)
        })
    }

    /// Removes what the server holds: for tests and for servers of one's own. `force` takes locked entries too, which
    /// servers before 0.5.6 always do.
    pub fn clear(&mut self, force: bool) -> Result<(), RpcError> {
        let request = messages::clear(self.server.generation, force);
        self.exchange(&request, |_| Ok(()))
    }

    /// Which ways of transfer are loaded: an unknown instance is unregistered in both, which only the loaded ones answer.
    pub fn transfer_modes(&mut self, unused_instance_id: u64) -> Result<TransferModes, RpcError> {
        let mut loaded = |operation| {
            let request = messages::of_instance(operation, unused_instance_id);
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

    /// Starts a search for the leading chunks of the key. Its hits are locked for reading. `tp_size` is the number of
    /// ranks, which servers before 0.5.5 count readers by.
    pub fn lookup(&mut self, key: &Key, tp_size: u32) -> Result<(), RpcError> {
        check_key(key)?;
        let request = messages::of_lookup(Operation::Lookup, self.server.generation, key, tp_size);
        self.exchange(&request, |_| Ok(()))
    }

    /// The result of a search, once: chunks that every rank has. Nothing while the search is still going on. Zero for a
    /// request id that is unknown or was asked for already.
    pub fn query_prefetch_status(&mut self, request_id: &str) -> Result<Option<u64>, RpcError> {
        let request = messages::of_request(Operation::QueryPrefetchStatus, request_id);
        self.exchange(&request, optional_number)
    }

    /// As `query_prefetch_status`, with the server waiting; it holds up others meanwhile.
    pub fn wait_prefetch_status(&mut self, request_id: &str, timeout: Duration) -> Result<Option<u64>, RpcError> {
        let request = messages::wait_prefetch_status(request_id, timeout.as_secs_f64());
        self.exchange(&request, optional_number)
    }

    /// Releases the read locks of a range that a lookup hit and nobody retrieved.
    pub fn free_lookup_locks(&mut self, key: &Key, tp_size: u32) -> Result<(), RpcError> {
        check_key(key)?;
        let request = messages::of_lookup(Operation::FreeLookupLocks, self.server.generation, key, tp_size);
        self.exchange(&request, |_| Ok(()))
    }

    /// Drops the server's state of a request; the last operation with this id.
    pub fn end_session(&mut self, request_id: &str) -> Result<(), RpcError> {
        let request = messages::of_request(Operation::EndSession, request_id);
        self.exchange(&request, |_| Ok(()))
    }

    // ---- lmcache-driven: the server copies ---------------------------------------------------------------------------

    /// Publishes KV memory. The server has mapped it when this returns, so its name may go then. A failure is known at
    /// once (`Refused`); the reason is only in the server's log.
    pub fn register_kv_cache(&mut self, registration: &KvRegistration) -> Result<(), RpcError> {
        let request = messages::register_kv_cache(self.server.generation, registration, self.server.is_0_5_0);
        self.exchange_in_order(&request, |_| Ok(()))
    }

    pub fn unregister_kv_cache(&mut self, instance_id: u64) -> Result<(), RpcError> {
        let request = messages::of_instance(Operation::UnregisterKvCache, instance_id);
        self.exchange_in_order(&request, |_| Ok(()))
    }

    /// Copies the key's range out of the blocks, one list of ids per layer group. Accepted is not stored: ask by lookup.
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

    /// Copies the key's range, which a lookup has locked, into the blocks. Of `skip_first_n_tokens` whole blocks stay
    /// untouched.
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

    // ---- engine-driven: we copy --------------------------------------------------------------------------------------

    /// Says what our chunks look like. Answers with the server's shared memory, or with nothing where chunks travel
    /// inline.
    pub fn register_engine_context(&mut self, context: &EngineContext) -> Result<Option<SharedPool>, RpcError> {
        let request = messages::register_engine_context(self.server.generation, context);
        self.exchange_in_order(&request, |reply| messages::shared_pool(messages::present(reply)?))
    }

    /// Must not be sent between `prepare_store` and `commit_store`: the server would publish slots that nobody filled.
    pub fn unregister_engine_context(&mut self, instance_id: u64) -> Result<(), RpcError> {
        let request = messages::of_instance(Operation::UnregisterEngineContext, instance_id);
        self.exchange_in_order(&request, |_| Ok(()))
    }

    /// Sets slots aside for the chunks that the server does not have yet; inline, it answers with none.
    pub fn prepare_store(&mut self, key: &Key, instance_id: u64) -> Result<PreparedStore, RpcError> {
        self.check_transfer(key)?;
        let request = messages::of_transfer(Operation::PrepareStore, self.server.generation, key, instance_id);
        self.exchange(&request, |reply| messages::prepared_store(messages::present(reply)?))
    }

    /// Publishes the slots of `prepare_store`, which have been filled.
    pub fn commit_store(&mut self, key: &Key, instance_id: u64) -> Result<bool, RpcError> {
        self.check_transfer(key)?;
        let mut request = messages::of_transfer(Operation::CommitStore, self.server.generation, key, instance_id);
        request.payloads.push(vec![0xc4, 0]);
        self.exchange(&request, boolean)
    }

    /// Sends all chunks of the range inside the request, straight from `source`; at most `INLINE_BYTES_MAX` in one
    /// request.
    pub fn commit_store_inline(
        &mut self,
        key: &Key,
        instance_id: u64,
        layout: &ChunkLayout,
        source: &mut ChunkSource,
    ) -> Result<bool, RpcError> {
        self.check_transfer(key)?;
        let operation = Operation::CommitStore;
        let pickle = ChunkPickle::new(layout);
        let mut head = Vec::with_capacity(8);
        match u32::try_from(pickle.bytes()) {
            Ok(bytes) => msgpack::binary_head(&mut head, bytes),
            Err(_) => {
                return Err(RpcError::Invalid(format!(
                    "{} bytes of chunks do not fit one inline request of {INLINE_BYTES_MAX}; use fewer tokens",
                    pickle.bytes()
                )));
            }
        }
        let request = messages::of_transfer(operation, self.server.generation, key, instance_id);
        self.mark_begun();
        let wait = self.wait();
        let number = self.server.generation.id(operation).expect("every generation commits");
        let id = self.begin(operation, number, true)?;
        let connection = &mut self.connection;
        request
            .payloads
            .iter()
            .for_each(|payload| connection.put_frame(payload, true));
        connection.put_head(head.len() as u64 + pickle.bytes(), false);
        let sent = send_chunks(connection, &head, &pickle, source, wait);
        if let Err(fault) = sent {
            // Half a request went out; nothing else can on this connection.
            self.connection.abandon();
            return Err(self.told(operation, fault, wait));
        }
        self.finish(operation, wait)?;
        let wait = self.wait();
        let reply = self.receive(operation, &[id], wait)?;
        self.read(operation, &reply, wait, boolean)
    }

    /// The slots of all chunks of the range, or nothing when a lookup has not locked each of them.
    pub fn prepare_retrieve(&mut self, key: &Key, instance_id: u64) -> Result<Option<Vec<Slot>>, RpcError> {
        self.check_transfer(key)?;
        let request = messages::of_transfer(Operation::PrepareRetrieve, self.server.generation, key, instance_id);
        let prepared = self.exchange(&request, |reply| {
            messages::prepared_retrieve(messages::present(reply)?, None)
        })?;
        Ok(prepared.success.then_some(prepared.slots))
    }

    /// Receives all chunks of the range inside the reply, straight into `sink`. False when a lookup has not locked each
    /// of them; the sink was not called then.
    pub fn prepare_retrieve_inline(
        &mut self,
        key: &Key,
        instance_id: u64,
        layout: &ChunkLayout,
        sink: &mut ChunkSink,
    ) -> Result<bool, RpcError> {
        self.check_transfer(key)?;
        let request = messages::of_transfer(Operation::PrepareRetrieve, self.server.generation, key, instance_id);
        let prepared = self.exchange(&request, |reply| {
            messages::prepared_retrieve(messages::present(reply)?, Some((layout, Form::Torch, sink)))
        })?;
        if prepared.success && prepared.inline_bytes == 0 && layout.chunks > 0 {
            return Err(RpcError::Malformed {
                operation: Operation::PrepareRetrieve,
                detail: "success without chunks".into(),
            });
        }
        Ok(prepared.success)
    }

    /// Releases the read locks of `prepare_retrieve`; inline it is a formality.
    pub fn commit_retrieve(&mut self, key: &Key, instance_id: u64) -> Result<bool, RpcError> {
        self.check_transfer(key)?;
        let request = messages::of_transfer(Operation::CommitRetrieve, self.server.generation, key, instance_id);
        self.exchange(&request, boolean)
    }

    /// What a server would not answer, or would do with other chunks than meant.
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
    connection: &mut Connection,
    head: &[u8],
    pickle: &ChunkPickle,
    source: &mut ChunkSource,
    wait: Deadline,
) -> Result<(), Fault> {
    connection.put(head, wait)?;
    pickle.write(source, &mut |piece| connection.put(piece, wait))
}
