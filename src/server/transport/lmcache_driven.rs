//! The server copies from and to shared memory that is ours. It must never leave the memory's name behind: the name goes as
//! soon as the server has opened it.

use std::io;

use super::{Registration, Transfer, Transport, Worker};
use crate::error::Error;
use crate::server::memory::{Blocks, KvTensors, Layout};
use crate::server::rpc::{Client, Dtype, Generation, Key, KvMemory, KvRegistration, KvTensor, LayerGroup, RpcError};
use crate::server::shape::Shape;

/// What every name of ours begins with, so that leftovers of killed runs are found.
pub const NAME_PREFIX: &str = "lmcache-bench-kv-";
/// The event of a device without events; servers ignore it.
const NO_EVENT: &[u8] = b"";

pub struct LmcacheDriven {
    shape: Shape,
    run_id: String,
}

impl LmcacheDriven {
    pub fn new(shape: &Shape, run_id: &str) -> LmcacheDriven {
        LmcacheDriven {
            shape: shape.clone(),
            run_id: run_id.to_owned(),
        }
    }

    /// Every group has the same blocks.
    fn block_ids(&self, blocks: Blocks) -> Vec<Vec<u64>> {
        let ids: Vec<u64> = (blocks.first..blocks.first + blocks.count)
            .map(|id| id as u64)
            .collect();
        vec![ids; self.shape.groups.len()]
    }

    /// One descriptor per layer; all name the same memory.
    fn descriptors(&self, tensors: &KvTensors, name: &str, generation: Generation) -> Vec<KvTensor> {
        let layers = self.shape.layers().zip(&tensors.layout.layers);
        let descriptor = |(group, layer): (&crate::server::shape::LayerGroup, &crate::server::memory::Layer)| {
            let (heads, tokens, head) = (group.heads, group.block_tokens, group.head_elements);
            let shape = match (group.kv_size, generation.reads_kv_heads_first()) {
                (1, _) => vec![group.blocks, tokens, group.hidden()],
                // The same bytes per block: such servers take the third side for heads whatever the hint says.
                (_, true) => vec![2, group.blocks, heads, tokens, head],
                (_, false) => vec![2, group.blocks, tokens, heads, head],
            };
            let shape: Vec<u64> = shape.into_iter().map(|side| side as u64).collect();
            KvTensor {
                memory: KvMemory::CpuShm {
                    shm_name: name.to_owned(),
                    bytes: tensors.mapping().len() as u64,
                },
                dtype: group.dtype,
                stride: contiguous(&shape),
                shape,
                storage_offset: layer.offset as u64 / dtype_bytes(group.dtype),
                device_uuid: "cpu".to_owned(),
            }
        };
        layers.map(descriptor).collect()
    }

    fn groups(&self) -> Vec<LayerGroup> {
        let mut next_layer = 0;
        let group = |(index, group): (usize, &crate::server::shape::LayerGroup)| {
            let layers = next_layer..next_layer + group.layers as u64;
            next_layer = layers.end;
            LayerGroup {
                engine_group_id: index as u64,
                layer_indices: layers.collect(),
                tokens_per_block: group.block_tokens as u64,
                sw_size_tokens: -1,
            }
        };
        self.shape.groups.iter().enumerate().map(group).collect()
    }
}

fn dtype_bytes(dtype: Dtype) -> u64 {
    dtype.bytes()
}

/// Strides, in elements, of a tensor without gaps.
fn contiguous(shape: &[u64]) -> Vec<u64> {
    let mut strides = vec![1; shape.len()];
    for side in (1..shape.len()).rev() {
        strides[side - 1] = strides[side] * shape[side];
    }
    strides
}

impl Transport for LmcacheDriven {
    fn label(&self) -> &'static str {
        "lmcache_driven, POSIX shared memory of the client"
    }

    fn allocate(&self, layout: Layout, rank: u32) -> io::Result<KvTensors> {
        let name = format!("{NAME_PREFIX}{}-{}-{rank}", std::process::id(), self.run_id);
        KvTensors::shared(layout, &name)
    }

    fn register(&mut self, client: &mut Client, worker: &mut Worker, registration: &Registration) -> Result<(), Error> {
        let name = worker.tensors.name().unwrap_or_default().to_owned();
        let tensors = self.descriptors(&worker.tensors, &name, client.server().generation);
        let registered = client.register_kv_cache(&KvRegistration {
            instance_id: worker.instance_id,
            tensors,
            model_name: registration.model_name.clone(),
            world_size: registration.world_size,
            engine_type: "vllm".to_owned(),
            kv_layout: "NHD".to_owned(),
            groups: self.groups(),
        });
        registered.map_err(|error| {
            Error::Environment(format!(
                "REGISTER_KV_CACHE failed for rank {}: {error}; the server must run on this host as this user, with a \
                 --supported-transfer-mode that includes lmcache_driven, and know these shapes",
                worker.rank
            ))
        })?;
        worker
            .tensors
            .unlink()
            .map_err(|error| Error::Environment(format!("could not remove the shared memory {name}: {error}")))
    }

    fn store(
        &mut self,
        client: &mut Client,
        worker: &mut Worker,
        key: &Key,
        blocks: Blocks,
    ) -> Result<Transfer, RpcError> {
        let ids = self.block_ids(blocks);
        let done = client.store(key, worker.instance_id, &ids, NO_EVENT)?;
        Ok(moved(client, worker, done.accepted, blocks))
    }

    fn retrieve(
        &mut self,
        client: &mut Client,
        worker: &mut Worker,
        key: &Key,
        blocks: Blocks,
    ) -> Result<Transfer, RpcError> {
        let ids = self.block_ids(blocks);
        let done = client.retrieve(key, worker.instance_id, &ids, NO_EVENT, 0)?;
        Ok(moved(client, worker, done.accepted, blocks))
    }

    fn unregister(&mut self, client: &mut Client, worker: &Worker) -> Result<(), RpcError> {
        client.unregister_kv_cache(worker.instance_id)
    }

    fn commits_late(&self) -> bool {
        true
    }
}

/// The server did the moving, so all the time went into waiting for it.
fn moved(client: &Client, worker: &Worker, accepted: bool, blocks: Blocks) -> Transfer {
    let timing = client.timing();
    Transfer {
        accepted,
        bytes: if accepted {
            worker.tensors.layout.bytes_of(blocks)
        } else {
            0
        },
        wait: timing.done - timing.begun,
        copy: std::time::Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(spec: &str, generation: Generation) -> (Vec<KvTensor>, Vec<LayerGroup>) {
        let shape = Shape::parse(spec).unwrap();
        let transport = LmcacheDriven::new(&shape, "test");
        let tensors = KvTensors::private(Layout::new(&shape)).unwrap();
        (transport.descriptors(&tensors, "/x", generation), transport.groups())
    }

    #[test]
    fn layers_are_described_inside_one_memory() {
        let (tensors, groups) = described("(2,16,4,3,4):float16:2;(1,16,4,1,8):uint8:1", Generation::V0_5_6);
        assert_eq!(tensors[0].shape, [2, 16, 4, 3, 4]);
        assert_eq!(tensors[0].stride, [768, 48, 12, 4, 1]);
        assert_eq!((tensors[1].storage_offset, tensors[2].storage_offset), (2048, 8192));
        assert_eq!(
            (tensors[2].shape.as_slice(), tensors[2].stride.as_slice()),
            (&[16, 4, 8][..], &[32, 8, 1][..])
        );
        let bytes = 8192 + 4096;
        assert_eq!(
            tensors[2].memory,
            KvMemory::CpuShm {
                shm_name: "/x".into(),
                bytes
            }
        );
        let layers: Vec<_> = groups.iter().map(|group| group.layer_indices.clone()).collect();
        assert_eq!(layers, [vec![0, 1], vec![2]]);
        assert_eq!((groups[1].engine_group_id, groups[1].tokens_per_block), (1, 4));
    }

    #[test]
    fn older_servers_take_the_third_side_for_heads() {
        let (tensors, _) = described("(2,16,4,3,4):float16:1", Generation::V0_5_3);
        assert_eq!(tensors[0].shape, [2, 16, 3, 4, 4]);
        let (tensors, _) = described("(1,16,4,3,4):float16:1", Generation::V0_5_0);
        assert_eq!(tensors[0].shape, [16, 4, 12]);
    }

    #[test]
    fn every_group_gets_the_same_blocks() {
        let shape = Shape::parse("(2,16,4,3,4):float16:2;(1,16,4,1,8):uint8:1").unwrap();
        let transport = LmcacheDriven::new(&shape, "test");
        let ids = transport.block_ids(Blocks { first: 3, count: 2 });
        assert_eq!(ids, [vec![3, 4], vec![3, 4]]);
    }
}
