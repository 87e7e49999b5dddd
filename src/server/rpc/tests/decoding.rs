//! Decoders with arbitrary and damaged bytes: no panic, and no allocation by a length that the bytes only claim.

use proptest::prelude::*;
use rmpv::Value;

use super::super::inline::{ChunkFrame, Form, read_chunks};
use super::super::messages;
use super::super::msgpack::{self, Decoder, Header, Malformed};
use super::super::*;
use super::chunks::read_all;

fn layout() -> ChunkLayout {
    ChunkLayout {
        dtype: Dtype::Float16,
        shape: vec![2, 1, 2, 2],
        chunks: 2,
    }
}

/// Runs every decoder of replies on the same bytes.
fn decode_all(bytes: &[u8]) {
    let _ = messages::optional_number(Some(&mut Decoder(bytes)));
    let _ = messages::transferred(&mut Decoder(bytes));
    let _ = messages::shared_pool(&mut Decoder(bytes));
    let _ = messages::prepared_store(&mut Decoder(bytes));
    let _ = messages::prepared_retrieve(&mut Decoder(bytes), None);
    let _ = messages::prepared_retrieve(&mut Decoder(bytes), Some((&layout(), Form::Torch, &mut |_, _, _| {})));
    let _ = messages::names(&mut Decoder(bytes));
    let _ = Decoder(bytes).skip();
    let _ = Decoder(bytes).boolean("x");
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..400).prop_map(Value::Binary),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|data| Value::Ext(1, data)),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
            proptest::collection::vec((inner.clone(), inner), 0..20).prop_map(Value::Map),
        ]
    })
}

/// Encodes with our encoder.
fn encode(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Nil => msgpack::nil(out),
        Value::Boolean(value) => msgpack::boolean(out, *value),
        Value::Integer(value) => match value.as_u64() {
            Some(value) => msgpack::unsigned(out, value),
            None => msgpack::signed(out, value.as_i64().unwrap()),
        },
        Value::F32(value) => msgpack::float(out, f64::from(*value)),
        Value::F64(value) => msgpack::float(out, *value),
        Value::String(value) => msgpack::text(out, value.as_str().unwrap()),
        Value::Binary(value) => msgpack::binary(out, value),
        Value::Ext(_, data) => msgpack::extension_1(out, data),
        Value::Array(items) => {
            msgpack::array(out, items.len());
            items.iter().for_each(|item| encode(out, item));
        }
        Value::Map(entries) => {
            msgpack::map(out, entries.len());
            for (key, value) in entries {
                encode(out, key);
                encode(out, value);
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode_all(&bytes);
        let mut from = bytes.as_slice();
        let _ = read_chunks(&mut from, bytes.len() as u64, &layout(), Form::TorchOrBare, &mut |_, _, _| {});
    }

    #[test]
    fn encoded_values_are_read_by_an_independent_decoder_and_skipped_whole(value in any_value()) {
        let mut bytes = Vec::new();
        encode(&mut bytes, &value);
        let mut rest = bytes.as_slice();
        prop_assert_eq!(rmpv::decode::read_value(&mut rest).unwrap(), value.clone());
        prop_assert!(rest.is_empty());
        // The independent encoder writes the shortest form as well.
        let mut theirs = Vec::new();
        rmpv::encode::write_value(&mut theirs, &value).unwrap();
        prop_assert_eq!(&bytes, &theirs);
        let mut decoder = Decoder(bytes.as_slice());
        decoder.skip().unwrap();
        prop_assert!(decoder.end().is_ok());
        for cut in 0..bytes.len() {
            prop_assert!(Decoder(&bytes[..cut]).skip().is_err());
        }
        decode_all(&bytes);
    }

    #[test]
    fn chunks_are_read_back_from_their_pickle_and_truncation_is_an_error(
        data in proptest::collection::vec(any::<u8>(), 32..=32),
        at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let layout = layout();
        let mut pickle = Vec::new();
        let mut source = |chunk: usize, visit: &mut dyn FnMut(&[u8])| visit(&data[chunk * 16..chunk * 16 + 16]);
        let done: Result<(), ()> = ChunkFrame::new(Inline::Pickle, &layout).write(&mut source, &mut |piece| {
            pickle.extend_from_slice(piece);
            Ok(())
        });
        done.unwrap();
        let read = |pickle: &[u8]| -> Result<Vec<u8>, Malformed> {
            let mut back = vec![0; 32];
            let mut from = pickle;
            read_chunks(&mut from, pickle.len() as u64, &layout, Form::TorchOrBare, &mut |chunk, at, piece| {
                let at = chunk * 16 + at as usize;
                back[at..at + piece.len()].copy_from_slice(piece);
            })?;
            Ok(back)
        };
        prop_assert_eq!(read(&pickle).unwrap(), data);
        prop_assert!(read(&pickle[..cut.index(pickle.len())]).is_err());
        let mut damaged = pickle.clone();
        damaged[at.index(pickle.len())] ^= 0x55;
        let _ = read(&damaged);
    }
}

#[test]
fn lengths_beyond_the_remaining_bytes_are_refused() {
    for header in [
        &b"\xdd\xff\xff\xff\xff"[..],
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
    ] {
        assert!(Decoder(header).skip().is_err(), "{header:x?}");
        decode_all(header);
        // The same for the slots of a reply.
        let mut reply = b"\x81\xa7context\x82\xa5slots".to_vec();
        reply.extend_from_slice(header);
        assert!(messages::prepared_store(&mut Decoder(reply.as_slice())).is_err());
    }
    let deep = [0x91; 100];
    assert_eq!(Decoder(&deep[..]).skip().unwrap_err().0, "values nested too deeply");
}

#[test]
fn numbers_of_every_width_are_read() {
    let headers: [(&[u8], Header); 6] = [
        (b"\xcc\xff", Header::Unsigned(255)),
        (b"\xcf\x00\x00\x00\x00\x00\x00\x00\x01", Header::Unsigned(1)),
        (b"\xd0\x05", Header::Unsigned(5)),
        (b"\xd3\xff\xff\xff\xff\xff\xff\xff\xff", Header::Negative(-1)),
        (b"\xca\x3f\x80\x00\x00", Header::Float(1.0)),
        (b"\xd5\x01ab", Header::Extension { kind: 1, bytes: 2 }),
    ];
    for (bytes, header) in headers {
        assert_eq!(Decoder(bytes).header().unwrap(), header);
    }
}

#[test]
fn pickles_of_anything_but_the_chunks_are_refused() {
    let layout = layout();
    let refused = |pickle: &[u8]| read_all(pickle, &layout).unwrap_err().0;
    // A call of os.system consists of known opcodes. It is skipped, and then the chunks are missing.
    assert!(refused(b"cos\nsystem\n(X\x04\x00\x00\x00trueltR.").contains("opcode 0x6c"));
    assert!(refused(b"cos\nsystem\n(X\x04\x00\x00\x00truetR.").contains("0 chunks of 2"));
    assert!(refused(b"\x80\x04B\xff\xff\xff\xff").contains("early"));
    assert!(
        refused(b"\x80\x04B\x18\x00\x00\x00\x09\x00\x00\x00\x00\x00\x00\x000123456789abcdef.").contains("9 elements")
    );
    assert!(refused(b"\x80\x04B\x10\x00\x00\x000123456789abcdef.").contains("16 bytes where 16 are due"));
    assert!(refused(b"").contains("early"));
}

/// A number can take one byte in the message and takes eight in the list.
#[test]
fn lists_take_at_most_ten_times_the_bytes_of_the_message() {
    let items = 1_000_000;
    let mut bytes = Vec::new();
    msgpack::numbers(&mut bytes, std::iter::repeat_n(1, items));
    let numbers = Decoder(&bytes[..]).numbers("numbers", items).unwrap();
    assert_eq!(numbers.len(), items);
    assert!(numbers.capacity() * size_of::<u64>() <= 10 * bytes.len());
    // A header with more items than bytes left is refused.
    assert!(Decoder(&bytes[..100]).numbers("numbers", items).is_err());
}
