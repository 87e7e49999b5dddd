//! Chunks inside of messages: pickles, envelopes, and envelopes of several layer groups.

use std::convert::Infallible;

use super::super::cache::ChunkId;
use super::super::chunk_pickle;
use super::super::service::{Answer, Service, boolean};
use super::{Object, Transfer};
use crate::server::rpc::inline::{self, ChunkFrame, Form};
use crate::server::rpc::msgpack::{self, Decoder, Malformed};
use crate::server::rpc::{ChunkLayout, ChunkSink, Inline};

/// Chunks of one group in an envelope.
const CHUNKS_MAX: usize = 1 << 16;
/// The bytes of an envelope before its list of tensors: a map of two, and the version.
const VERSION: &[u8] = b"\x82\xa7version\x01";

impl Service {
    /// Stores the chunks of a message that are not there yet.
    pub(super) fn commit_inline(&mut self, data: &[u8], chunks: &[ChunkId], layout: &ChunkLayout) -> Answer {
        let form = match self.config.generation.inline {
            Inline::Pickle => Form::TorchOrBare,
            Inline::Envelope => Form::Envelope,
        };
        let read = |sink: &mut ChunkSink| {
            let mut from = data;
            inline::read_chunks(&mut from, data.len() as u64, layout, form, sink)
        };
        if form == Form::Envelope {
            // Such servers check all of it before they reserve anything.
            read(&mut |_, _, _| {})?;
        }
        let bytes = layout.chunk_bytes();
        let fresh: Vec<bool> = chunks.iter().map(|chunk| self.cache.reserve(*chunk, bytes)).collect();
        let cache = &mut self.cache;
        let read = read(&mut |number, at, piece| {
            if fresh[number] {
                cache.write(chunks[number], at, piece);
            }
        });
        for (chunk, _) in chunks.iter().zip(&fresh).filter(|(_, fresh)| **fresh) {
            match read {
                Ok(()) => self.cache.publish(*chunk),
                Err(_) => self.cache.abandon(*chunk),
            }
        }
        read.map(|()| boolean(true))
    }

    /// The same for an envelope of several groups, each with the numbers of its chunks.
    pub(super) fn commit_groups(&mut self, data: &[u8], transfer: &Transfer) -> Answer {
        let mut parts: Vec<(Object, Vec<u8>)> = Vec::new();
        read_groups(data, transfer, &mut parts)?;
        for (object, bytes) in parts {
            if self.cache.reserve(object.id, bytes.len() as u64) {
                self.cache.write(object.id, 0, &bytes);
                self.cache.publish(object.id);
            }
        }
        Ok(boolean(true))
    }

    /// The data of `PREPARE_RETRIEVE`.
    pub(super) fn inline_chunks(&self, transfer: &Transfer, objects: &[Object], corrupt: bool) -> Vec<u8> {
        let chunks_of = |group: usize| {
            let objects: Vec<&Object> = objects.iter().filter(|object| object.group == group).collect();
            let layout = transfer.layout(group, objects.len());
            let data = chunk_data(self.config.generation.inline, &layout, &mut |number, to| {
                self.cache.read(objects[number].id, 0, to);
                if corrupt && let Some(first) = to.first_mut() {
                    *first ^= 1;
                }
            });
            (objects, data)
        };
        if transfer.groups.len() == 1 {
            return chunks_of(0).1;
        }
        let mut out = VERSION.to_vec();
        msgpack::text(&mut out, "groups");
        msgpack::array(&mut out, transfer.groups.len());
        for group in 0..transfer.groups.len() {
            let (objects, data) = chunks_of(group);
            msgpack::map(&mut out, 2);
            msgpack::text(&mut out, "chunk_indices");
            msgpack::numbers(
                &mut out,
                objects
                    .iter()
                    .map(|object| object.number as u64)
                    .collect::<Vec<_>>()
                    .into_iter(),
            );
            // The entry `tensors` is that of an envelope of one group.
            out.extend_from_slice(&data[VERSION.len()..]);
        }
        out
    }
}

/// Reads the chunks of all groups. As in the real server, the numbers of a group must increase.
fn read_groups(data: &[u8], transfer: &Transfer, parts: &mut Vec<(Object, Vec<u8>)>) -> Result<(), Malformed> {
    let refuse = |what: &str| Malformed(format!("an envelope of groups with {what}"));
    let rest = data.strip_prefix(VERSION).ok_or_else(|| refuse("another version"))?;
    let mut decoder = Decoder(rest);
    if decoder.text("a field")? != "groups" || decoder.array("groups")? != transfer.groups.len() as u64 {
        return Err(refuse("another number of groups"));
    }
    for group in 0..transfer.groups.len() {
        if decoder.map("a group")? != 2 || decoder.text("a field")? != "chunk_indices" {
            return Err(refuse("a group without chunk_indices"));
        }
        let numbers = decoder.numbers("chunk_indices", CHUNKS_MAX)?;
        let is_known = |number: &u64| (*number as usize) < transfer.chunks.len();
        if !numbers.is_sorted_by(|one, next| one < next) || !numbers.iter().all(is_known) {
            return Err(refuse("chunk_indices out of order"));
        }
        if decoder.text("a field")? != "tensors" {
            return Err(refuse("a group without tensors"));
        }
        let begin = parts.len();
        parts.extend(numbers.iter().map(|number| {
            let number = *number as usize;
            let id = transfer.chunks[number].of_group(group as u32);
            (Object { group, number, id }, Vec::new())
        }));
        let layout = transfer.layout(group, numbers.len());
        inline::read_tensors(&mut decoder, &layout, &mut |chunk, _, piece| {
            parts[begin + chunk].1.extend_from_slice(piece);
        })?;
    }
    decoder.end()
}

/// Chunks as they travel inside of an answer.
pub(crate) fn chunk_data(form: Inline, layout: &ChunkLayout, chunk: &mut dyn FnMut(usize, &mut [u8])) -> Vec<u8> {
    if form == Inline::Pickle {
        return chunk_pickle::chunk_list(layout, chunk);
    }
    let frame = ChunkFrame::new(form, layout);
    let mut out = Vec::with_capacity(usize::try_from(frame.bytes()).unwrap_or(0));
    let mut buffer = vec![0; layout.chunk_bytes() as usize];
    let mut source = |number: usize, visit: &mut dyn FnMut(&[u8])| {
        chunk(number, &mut buffer);
        visit(&buffer);
    };
    let Ok(()) = frame.write::<Infallible>(&mut source, &mut |piece| {
        out.extend_from_slice(piece);
        Ok(())
    });
    out
}
