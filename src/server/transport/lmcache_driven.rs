//! lmcache-driven transfers: the server copies from and to memory that this program registers. The name of shared memory is
//! removed as soon as the server has opened it, so that a killed run leaves nothing behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Registration, Transfer, TransferResult, Transport, Worker, not_registered};
use crate::cuda::CudaError;
use crate::cuda::stream::Event;
use crate::error::Error;
use crate::server::device::{DeviceTensors, Gpu};
use crate::server::memory::{KvTensors, Layer, Layout};
use crate::server::rpc::{
    Client, Generation, Key, KvMemory, KvRegistration, KvTensor, LayerGroup, RpcError, Transferred,
};
use crate::server::shape::{self, Shape};
use crate::server::tensors::Tensors;
use crate::sys::limits;

/// The prefix of all names of shared memory, by which leftovers of killed runs are found.
pub const NAME_PREFIX: &str = "lmcache-bench-kv-";
/// The event for host memory; servers ignore it.
const NO_EVENT: &[u8] = b"";

pub struct LmcacheDriven {
    shape: Shape,
    run_id: String,
    gpu: Option<Arc<Gpu>>,
}

impl LmcacheDriven {
    pub fn new(shape: &Shape, run_id: &str, gpu: Option<Arc<Gpu>>) -> LmcacheDriven {
        LmcacheDriven {
            shape: shape.clone(),
            run_id: run_id.to_owned(),
            gpu,
        }
    }

    /// The ids of the blocks, once for each group.
    fn block_ids(&self, blocks: &[u64]) -> Vec<Vec<u64>> {
        vec![blocks.to_vec(); self.shape.groups.len()]
    }

    /// One descriptor for each layer. In host memory all layers share an object, on a device each has its own allocation.
    fn descriptors(&self, tensors: &Tensors, generation: Generation) -> Result<Vec<KvTensor>, CudaError> {
        // A server with a device reads the dimensions in their declared order.
        let heads_first = matches!(tensors, Tensors::Host(_)) && generation.reads_kv_heads_first;
        let layers = self.shape.layers().zip(&tensors.layout().layers).enumerate();
        layers
            .map(|(index, (group, layer))| {
                let shape = declared_shape(group, heads_first);
                let (memory, storage_offset, device_uuid) = match tensors {
                    Tensors::Host(tensors) => {
                        let offset = layer.offset as u64 / group.dtype.bytes();
                        (host_memory(tensors), offset, "cpu".to_owned())
                    }
                    Tensors::Device(tensors) => {
                        let uuid = tensors.context().facts().uuid.clone();
                        (device_memory(tensors, index)?, 0, uuid)
                    }
                };
                Ok(KvTensor {
                    memory,
                    dtype: group.dtype,
                    stride: contiguous(&shape),
                    shape,
                    storage_offset,
                    device_uuid,
                })
            })
            .collect()
    }

    fn groups(&self) -> Vec<LayerGroup> {
        let mut next_layer = 0;
        let mut groups = Vec::new();
        for (index, group) in self.shape.groups.iter().enumerate() {
            let layers = next_layer..next_layer + group.layers as u64;
            next_layer = layers.end;
            groups.push(LayerGroup {
                engine_group_id: index as u64,
                layer_indices: layers.collect(),
                tokens_per_block: group.block_tokens as u64,
                sw_size_tokens: -1,
            });
        }
        groups
    }
}

/// The shape of one layer's tensor in its descriptor.
fn declared_shape(group: &shape::LayerGroup, heads_first: bool) -> Vec<u64> {
    let (heads, tokens, head) = (group.heads, group.block_tokens, group.head_elements);
    let shape = match (group.kv_size, heads_first) {
        (1, _) => vec![group.blocks, tokens, group.hidden()],
        // Such servers take the third dimension for heads, whatever the hint says. The bytes per block are the same.
        (_, true) => vec![2, group.blocks, heads, tokens, head],
        (_, false) => vec![2, group.blocks, tokens, heads, head],
    };
    shape.into_iter().map(|length| length as u64).collect()
}

/// The strides, in elements, of a contiguous tensor.
fn contiguous(shape: &[u64]) -> Vec<u64> {
    let mut strides = vec![1; shape.len()];
    for dimension in (1..shape.len()).rev() {
        strides[dimension - 1] = strides[dimension] * shape[dimension];
    }
    strides
}

impl Transport for LmcacheDriven {
    fn label(&self) -> &'static str {
        match self.gpu {
            None => "lmcache_driven, POSIX shared memory of the client",
            Some(_) => "lmcache_driven, CUDA memory of the client",
        }
    }

    fn allocate(&self, layout: Layout, instance_id: u64) -> Result<Tensors, String> {
        if let Some(gpu) = &self.gpu {
            return DeviceTensors::allocate(gpu, layout).map(Tensors::Device);
        }
        let name = format!("{NAME_PREFIX}{}-{}-{instance_id}", std::process::id(), self.run_id);
        let shared = KvTensors::shared(layout, &name);
        shared.map(Tensors::Host).map_err(|error| limits::with_advice(&error))
    }

    fn register(&mut self, client: &mut Client, worker: &mut Worker, registration: &Registration) -> Result<(), Error> {
        let tensors = self.descriptors(&worker.tensors, client.server().generation);
        let tensors = tensors.map_err(|error| {
            Error::Environment(format!(
                "could not share the KV tensors of rank {}: {error}",
                worker.rank
            ))
        })?;
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
            let advice = "the server must run on this host as this user, with a --supported-transfer-mode that includes \
                          lmcache_driven, and know these shapes";
            not_registered("REGISTER_KV_CACHE", worker.rank, &error, advice)
        })?;
        match &mut worker.tensors {
            Tensors::Device(_) => Ok(()),
            Tensors::Host(tensors) => tensors.unlink().map_err(|error| {
                let name = tensors.name().unwrap_or_default();
                Error::Environment(format!("could not remove the shared memory {name}: {error}"))
            }),
        }
    }

    fn store(&mut self, client: &mut Client, worker: &mut Worker, key: &Key, blocks: &[u64]) -> TransferResult {
        let ids = self.block_ids(blocks);
        let ordering = Ordering::before(&worker.tensors)?;
        let done = client.store(key, worker.instance_id, &ids, ordering.handle())?;
        transfer_result(client, worker, &done, blocks.len(), ordering)
    }

    fn retrieve(&mut self, client: &mut Client, worker: &mut Worker, key: &Key, blocks: &[u64]) -> TransferResult {
        let ids = self.block_ids(blocks);
        let ordering = Ordering::before(&worker.tensors)?;
        let done = client.retrieve(key, worker.instance_id, &ids, ordering.handle(), 0)?;
        transfer_result(client, worker, &done, blocks.len(), ordering)
    }

    fn unregister(&mut self, client: &mut Client, worker: &Worker) -> Result<(), RpcError> {
        client.unregister_kv_cache(worker.instance_id)
    }

    fn commits_late(&self) -> bool {
        true
    }
}

/// The shared memory object that holds all layers.
fn host_memory(tensors: &KvTensors) -> KvMemory {
    KvMemory::CpuShm {
        shm_name: tensors.name().unwrap_or_default().to_owned(),
        bytes: tensors.mapping().len() as u64,
    }
}

/// The device memory of one layer. Each layer is an allocation of its own, so no offset is needed, which servers before 0.5.5
/// do not support.
fn device_memory(tensors: &DeviceTensors, layer: usize) -> Result<KvMemory, CudaError> {
    let memory = &tensors.layers()[layer];
    let Layer {
        planes, block_bytes, ..
    } = tensors.layout.layers[layer];
    Ok(KvMemory::CudaRaw {
        ipc_handle: memory.ipc_handle()?,
        offset: 0,
        bytes: (planes * tensors.layout.blocks * block_bytes) as u64,
    })
}

/// Orders our work on the device and the server's: the server waits for our event, and we wait for its event.
enum Ordering {
    /// Host memory: the server replies after its copies.
    Host,
    Device {
        /// Kept until the server has finished: using an event that its creator has destroyed is undefined.
        ours: Event,
        handle: [u8; 64],
        begun: Event,
    },
}

impl Ordering {
    /// Records an event after all work that is queued for the tensors; the server's work waits for it.
    fn before(tensors: &Tensors) -> Result<Ordering, CudaError> {
        let Tensors::Device(tensors) = tensors else {
            return Ok(Ordering::Host);
        };
        let begun = Event::timing(tensors.context())?;
        begun.record(&tensors.stream)?;
        let ours = Event::interprocess(tensors.context())?;
        ours.record(&tensors.stream)?;
        Ok(Ordering::Device {
            handle: ours.ipc_handle()?,
            ours,
            begun,
        })
    }

    fn handle(&self) -> &[u8] {
        match self {
            Ordering::Host => NO_EVENT,
            Ordering::Device { handle, .. } => handle,
        }
    }

    /// Waits until the server's work on the device is done. Returns the device time since our event, or `None` for host memory.
    fn after(self, tensors: &Tensors, theirs: &[u8]) -> Result<Option<Duration>, RpcError> {
        let (Ordering::Device { ours, begun, .. }, Tensors::Device(tensors)) = (self, tensors) else {
            return Ok(None);
        };
        if !theirs.is_empty() {
            let handle = theirs.try_into().map_err(|_| {
                RpcError::Local(format!(
                    "the server answered with an event of {} bytes where a CUDA event has 64; start it without \
                     --isolated-ipc",
                    theirs.len()
                ))
            })?;
            let theirs = Event::open(tensors.context(), handle)?;
            tensors.stream.wait_for(&theirs)?;
        }
        let ended = Event::timing(tensors.context())?;
        ended.record(&tensors.stream)?;
        ended.synchronize()?;
        drop(ours);
        Ok(Some(ended.elapsed_since(&begun)?))
    }
}

/// The result of a transfer. The server copies, so all of its time is waiting: for the reply, and on a device for the event.
fn transfer_result(
    client: &Client,
    worker: &Worker,
    done: &Transferred,
    blocks: usize,
    ordering: Ordering,
) -> TransferResult {
    let timing = client.timing();
    let gpu = ordering.after(&worker.tensors, &done.event)?;
    let ended = match gpu {
        None => timing.done,
        Some(_) => Instant::now(),
    };
    Ok(Transfer {
        accepted: done.accepted,
        bytes: if done.accepted {
            worker.tensors.layout().bytes_of(blocks)
        } else {
            0
        },
        wait: ended - timing.begun,
        copy: Duration::ZERO,
        gpu,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(spec: &str, generation: Generation) -> (Vec<KvTensor>, Vec<LayerGroup>) {
        let shape = Shape::parse(spec).unwrap();
        let transport = LmcacheDriven::new(&shape, "test", None);
        let tensors = Tensors::Host(KvTensors::private(Layout::new(&shape)).unwrap());
        (transport.descriptors(&tensors, generation).unwrap(), transport.groups())
    }

    #[test]
    fn layers_are_described_by_their_offset_in_one_object() {
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
                shm_name: String::new(),
                bytes
            }
        );
        let layers: Vec<_> = groups.iter().map(|group| group.layer_indices.clone()).collect();
        assert_eq!(layers, [vec![0, 1], vec![2]]);
        assert_eq!((groups[1].engine_group_id, groups[1].tokens_per_block), (1, 4));
    }

    #[test]
    fn older_servers_get_heads_as_the_third_dimension() {
        let (tensors, _) = described("(2,16,4,3,4):float16:1", Generation::V0_5_3);
        assert_eq!(tensors[0].shape, [2, 16, 3, 4, 4]);
        let (tensors, _) = described("(1,16,4,3,4):float16:1", Generation::V0_5_0);
        assert_eq!(tensors[0].shape, [16, 4, 12]);
    }

    #[test]
    fn every_group_gets_the_same_blocks() {
        let shape = Shape::parse("(2,16,4,3,4):float16:2;(1,16,4,1,8):uint8:1").unwrap();
        let transport = LmcacheDriven::new(&shape, "test", None);
        let ids = transport.block_ids(&[4, 3]);
        assert_eq!(ids, [vec![4, 3], vec![4, 3]]);
    }
}
