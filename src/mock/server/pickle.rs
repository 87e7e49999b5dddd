//! Reads a pickle of one object with a few opcodes, into plain values: no name is resolved and nothing is executed.

use std::collections::HashMap;

use crate::server::rpc::msgpack::Malformed;

/// Steps and values of one pickle; real ones need some 60.
const STEPS_MAX: usize = 1000;
/// Bytes of one pickle; real ones have some 250.
const PICKLE_BYTES_MAX: usize = 4096;
/// Bytes of all copies that one pickle has made of remembered values, which may hold each other; real ones need 5 KiB.
const COPIED_BYTES_MAX: usize = 64 << 10;
/// Upper estimate of a value without its text and its parts.
const VALUE_BYTES: usize = 96;

/// A value on the machine's stack. A global is kept as its name, `module.attribute`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
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

impl Value {
    /// Size of a copy.
    fn bytes(&self) -> usize {
        let parts = match self {
            Value::Mark | Value::None | Value::Number(_) => 0,
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Name(module, name) => module.len() + name.len(),
            Value::Numbers(numbers) => numbers.len() * 8,
            Value::Dict(entries) => entries.iter().map(|(name, value)| name.len() + value.bytes()).sum(),
            Value::Object(class) => class.bytes(),
        };
        VALUE_BYTES + parts
    }
}

/// The class and the attributes of the one object that the pickle builds.
pub fn object(data: &[u8]) -> Result<(String, HashMap<String, Value>), Malformed> {
    if data.len() > PICKLE_BYTES_MAX {
        return Err(refuse("too many bytes"));
    }
    Machine::run(data)
}

struct Machine<'a> {
    data: &'a [u8],
    stack: Vec<Value>,
    memo: Vec<Value>,
    copied_bytes: usize,
}

impl<'a> Machine<'a> {
    fn run(data: &'a [u8]) -> Result<(String, HashMap<String, Value>), Malformed> {
        let mut machine = Machine {
            data,
            stack: Vec::new(),
            memo: Vec::new(),
            copied_bytes: 0,
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
                let top = self.stack.last().ok_or_else(|| refuse("nothing to remember"))?;
                let top = copy(top, &mut self.copied_bytes)?;
                self.memo.push(top);
                return Ok(());
            }
            b'h' => {
                let at = self.number(1)? as usize;
                let remembered = self.memo.get(at).ok_or_else(|| refuse("nothing remembered"))?;
                copy(remembered, &mut self.copied_bytes)?
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
        let mut items = items.into_iter();
        while let Some(name) = items.next() {
            match (name, items.next()) {
                (Value::Text(name), Some(value)) => dict.insert(name, value),
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

/// A copy of a value, within the limit on all copies.
fn copy(value: &Value, copied_bytes: &mut usize) -> Result<Value, Malformed> {
    *copied_bytes += value.bytes();
    if *copied_bytes > COPIED_BYTES_MAX {
        return Err(refuse("values that hold each other again and again"));
    }
    Ok(value.clone())
}

fn refuse(found: &str) -> Malformed {
    Malformed(format!("the descriptor's pickle has {found}"))
}
