//! Descriptors of a client's KV memory: the maps of 0.5.6 and the pickles before. A pickle is read by a machine that knows a
//! few opcodes and builds plain values; it must never look a name up, nor run anything.

use std::collections::HashMap;

use super::request::{self, TENSORS_MAX};
use crate::server::rpc::msgpack::{Decoder, Head, Malformed};
use crate::server::rpc::{Dtype, Generation};

const SIDES_MAX: usize = 8;
/// Steps and values of one pickle; real ones need some 60.
const STEPS_MAX: usize = 1000;
/// Bytes of one pickle; real ones have some 250.
const PICKLE_BYTES_MAX: usize = 4096;

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
            let data = match decoder.head()? {
                Head::Extension { kind: 1, bytes } if bytes <= decoder.0.len() as u64 => {
                    let (data, rest) = decoder.0.split_at(bytes as usize);
                    decoder.0 = rest;
                    data
                }
                other => return Err(Malformed(format!("a descriptor that is {other:?}"))),
            };
            found.push(match generation.pickles_descriptors() {
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

/// What the machine's stack holds. A name is `module.attribute` and stays a name.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Mark,
    None,
    Number(u64),
    Text(String),
    Bytes(Vec<u8>),
    Name(String, String),
    Numbers(Vec<u64>),
    Dict(HashMap<String, Value>),
    Object(Box<Value>),
}

fn of_pickle(data: &[u8]) -> Result<Descriptor, Malformed> {
    if data.len() > PICKLE_BYTES_MAX {
        return Err(refuse("too many bytes"));
    }
    let (class, attributes) = Machine::run(data)?;
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

struct Machine<'a> {
    data: &'a [u8],
    stack: Vec<Value>,
    memo: Vec<Value>,
}

impl<'a> Machine<'a> {
    /// The class and the attributes of the one object that the pickle builds.
    fn run(data: &'a [u8]) -> Result<(String, HashMap<String, Value>), Malformed> {
        let mut machine = Machine {
            data,
            stack: Vec::new(),
            memo: Vec::new(),
        };
        for _ in 0..STEPS_MAX {
            match machine.take(1)?[0] {
                b'.' => break,
                opcode => machine.step(opcode)?,
            }
        }
        match machine.stack.pop() {
            Some(Value::Dict(mut built)) => match built.remove("class") {
                Some(Value::Name(_, class)) => Ok((class, built)),
                _ => Err(refuse("no object")),
            },
            _ => Err(refuse("no object")),
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), Malformed> {
        let value = match opcode {
            0x80 => return self.take(1).map(|_| ()),
            0x95 => return self.take(8).map(|_| ()),
            b'(' => Value::Mark,
            b'N' => Value::None,
            b'}' => Value::Dict(HashMap::new()),
            b')' => Value::Numbers(Vec::new()),
            b'K' | b'M' | b'J' => {
                let width = [1, 2, 4][usize::from(opcode == b'M') + 2 * usize::from(opcode == b'J')];
                Value::Number(self.number(width)?)
            }
            0x8a => {
                let width = self.number(1)? as usize;
                Value::Number(self.number(width)?)
            }
            b'X' | 0x8c => {
                let length = self.number(if opcode == b'X' { 4 } else { 1 })? as usize;
                Value::Text(String::from_utf8_lossy(self.take(length)?).into_owned())
            }
            b'C' => {
                let length = self.number(1)? as usize;
                Value::Bytes(self.take(length)?.to_vec())
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                Value::Name(module, name)
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => Value::Name(module, name),
                _ => return Err(refuse("a name that is no text")),
            },
            0x94 => {
                let top = self
                    .stack
                    .last()
                    .cloned()
                    .ok_or_else(|| refuse("nothing to remember"))?;
                self.memo.push(top);
                return Ok(());
            }
            b'h' => {
                let at = self.number(1)? as usize;
                self.memo.get(at).cloned().ok_or_else(|| refuse("nothing remembered"))?
            }
            b't' | 0x85..=0x87 => self.tuple(opcode)?,
            0x81 => match (self.pop()?, self.pop()?) {
                (Value::Numbers(_), class @ Value::Name(..)) => Value::Object(Box::new(class)),
                _ => return Err(refuse("an object without a class")),
            },
            b'u' => self.set_items()?,
            b'b' => self.build()?,
            other => return Err(refuse(&format!("opcode {other:#04x}"))),
        };
        self.stack.push(value);
        Ok(())
    }

    fn tuple(&mut self, opcode: u8) -> Result<Value, Malformed> {
        let items = match opcode {
            b't' => self.since_mark()?,
            _ => {
                let count = usize::from(opcode - 0x84);
                let at = self
                    .stack
                    .len()
                    .checked_sub(count)
                    .ok_or_else(|| refuse("an empty stack"))?;
                self.stack.split_off(at)
            }
        };
        let numbers = items.into_iter().map(|item| match item {
            Value::Number(number) => Ok(number),
            _ => Err(refuse("a tuple of other things than numbers")),
        });
        Ok(Value::Numbers(numbers.collect::<Result<_, _>>()?))
    }

    fn set_items(&mut self) -> Result<Value, Malformed> {
        let items = self.since_mark()?;
        let Value::Dict(mut dict) = self.pop()? else {
            return Err(refuse("items of no dictionary"));
        };
        for pair in items.chunks(2) {
            match pair {
                [Value::Text(name), value] => dict.insert(name.clone(), value.clone()),
                _ => return Err(refuse("an item without a name")),
            };
        }
        Ok(Value::Dict(dict))
    }

    /// An object with its attributes, as a dictionary with its class among them.
    fn build(&mut self) -> Result<Value, Malformed> {
        match (self.pop()?, self.pop()?) {
            (Value::Dict(mut attributes), Value::Object(class)) => {
                attributes.insert("class".into(), *class);
                Ok(Value::Dict(attributes))
            }
            _ => Err(refuse("attributes of no object")),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Value>, Malformed> {
        let at = self.stack.iter().rposition(|value| *value == Value::Mark);
        let at = at.ok_or_else(|| refuse("no mark"))?;
        let items = self.stack.split_off(at + 1);
        self.stack.pop();
        Ok(items)
    }

    fn pop(&mut self) -> Result<Value, Malformed> {
        self.stack.pop().ok_or_else(|| refuse("an empty stack"))
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Malformed> {
        if bytes > self.data.len() {
            return Err(refuse("its end"));
        }
        let (taken, rest) = self.data.split_at(bytes);
        self.data = rest;
        Ok(taken)
    }

    /// Little-endian; a number of more than eight bytes only if the rest is zero.
    fn number(&mut self, width: usize) -> Result<u64, Malformed> {
        let bytes = self.take(width)?;
        let (low, high) = bytes.split_at(width.min(8));
        if high.iter().any(|byte| *byte != 0) {
            return Err(refuse("a number that is too large"));
        }
        let mut number = [0; 8];
        number[..low.len()].copy_from_slice(low);
        Ok(u64::from_le_bytes(number))
    }

    fn line(&mut self) -> Result<String, Malformed> {
        let end = self
            .data
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| refuse("its end"))?;
        let line = self.take(end + 1)?;
        Ok(String::from_utf8_lossy(&line[..end]).into_owned())
    }
}

fn refuse(found: &str) -> Malformed {
    Malformed(format!("the descriptor's pickle has {found}"))
}
