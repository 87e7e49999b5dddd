//! Descriptors of a client's KV memory: maps since 0.5.6, pickles before.

use super::pickle::{self, Value};
use super::request::{self, TENSORS_MAX};
use crate::server::rpc::msgpack::{Decoder, Header, Malformed};
use crate::server::rpc::{Dtype, Generation};

const SIDES_MAX: usize = 8;

/// Where a tensor's memory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A shared-memory object.
    Host { shm_name: String },
    /// An allocation on the device with this UUID, by its CUDA handle.
    Device { ipc_handle: [u8; 64], uuid: String },
}

/// One layer's tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub place: Place,
    pub bytes: u64,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    pub stride: Vec<u64>,
    pub storage_offset: u64,
}

/// The descriptors of `REGISTER_KV_CACHE`, one extension value of type 1 each.
pub fn descriptors(payload: &[u8], generation: Generation) -> Result<Vec<Descriptor>, Malformed> {
    request::whole(payload, |decoder| {
        let tensors = decoder.array("kv_caches")?;
        if tensors > TENSORS_MAX {
            return Err(Malformed(format!("{tensors} tensors")));
        }
        let mut found = Vec::new();
        for _ in 0..tensors {
            let data = match decoder.header()? {
                Header::Extension { kind: 1, bytes } if bytes <= decoder.0.len() as u64 => {
                    let (data, rest) = decoder.0.split_at(bytes as usize);
                    decoder.0 = rest;
                    data
                }
                other => return Err(Malformed(format!("a descriptor that is {other:?}"))),
            };
            found.push(match generation.pickles_descriptors {
                true => of_pickle(data)?,
                false => of_map(data)?,
            });
        }
        Ok(found)
    })
}

/// Gathers the attributes of a descriptor by name.
#[derive(Default)]
struct Parts {
    shm_name: Option<String>,
    ipc_handle: Option<[u8; 64]>,
    device_uuid: Option<String>,
    bytes: Option<u64>,
    dtype: Option<Dtype>,
    shape: Option<Vec<u64>>,
    stride: Option<Vec<u64>>,
    storage_offset: Option<u64>,
}

impl Parts {
    fn finish(self) -> Result<Descriptor, Malformed> {
        let missing = || Malformed("a descriptor lacks a field".into());
        let place = match (self.shm_name, self.ipc_handle, self.device_uuid) {
            (Some(shm_name), ..) => Place::Host { shm_name },
            (None, Some(ipc_handle), Some(uuid)) => Place::Device { ipc_handle, uuid },
            _ => return Err(missing()),
        };
        let descriptor = Descriptor {
            place,
            bytes: self.bytes.ok_or_else(missing)?,
            dtype: self.dtype.ok_or_else(missing)?,
            shape: self.shape.ok_or_else(missing)?,
            stride: self.stride.ok_or_else(missing)?,
            storage_offset: self.storage_offset.ok_or_else(missing)?,
        };
        descriptor.check()?;
        Ok(descriptor)
    }
}

impl Descriptor {
    /// The view must lie inside the mapping.
    fn check(&self) -> Result<(), Malformed> {
        let refuse = || Malformed("a descriptor's view leaves its memory".into());
        if self.shape.len() != self.stride.len() || self.shape.contains(&0) {
            return Err(refuse());
        }
        let mut last = self.storage_offset;
        for (side, stride) in self.shape.iter().zip(&self.stride) {
            let reach = (side - 1).checked_mul(*stride).ok_or_else(refuse)?;
            last = last.checked_add(reach).ok_or_else(refuse)?;
        }
        let end = last.checked_add(1).and_then(|end| end.checked_mul(self.dtype.bytes()));
        match end {
            Some(end) if end <= self.bytes => Ok(()),
            _ => Err(refuse()),
        }
    }
}

fn of_map(data: &[u8]) -> Result<Descriptor, Malformed> {
    request::whole(data, |decoder| {
        let mut parts = Parts::default();
        let mut kind = String::new();
        request::entries(decoder, "a descriptor", |decoder, name| {
            match name {
                "type" => kind = decoder.text(name)?,
                "shm_name" => parts.shm_name = Some(decoder.text(name)?),
                "ipc_handle" => parts.ipc_handle = decoder.binary(name)?.try_into().ok(),
                // Ours begin where their allocation begins.
                "alloc_offset" => offset_is_zero(decoder.unsigned(name)?)?,
                "nbytes" => parts.bytes = Some(decoder.unsigned(name)?),
                "metadata" => metadata(decoder, &mut parts)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        match kind.as_str() {
            "cpu_shm" | "cuda_raw" => parts.finish(),
            other => Err(Malformed(format!("memory of type '{other}'"))),
        }
    })
}

fn metadata(decoder: &mut Decoder<&[u8]>, parts: &mut Parts) -> Result<(), Malformed> {
    request::entries(decoder, "metadata", |decoder, name| {
        match name {
            "dtype" => parts.dtype = Dtype::of_name(&decoder.text(name)?),
            "shape" => parts.shape = Some(decoder.numbers(name, SIDES_MAX)?),
            "stride" => parts.stride = Some(decoder.numbers(name, SIDES_MAX)?),
            "storage_offset" => parts.storage_offset = Some(decoder.unsigned(name)?),
            "device_uuid" => parts.device_uuid = Some(decoder.text(name)?),
            _ => return Ok(false),
        }
        Ok(true)
    })
}

fn offset_is_zero(offset: u64) -> Result<(), Malformed> {
    match offset {
        0 => Ok(()),
        offset => Err(Malformed(format!("an allocation offset of {offset}"))),
    }
}

// ---- pickles ----------------------------------------------------------------------------------------------------------

fn of_pickle(data: &[u8]) -> Result<Descriptor, Malformed> {
    let (class, attributes) = pickle::object(data)?;
    if !["CpuShmTensorWrapper", "RawCudaIPCWrapper"].contains(&class.as_str()) {
        return Err(Malformed(format!("memory of class '{class}'")));
    }
    let mut parts = Parts::default();
    for (name, value) in attributes {
        match (name.as_str(), value) {
            ("shm_name", Value::Text(text)) => parts.shm_name = Some(text),
            ("_ipc_handle_reserved", Value::Bytes(handle)) => parts.ipc_handle = handle.try_into().ok(),
            ("_alloc_offset", Value::Number(offset)) => offset_is_zero(offset)?,
            ("device_uuid", Value::Text(text)) => parts.device_uuid = Some(text),
            ("nbytes" | "_nbytes", Value::Number(number)) => parts.bytes = Some(number),
            ("dtype", Value::Name(_, name)) => parts.dtype = Dtype::of_name(&name),
            ("shape", Value::Numbers(numbers)) => parts.shape = Some(numbers),
            ("stride", Value::Numbers(numbers)) => parts.stride = Some(numbers),
            ("storage_offset", Value::Number(number)) => parts.storage_offset = Some(number),
            _ => {}
        }
    }
    parts.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of its dictionaries holds the one before it twice.
    #[test]
    fn a_pickle_that_multiplies_its_values_is_refused() {
        let bomb = include_bytes!("../../../tests/golden/server/hostile/mock-descriptor-pickle-bomb.bin");
        let why = of_pickle(bomb).unwrap_err();
        assert!(why.0.contains("again and again"), "{why:?}");
    }
}
