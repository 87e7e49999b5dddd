//! Checkpoints against the golden bytes, and every way in which one can be refused.

use super::super::geometry::tests::config;
use super::*;

fn geometry() -> Geometry {
    Geometry::new(&config(), || Ok(64 << 20)).unwrap()
}

fn name(index: u64) -> String {
    let mut name = String::new();
    crate::l2::keys::bench_key(index).push_raw_name(&mut name);
    name
}

fn two_objects() -> Index {
    let mut index = Index::new(244);
    for number in 0..2 {
        index.reserve(&name(number));
        index.commit(name(number), number, 262_144);
    }
    index
}

#[test]
fn the_text_is_lmcaches_to_the_byte() {
    let text = String::from_utf8(render(&geometry(), &two_objects())).unwrap();
    let golden = concat!(
        r#"{"version":1,"device_path":"/dev/x","capacity_bytes":67108864,"block_align":4096,"header_bytes":4096,"#,
        r#""slot_bytes":270336,"meta_total_bytes":1048576,"meta_magic":"LMCIDX01","meta_version":1,"#,
        r#""data_base_offset":1048576,"next_slot":2,"entries":{"#,
        r#""bench-model@0x00000000@0@00000000000000000000000000000000":{"offset":1048576,"size":262144,"#,
        r#""shape":[262144],"dtype":"uint8","fmt":"KV_2LTD","cached_positions":null},"#,
        r#""bench-model@0x00000001@0@00000000000000000000000000000001":{"offset":1318912,"size":262144,"#,
        r#""shape":[262144],"dtype":"uint8","fmt":"KV_2LTD","cached_positions":null}}}"#,
    );
    assert_eq!(text, golden);
}

#[test]
fn what_is_not_ascii_is_escaped_as_python_does() {
    assert_eq!(ascii("{\"é😀\u{7f}\"}"), r#"{"\u00e9\ud83d\ude00\u007f"}"#);
}

#[test]
fn headers_are_lmcaches_to_the_byte() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    let geometry = geometry();
    let mut block = vec![0; 4096];
    let header = Header {
        sequence: 1,
        payload_bytes: 9,
        crc: crc32(b"123456789"),
    };
    header.write(&geometry, &mut block);
    assert_eq!(block[..20], *b"LMCIDX01\x01\0\0\0\x01\0\0\0\0\0\0\0");
    assert_eq!(block[20..32], *b"\x09\0\0\0\0\0\0\0\x26\x39\xf4\xcb");
    assert!(block[32..].iter().all(|&byte| byte == 0));
    assert_eq!(Header::read(&geometry, &block), Ok(header));
    assert_eq!(header.check(b"123456789"), Ok(()));
    assert!(header.check(b"123456780").is_err());
}

#[test]
fn damaged_headers_are_told_apart_from_empty_ones() {
    let geometry = geometry();
    let mut block = vec![0; 4096];
    assert_eq!(Header::read(&geometry, &block), Err(Invalid::Empty));
    let header = |payload_bytes| Header {
        sequence: 3,
        payload_bytes,
        crc: 0,
    };
    let mut refused = |payload_bytes: u64, at: usize, expected: &str| {
        header(payload_bytes).write(&geometry, &mut block);
        block[at] ^= 0x40;
        let Err(Invalid::Damaged(why)) = Header::read(&geometry, &block) else {
            panic!("{expected}")
        };
        assert!(why.contains(expected), "{why}");
    };
    refused(9, 0, "meta_magic");
    refused(9, 8, "meta_version");
    refused(0x40, 20, "length");
    refused((512 << 10) - 4096 + 1, 40, "length");
    let last = Header {
        sequence: u64::MAX,
        ..header(9)
    };
    last.write(&geometry, &mut block);
    assert!(matches!(Header::read(&geometry, &block), Err(Invalid::Damaged(why)) if why.contains("sequence")));
}

fn changed(change: impl FnOnce(&mut Map<String, Value>)) -> Result<Recovered, String> {
    let mut state: Value = serde_json::from_slice(&render(&geometry(), &two_objects())).unwrap();
    change(state.as_object_mut().unwrap());
    parse(&geometry(), state.to_string().as_bytes())
}

#[test]
fn a_checkpoint_of_another_layout_is_refused_whole() {
    type Change = fn(&mut Map<String, Value>);
    let cases: [(&str, Change); 10] = [
        ("version is not 1", |state| state["version"] = 2.into()),
        ("device_path '/dev/y'", |state| state["device_path"] = "/dev/y".into()),
        ("block_align is 512, not 4096", |state| {
            state["block_align"] = 512.into()
        }),
        ("header_bytes", |state| state["header_bytes"] = 8192.into()),
        ("slot_bytes", |state| state["slot_bytes"] = "270336".into()),
        ("meta_total_bytes", |state| state["meta_total_bytes"] = 0.into()),
        ("meta_magic", |state| state["meta_magic"] = "LMCIDX02".into()),
        ("meta_version", |state| state["meta_version"] = 2.into()),
        ("next_slot is not 0 to 244", |state| state["next_slot"] = 245.into()),
        ("next_slot", |state| state["next_slot"] = (-1).into()),
    ];
    for (expected, change) in cases {
        let why = changed(change).err().unwrap();
        assert!(why.contains(expected), "{why}");
    }
    assert!(parse(&geometry(), b"[]").is_err() && parse(&geometry(), b"{").is_err());
    // LMCache compares neither of these.
    let loose = changed(|state| {
        state["capacity_bytes"] = 1.into();
        state["device_path"] = "".into();
    });
    assert_eq!(loose.unwrap().index.entries().len(), 2);
}

#[test]
fn impossible_entries_are_dropped_and_their_slots_free() {
    let recovered = changed(|state| {
        let entries = state["entries"].as_object_mut().unwrap();
        entries[&name(0)]["offset"] = 1_048_577.into();
        entries.insert("large".to_owned(), json!({"offset": 1_318_912, "size": 266_241}));
        entries.insert("empty".to_owned(), json!({"offset": 1_318_912, "size": 0}));
        entries.insert("odd".to_owned(), json!(3));
        // Nobody was given this slot yet.
        entries.insert(
            "later".to_owned(),
            json!({"offset": 1_048_576 + 2 * 270_336, "size": 1}),
        );
    });
    let Recovered { mut index, impossible } = recovered.unwrap();
    assert_eq!((index.entries().len(), impossible), (1, 5));
    assert_eq!(index.reserve("x"), super::super::index::Reservation::Slot(0));
}

#[test]
fn a_slot_that_two_entries_name_holds_neither() {
    let recovered = changed(|state| state["entries"][&name(0)]["offset"] = 1_318_912.into());
    let Recovered { index, impossible } = recovered.unwrap();
    assert_eq!((index.entries().len(), impossible), (0, 2));
}

#[test]
fn what_other_programs_said_about_an_object_is_kept() {
    let recovered = changed(|state| {
        let entry = &mut state["entries"][&name(1)];
        entry["shape"] = json!([2, 8]);
        entry["dtype"] = "bfloat16".into();
        entry["cached_positions"] = json!([1, 2]);
    });
    let text = String::from_utf8(render(&geometry(), &recovered.unwrap().index)).unwrap();
    assert!(text.contains(r#""shape":[2,8],"dtype":"bfloat16","fmt":"KV_2LTD","cached_positions":[1,2]}}}"#));
}

#[test]
fn a_text_in_place_of_an_object_is_refused_and_not_quoted() {
    for payload in [r#""\u007f\u007f""#, r#"{"version":1,"entries":"\u007f\u007f"}"#] {
        let why = parse(&geometry(), payload.as_bytes()).err().unwrap();
        assert!(
            why.starts_with("it is not the JSON of a checkpoint: a text stands in place of an object")
                && !why.contains("7f"),
            "{why}"
        );
    }
    let why = parse(&geometry(), b"[]").err().unwrap();
    assert!(why.contains("expected a JSON object"), "{why}");
}
