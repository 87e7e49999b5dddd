//! Requests as a server reads them: strict about types, lenient about unknown fields, as the real one is. Every length and
//! count is checked.

use crate::server::rpc::msgpack::{Decoder, Header, Malformed};
use crate::server::rpc::{Dtype, Generation, Key, Tokens};

/// Tokens of one key; far more than any model takes.
const TOKENS_MAX: u64 = 1 << 24;
const BLOCKS_MAX: usize = 1 << 22;
const GROUPS_MAX: u64 = 1024;
/// Layer groups of an engine-driven worker.
const LAYOUTS_MAX: u64 = 64;
pub const TENSORS_MAX: u64 = 4096;

type Decoded<T> = Result<T, Malformed>;
type Slice<'a> = Decoder<&'a [u8]>;

/// The whole of a payload as one value.
pub fn whole<'a, T>(payload: &'a [u8], decode: impl FnOnce(&mut Slice<'a>) -> Decoded<T>) -> Decoded<T> {
    let mut decoder = Decoder(payload);
    let value = decode(&mut decoder)?;
    decoder.end()?;
    Ok(value)
}

pub fn number(payload: &[u8]) -> Decoded<u64> {
    whole(payload, |decoder| decoder.unsigned("a number"))
}

pub fn text(payload: &[u8]) -> Decoded<String> {
    whole(payload, |decoder| decoder.text("a text"))
}

pub fn optional_number(payload: &[u8]) -> Decoded<Option<u64>> {
    whole(payload, |decoder| match decoder.header()? {
        Header::Nil => Ok(None),
        Header::Unsigned(value) => Ok(Some(value)),
        _ => Err(Malformed("neither a number nor nil".into())),
    })
}

/// A byte string of any length, borrowed.
pub fn binary(payload: &[u8]) -> Decoded<&[u8]> {
    let mut decoder = Decoder(payload);
    match decoder.header()? {
        Header::Binary(bytes) if bytes == decoder.0.len() as u64 => Ok(decoder.0),
        _ => Err(Malformed("not a byte string".into())),
    }
}

/// Calls `field` with the name of every entry; it returns whether it consumed the value.
pub fn entries<'a>(
    decoder: &mut Slice<'a>,
    what: &str,
    mut field: impl FnMut(&mut Slice<'a>, &str) -> Decoded<bool>,
) -> Decoded<()> {
    for _ in 0..decoder.map(what)? {
        let name = decoder.text("a field's name")?;
        if !field(decoder, &name)? {
            decoder.skip()?;
        }
    }
    Ok(())
}

fn required<T>(value: Option<T>, name: &str) -> Decoded<T> {
    value.ok_or_else(|| Malformed(format!("{name} is missing")))
}

pub fn key(payload: &[u8], generation: Generation) -> Decoded<Key> {
    whole(payload, |decoder| {
        let (mut model_name, mut world_size, mut worker_id) = (None, None, None);
        let (mut token_ids, mut start, mut end, mut request_id) = (None, None, None, None);
        let (mut cache_salt, mut readers) = (String::new(), 0);
        entries(decoder, "the key", |decoder, name| {
            match name {
                "model_name" => model_name = Some(decoder.text(name)?),
                "world_size" => world_size = Some(narrow(decoder.unsigned(name)?, name)?),
                "worker_id" => {
                    worker_id = Some(match decoder.header()? {
                        Header::Nil => None,
                        Header::Unsigned(id) => Some(narrow(id, name)?),
                        _ => return Err(Malformed("worker_id is neither a number nor nil".into())),
                    });
                }
                "token_ids" if generation.tokens == Tokens::Array => token_ids = Some(tokens(decoder)?),
                "token_bytes" if generation.tokens == Tokens::Bytes => token_ids = Some(token_bytes(decoder)?),
                "start" => start = Some(decoder.unsigned(name)?),
                "end" => end = Some(decoder.unsigned(name)?),
                "request_id" => request_id = Some(decoder.text(name)?),
                "cache_salt" => cache_salt = decoder.text(name)?,
                "num_kv_readers" if generation.key_counts_readers => readers = narrow(decoder.unsigned(name)?, name)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let key = Key {
            model_name: required(model_name, "model_name")?,
            world_size: required(world_size, "world_size")?,
            worker_id: required(worker_id, "worker_id")?,
            token_ids: required(token_ids, "the tokens")?.into(),
            start: required(start, "start")?,
            end: required(end, "end")?,
            request_id: required(request_id, "request_id")?,
            cache_salt,
            num_kv_readers: readers,
        };
        if key.model_name.contains('@') || key.cache_salt.contains(['@', '/', '\\', '\0']) {
            return Err(Malformed("a name with a separator in it".into()));
        }
        if key.world_size == 0 || key.start > key.end || key.end > key.token_ids.len() as u64 {
            return Err(Malformed("a range outside of the tokens".into()));
        }
        Ok(key)
    })
}

fn narrow(value: u64, what: &str) -> Decoded<u32> {
    u32::try_from(value).map_err(|_| Malformed(format!("{what} is too large")))
}

fn tokens(decoder: &mut Slice) -> Decoded<Vec<u32>> {
    match decoder.array("token_ids")? {
        ids @ 0..=TOKENS_MAX => decoder.collect(ids, |decoder| narrow(decoder.unsigned("token_ids")?, "a token id")),
        ids => Err(Malformed(format!("{ids} token ids"))),
    }
}

/// Four bytes for each token, most significant byte first.
fn token_bytes(decoder: &mut Slice) -> Decoded<Vec<u32>> {
    let bytes = match decoder.header()? {
        Header::Binary(bytes) if bytes <= decoder.0.len() as u64 => bytes as usize,
        other => return Err(Malformed(format!("token_bytes that are {other:?}"))),
    };
    let (taken, rest) = decoder.0.split_at(bytes);
    decoder.0 = rest;
    let (tokens, odd) = taken.as_chunks::<4>();
    if !odd.is_empty() || tokens.len() as u64 > TOKENS_MAX {
        return Err(Malformed(format!("token_bytes of {bytes} bytes")));
    }
    Ok(tokens.iter().map(|token| u32::from_be_bytes(*token)).collect())
}

/// Ranges of tokens `[start, end]`.
pub fn ranges(payload: &[u8]) -> Decoded<Vec<(u64, u64)>> {
    whole(payload, |decoder| {
        let ranges = decoder.array("extra_ranges")?;
        decoder.collect(ranges, |decoder| match decoder.numbers("a range", 2)?[..] {
            [start, end] => Ok((start, end)),
            _ => Err(Malformed("a range without two ends".into())),
        })
    })
}

pub fn block_ids(payload: &[u8]) -> Decoded<Vec<Vec<u64>>> {
    whole(payload, |decoder| match decoder.array("block_ids")? {
        groups @ 0..=GROUPS_MAX => (0..groups).map(|_| decoder.numbers("block ids", BLOCKS_MAX)).collect(),
        groups => Err(Malformed(format!("{groups} groups of blocks"))),
    })
}

/// What an engine-driven worker registers.
#[derive(Debug)]
pub struct EngineRegistration {
    pub instance_id: u64,
    pub model_name: String,
    pub world_size: u32,
    pub block_size: u64,
    pub use_mla: bool,
    /// One at least.
    pub groups: Vec<ChunkGroup>,
}

/// The chunks of one layer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkGroup {
    pub dtype: Dtype,
    /// Of one chunk.
    pub shape: Vec<u64>,
    /// How many trailing chunks a hit needs; 0 for all.
    pub window_chunks: u64,
}

/// Of workers whose chunks have no shape here, because the server copies them block by block.
impl Default for ChunkGroup {
    fn default() -> ChunkGroup {
        ChunkGroup {
            dtype: Dtype::Uint8,
            shape: Vec::new(),
            window_chunks: 0,
        }
    }
}

impl ChunkGroup {
    /// The first chunk that a hit of so many leading chunks needs.
    pub fn first_of(&self, hits: usize) -> usize {
        match self.window_chunks {
            0 => 0,
            window => hits.saturating_sub(usize::try_from(window).unwrap_or(usize::MAX)),
        }
    }
}

pub fn engine_registration(payload: &[u8], generation: Generation, chunk_size: u64) -> Decoded<EngineRegistration> {
    whole(payload, |decoder| {
        let (mut instance_id, mut model_name, mut world_size, mut block_size) = (None, None, None, None);
        let (mut layers, mut hidden, mut dtype, mut use_mla, mut slots) = (None, None, None, None, None);
        let mut layouts = Vec::new();
        entries(decoder, "the registration", |decoder, name| {
            match name {
                "instance_id" => instance_id = Some(decoder.unsigned(name)?),
                "model_name" => model_name = Some(decoder.text(name)?),
                "world_size" => world_size = Some(narrow(decoder.unsigned(name)?, name)?),
                "block_size" => block_size = Some(decoder.unsigned(name)?),
                "num_layers" => layers = Some(decoder.unsigned(name)?),
                "hidden_dim_size" => hidden = Some(decoder.unsigned(name)?),
                "dtype_str" => dtype = Dtype::of_name(&decoder.text(name)?),
                "use_mla" => use_mla = Some(decoder.boolean(name)?),
                "num_physical_slots" if generation.counts_physical_slots => match decoder.header()? {
                    Header::Nil => {}
                    Header::Unsigned(value @ 1..) => slots = Some(value),
                    _ => return Err(Malformed("num_physical_slots must be positive".into())),
                },
                "group_layouts" if generation.groups_engine_layouts => layouts = group_layouts(decoder)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let use_mla = required(use_mla, "use_mla")?;
        let tail = [
            required(layers, "num_layers")?,
            slots.unwrap_or(chunk_size),
            required(hidden, "hidden_dim_size")?,
        ];
        let planes: &[u64] = if use_mla { &[] } else { &[2] };
        let only = ChunkGroup {
            dtype: required(dtype, "a known dtype_str")?,
            shape: [planes, &tail].concat(),
            window_chunks: 0,
        };
        let of_layout = |layout: GroupLayout| layout.chunks(slots.unwrap_or(chunk_size), use_mla);
        let groups: Vec<ChunkGroup> = layouts.into_iter().map(of_layout).collect();
        Ok(EngineRegistration {
            instance_id: required(instance_id, "instance_id")?,
            model_name: required(model_name, "model_name")?,
            world_size: required(world_size, "world_size")?,
            block_size: required(block_size, "block_size")?,
            use_mla,
            groups: if groups.is_empty() { vec![only] } else { groups },
        })
    })
}

/// One entry of `group_layouts`.
struct GroupLayout {
    layers: u64,
    hidden: u64,
    dtype: Dtype,
    window_tokens: u64,
    kv_size: u64,
    window_chunks: u64,
}

impl GroupLayout {
    fn chunks(self, chunk_tokens: u64, use_mla: bool) -> ChunkGroup {
        let tokens = if self.window_tokens == 0 {
            chunk_tokens
        } else {
            self.window_tokens
        };
        let planes = match (self.kv_size, use_mla) {
            (0, true) => 1,
            (0, false) => 2,
            (kv_size, _) => kv_size,
        };
        let tail = [self.layers, tokens, self.hidden];
        ChunkGroup {
            dtype: self.dtype,
            shape: if planes == 1 {
                tail.to_vec()
            } else {
                [&[planes], &tail[..]].concat()
            },
            window_chunks: self.window_chunks,
        }
    }
}

fn group_layouts(decoder: &mut Slice) -> Decoded<Vec<GroupLayout>> {
    let groups = decoder.array("group_layouts")?;
    if groups > LAYOUTS_MAX {
        return Err(Malformed(format!("{groups} group layouts")));
    }
    decoder.collect(groups, |decoder| {
        let (mut layers, mut hidden, mut dtype, mut tokens_per_block) = (None, None, None, None);
        let (mut window_tokens, mut kv_size, mut window_chunks) = (0, 0, 0);
        entries(decoder, "a group layout", |decoder, name| {
            match name {
                "num_layers" => layers = Some(decoder.unsigned(name)?),
                "hidden_dim_size" => hidden = Some(decoder.unsigned(name)?),
                "tokens_per_block" => tokens_per_block = Some(decoder.unsigned(name)?),
                "dtype_str" => dtype = Dtype::of_name(&decoder.text(name)?),
                "window_tokens" => window_tokens = decoder.unsigned(name)?,
                "kv_size" => kv_size = decoder.unsigned(name)?,
                "window_chunks" => window_chunks = decoder.unsigned(name)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        required(tokens_per_block, "tokens_per_block")?;
        Ok(GroupLayout {
            layers: required(layers, "num_layers")?,
            hidden: required(hidden, "hidden_dim_size")?,
            dtype: required(dtype, "a known dtype_str")?,
            window_tokens,
            kv_size,
            window_chunks,
        })
    })
}

/// Layers that share a block table, as registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub layers: Vec<usize>,
    /// 0: as the tensors say.
    pub tokens_per_block: u64,
}

pub fn groups(payload: &[u8]) -> Decoded<Vec<Group>> {
    whole(payload, |decoder| {
        let groups = decoder.array("engine_group_infos")?;
        if groups > GROUPS_MAX {
            return Err(Malformed(format!("{groups} groups")));
        }
        let mut found = Vec::new();
        for _ in 0..groups {
            let mut group = Group::default();
            entries(decoder, "a group", |decoder, name| {
                match name {
                    "layer_indices" => {
                        let layers = decoder.numbers(name, TENSORS_MAX as usize)?;
                        group.layers = layers.into_iter().map(|layer| layer as usize).collect();
                    }
                    "tokens_per_block" => group.tokens_per_block = decoder.unsigned(name)?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
            found.push(group);
        }
        Ok(found)
    })
}

/// The layout hint, if there is one.
pub fn kv_layout(payload: &[u8]) -> Decoded<Option<String>> {
    whole(payload, |decoder| {
        let mut layout = None;
        entries(decoder, "layout_hints", |decoder, name| {
            let ours = name == "kv_layout";
            if ours {
                layout = Some(decoder.text(name)?);
            }
            Ok(ours)
        })?;
        Ok(layout)
    })
}
