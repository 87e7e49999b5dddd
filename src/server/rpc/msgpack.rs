//! The parts of MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md) that the protocol uses. The encoder
//! writes the shortest headers, as LMCache's does. The decoder checks every length against the bytes that are left before it
//! allocates.

use std::fmt;

/// Deepest nesting that is skipped; the protocol has four levels.
const DEPTH_MAX: u32 = 32;
/// Longest string that is decoded; names and salts are far shorter.
const TEXT_BYTES_MAX: u64 = 64 << 10;

pub fn nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

pub fn boolean(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

pub fn unsigned(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => header(out, 0xcd, &(value as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => header(out, 0xce, &(value as u32).to_be_bytes()),
        _ => header(out, 0xcf, &value.to_be_bytes()),
    }
}

pub fn signed(out: &mut Vec<u8>, value: i64) {
    match value {
        0.. => unsigned(out, value as u64),
        -32..=-1 => out.push(value as u8),
        -0x80..=-33 => out.extend_from_slice(&[0xd0, value as u8]),
        -0x8000..=-0x81 => header(out, 0xd1, &(value as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => header(out, 0xd2, &(value as i32).to_be_bytes()),
        _ => header(out, 0xd3, &value.to_be_bytes()),
    }
}

pub fn float(out: &mut Vec<u8>, value: f64) {
    header(out, 0xcb, &value.to_be_bytes());
}

pub fn text(out: &mut Vec<u8>, value: &str) {
    let bytes = value.len();
    match bytes {
        0..=31 => out.push(0xa0 | bytes as u8),
        32..=0xff => out.extend_from_slice(&[0xd9, bytes as u8]),
        0x100..=0xffff => header(out, 0xda, &(bytes as u16).to_be_bytes()),
        _ => header(out, 0xdb, &(bytes as u32).to_be_bytes()),
    }
    out.extend_from_slice(value.as_bytes());
}

/// The header of a byte string of `bytes` bytes.
pub fn binary_header(out: &mut Vec<u8>, bytes: u32) {
    match bytes {
        0..=0xff => out.extend_from_slice(&[0xc4, bytes as u8]),
        0x100..=0xffff => header(out, 0xc5, &(bytes as u16).to_be_bytes()),
        _ => header(out, 0xc6, &bytes.to_be_bytes()),
    }
}

pub fn binary(out: &mut Vec<u8>, value: &[u8]) {
    binary_header(out, value.len() as u32);
    out.extend_from_slice(value);
}

pub fn array(out: &mut Vec<u8>, items: usize) {
    match items {
        0..=15 => out.push(0x90 | items as u8),
        16..=0xffff => header(out, 0xdc, &(items as u16).to_be_bytes()),
        _ => header(out, 0xdd, &(items as u32).to_be_bytes()),
    }
}

pub fn map(out: &mut Vec<u8>, entries: usize) {
    match entries {
        0..=15 => out.push(0x80 | entries as u8),
        16..=0xffff => header(out, 0xde, &(entries as u16).to_be_bytes()),
        _ => header(out, 0xdf, &(entries as u32).to_be_bytes()),
    }
}

/// An array of numbers, such as token ids or block ids.
pub fn numbers(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = u64>) {
    array(out, values.len());
    values.for_each(|value| unsigned(out, value));
}

/// An extension value of type 1, which the protocol uses for descriptors of KV memory.
pub fn extension_1(out: &mut Vec<u8>, data: &[u8]) {
    match data.len() {
        fixed @ (1 | 2 | 4 | 8 | 16) => out.push(0xd4 + fixed.trailing_zeros() as u8),
        length @ 0..=0xff => out.extend_from_slice(&[0xc7, length as u8]),
        length @ 0x100..=0xffff => header(out, 0xc8, &(length as u16).to_be_bytes()),
        length => header(out, 0xc9, &(length as u32).to_be_bytes()),
    }
    out.push(1);
    out.extend_from_slice(data);
}

fn header(out: &mut Vec<u8>, marker: u8, length: &[u8]) {
    out.push(marker);
    out.extend_from_slice(length);
}

/// What is wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The header of a value: its type, with its content (nil, booleans, numbers) or the length of what follows: the bytes of
/// strings and extensions, the items of arrays, the entries of maps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Header {
    Nil,
    Boolean(bool),
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    Text(u64),
    Binary(u64),
    Array(u64),
    Map(u64),
    Extension { kind: u8, bytes: u64 },
}

/// Encoded bytes: a slice, or a frame that is still arriving. Callers check `left` before they read or skip.
pub trait Source {
    type Error: From<Malformed>;
    /// Number of bytes that are left.
    fn left(&self) -> u64;
    /// Reads exactly `to.len()` bytes.
    fn read(&mut self, to: &mut [u8]) -> Result<(), Self::Error>;
    /// Some of the next bytes: at least one, at most `max`, which is not 0.
    fn piece(&mut self, max: u64) -> Result<&[u8], Self::Error>;
    /// Skips bytes.
    fn skip(&mut self, mut bytes: u64) -> Result<(), Self::Error> {
        while bytes > 0 {
            bytes -= self.piece(bytes)?.len() as u64;
        }
        Ok(())
    }
}

/// Decodes values from a source. `what` names a value in error messages.
pub struct Decoder<S>(pub S);

impl<S: Source> Decoder<S> {
    pub fn header(&mut self) -> Result<Header, S::Error> {
        let marker = self.bytes::<1>()?[0];
        Ok(match marker {
            0..=0x7f => Header::Unsigned(u64::from(marker)),
            0x80..=0x8f => Header::Map(u64::from(marker & 15)),
            0x90..=0x9f => Header::Array(u64::from(marker & 15)),
            0xa0..=0xbf => Header::Text(u64::from(marker & 31)),
            0xc0 => Header::Nil,
            0xc2 | 0xc3 => Header::Boolean(marker == 0xc3),
            0xc4..=0xc6 => Header::Binary(self.length(marker - 0xc4)?),
            0xc7..=0xc9 => {
                let bytes = self.length(marker - 0xc7)?;
                let kind = self.bytes::<1>()?[0];
                Header::Extension { kind, bytes }
            }
            0xca => Header::Float(f64::from(f32::from_be_bytes(self.bytes()?))),
            0xcb => Header::Float(f64::from_be_bytes(self.bytes()?)),
            0xcc..=0xcf => Header::Unsigned(self.length(marker - 0xcc)?),
            0xd0 => signed_number(i64::from(i8::from_be_bytes(self.bytes()?))),
            0xd1 => signed_number(i64::from(i16::from_be_bytes(self.bytes()?))),
            0xd2 => signed_number(i64::from(i32::from_be_bytes(self.bytes()?))),
            0xd3 => signed_number(i64::from_be_bytes(self.bytes()?)),
            0xd4..=0xd8 => Header::Extension {
                kind: self.bytes::<1>()?[0],
                bytes: 1 << (marker - 0xd4),
            },
            0xd9..=0xdb => Header::Text(self.length(marker - 0xd9)?),
            0xdc | 0xdd => Header::Array(self.length(marker - 0xdc + 1)?),
            0xde | 0xdf => Header::Map(self.length(marker - 0xde + 1)?),
            0xe0..=0xff => Header::Negative(i64::from(marker as i8)),
            0xc1 => return Err(wrong("the byte c1, which MessagePack does not use")),
        })
    }

    /// A big-endian number of 1, 2, 4 or 8 bytes.
    fn length(&mut self, width_log2: u8) -> Result<u64, S::Error> {
        Ok(match width_log2 {
            0 => u64::from(self.bytes::<1>()?[0]),
            1 => u64::from(u16::from_be_bytes(self.bytes()?)),
            2 => u64::from(u32::from_be_bytes(self.bytes()?)),
            _ => u64::from_be_bytes(self.bytes()?),
        })
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], S::Error> {
        self.need(N as u64)?;
        let mut bytes = [0; N];
        self.0.read(&mut bytes)?;
        Ok(bytes)
    }

    fn need(&self, bytes: u64) -> Result<(), S::Error> {
        if bytes > self.0.left() {
            let text = format!("a value of {bytes} bytes where {} are left", self.0.left());
            return Err(Malformed(text).into());
        }
        Ok(())
    }

    /// The number of items of an array. Each takes at least a byte, so more items than bytes left are an error.
    pub fn array(&mut self, what: &str) -> Result<u64, S::Error> {
        match self.header()? {
            Header::Array(items) if items <= self.0.left() => Ok(items),
            other => Err(unexpected(what, "an array", other)),
        }
    }

    pub fn map(&mut self, what: &str) -> Result<u64, S::Error> {
        match self.header()? {
            Header::Map(entries) if entries <= self.0.left() / 2 => Ok(entries),
            other => Err(unexpected(what, "a map", other)),
        }
    }

    /// A number that is not negative. As in Python, where `bool` is an `int`, a boolean counts as a number and vice versa.
    pub fn unsigned(&mut self, what: &str) -> Result<u64, S::Error> {
        match self.header()? {
            Header::Unsigned(value) => Ok(value),
            Header::Boolean(value) => Ok(u64::from(value)),
            other => Err(unexpected(what, "a number that is not negative", other)),
        }
    }

    pub fn boolean(&mut self, what: &str) -> Result<bool, S::Error> {
        match self.header()? {
            Header::Boolean(value) => Ok(value),
            Header::Unsigned(value @ (0 | 1)) => Ok(value == 1),
            other => Err(unexpected(what, "true or false", other)),
        }
    }

    pub fn text(&mut self, what: &str) -> Result<String, S::Error> {
        match self.header()? {
            Header::Text(bytes) => self.text_of(bytes, what),
            other => Err(unexpected(what, "text", other)),
        }
    }

    /// The bytes of a text whose header has been read.
    pub fn text_of(&mut self, bytes: u64, what: &str) -> Result<String, S::Error> {
        let raw = self.raw(bytes, what)?;
        String::from_utf8(raw).map_err(|_| Malformed(format!("{what} is not UTF-8")).into())
    }

    /// A byte string of at most 64 KiB.
    pub fn binary(&mut self, what: &str) -> Result<Vec<u8>, S::Error> {
        match self.header()? {
            Header::Binary(bytes) => self.raw(bytes, what),
            other => Err(unexpected(what, "a byte string", other)),
        }
    }

    fn raw(&mut self, bytes: u64, what: &str) -> Result<Vec<u8>, S::Error> {
        self.need(bytes)?;
        if bytes > TEXT_BYTES_MAX {
            let text = format!("{what} has {bytes} bytes; {TEXT_BYTES_MAX} are the most that is taken");
            return Err(Malformed(text).into());
        }
        let mut raw = vec![0; bytes as usize];
        self.0.read(&mut raw)?;
        Ok(raw)
    }

    /// An array of at most `max` numbers.
    pub fn numbers(&mut self, what: &str, max: usize) -> Result<Vec<u64>, S::Error> {
        let items = self.array(what)?;
        if items > max as u64 {
            return Err(Malformed(format!("{what} has {items} items; {max} are the most that is taken")).into());
        }
        self.collect(items, |decoder| decoder.unsigned(what))
    }

    /// Decodes `items` values into a list. Its capacity grows by a quarter: a number can take one byte in the message and
    /// takes eight here, so that doubling would allocate up to sixteen times the bytes of the message.
    pub fn collect<T>(
        &mut self,
        items: u64,
        mut next: impl FnMut(&mut Self) -> Result<T, S::Error>,
    ) -> Result<Vec<T>, S::Error> {
        let mut list = Vec::new();
        for _ in 0..items {
            if list.len() == list.capacity() {
                list.reserve_exact(list.len() / 4 + 16);
            }
            list.push(next(self)?);
        }
        Ok(list)
    }

    /// Skips one whole value.
    pub fn skip(&mut self) -> Result<(), S::Error> {
        // The number of values left to skip at each level of nesting.
        let mut levels = vec![1u64];
        while let Some(items) = levels.last_mut() {
            if *items == 0 {
                levels.pop();
                continue;
            }
            *items -= 1;
            let inside = match self.header()? {
                Header::Text(bytes) | Header::Binary(bytes) | Header::Extension { bytes, .. } => {
                    self.need(bytes)?;
                    self.0.skip(bytes)?;
                    0
                }
                Header::Array(items) => items,
                Header::Map(entries) => entries.saturating_mul(2),
                _ => 0,
            };
            self.need(inside)?;
            if levels.len() as u32 > DEPTH_MAX {
                return Err(wrong("values nested too deeply"));
            }
            levels.push(inside);
        }
        Ok(())
    }

    /// An error if any bytes are left.
    pub fn end(&self) -> Result<(), S::Error> {
        match self.0.left() {
            0 => Ok(()),
            left => Err(Malformed(format!("{left} bytes after the value")).into()),
        }
    }
}

fn signed_number(value: i64) -> Header {
    u64::try_from(value).map_or(Header::Negative(value), Header::Unsigned)
}

fn wrong<E: From<Malformed>>(text: &str) -> E {
    Malformed(text.into()).into()
}

fn unexpected<E: From<Malformed>>(what: &str, wanted: &str, found: Header) -> E {
    let found = match found {
        Header::Nil => "nil".to_string(),
        Header::Boolean(value) => format!("{value}"),
        Header::Unsigned(value) => format!("the number {value}"),
        Header::Negative(value) => format!("the number {value}"),
        Header::Float(value) => format!("the number {value}"),
        Header::Text(bytes) => format!("text of {bytes} bytes"),
        Header::Binary(bytes) => format!("a byte string of {bytes} bytes"),
        Header::Array(items) => format!("an array of {items}"),
        Header::Map(entries) => format!("a map of {entries}"),
        Header::Extension { kind, bytes } => format!("an extension of type {kind} with {bytes} bytes"),
    };
    Malformed(format!("{what} should be {wanted} and is {found}")).into()
}

impl Source for &[u8] {
    type Error = Malformed;

    fn left(&self) -> u64 {
        self.len() as u64
    }

    fn read(&mut self, to: &mut [u8]) -> Result<(), Malformed> {
        let (taken, rest) = self.split_at(to.len());
        to.copy_from_slice(taken);
        *self = rest;
        Ok(())
    }

    fn piece(&mut self, max: u64) -> Result<&[u8], Malformed> {
        let (taken, rest) = self.split_at(self.len().min(usize::try_from(max).unwrap_or(usize::MAX)));
        *self = rest;
        Ok(taken)
    }
}
