//! HdrHistogram's V2 encoding, which implementations in many languages read and merge: a header of 40 bytes, big endian
//! (cookie, length of the counts, normalizing offset, significant digits, lowest and highest value, ratio), then each count
//! up to the highest one as a ZigZag LEB128 integer of at most nine bytes; a negative number is a run of zeros.
//! Source: the format notes of HdrHistogram's Java implementation; a test compares with the Rust crate's own writer.

use super::histogram::LatencyHistogram;

/// Version 2, counts of any length.
const COOKIE: u32 = 0x1c84_9303 | 0x10;
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub fn encoded(histogram: &LatencyHistogram) -> Vec<u8> {
    let mut counts = Vec::new();
    let mut zeros = 0_i64;
    for count in histogram.counts() {
        if count == 0 {
            zeros += 1;
            continue;
        }
        push_zeros(&mut counts, zeros);
        zeros = 0;
        push_integer(&mut counts, i64::from(count));
    }
    // The format has the count of the lowest value even where there is no sample.
    if counts.is_empty() {
        push_integer(&mut counts, 0);
    }
    let mut out = Vec::with_capacity(40 + counts.len());
    out.extend(COOKIE.to_be_bytes());
    out.extend(u32::try_from(counts.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(0_u32.to_be_bytes());
    out.extend(u32::from(histogram.significant_digits()).to_be_bytes());
    out.extend(histogram.lowest_ns().to_be_bytes());
    out.extend(histogram.highest_ns().to_be_bytes());
    out.extend(1.0_f64.to_be_bytes());
    out.extend(counts);
    out
}

fn push_zeros(out: &mut Vec<u8>, zeros: i64) {
    match zeros {
        0 => {}
        1 => push_integer(out, 0),
        run => push_integer(out, -run),
    }
}

/// ZigZag, then seven bits a byte from the least significant on; a ninth byte holds eight.
fn push_integer(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    for _ in 0..8 {
        if rest < 0x80 {
            out.push(rest as u8);
            return;
        }
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// RFC 4648, with padding.
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for piece in bytes.chunks(3) {
        let word = piece.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
        for place in 0..4 {
            let digit = BASE64[(word >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= piece.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    fn both(samples: &[u64]) -> (Vec<u8>, Vec<u8>, LatencyHistogram) {
        let mut ours = LatencyHistogram::new();
        let mut theirs = Histogram::<u32>::new_with_bounds(1, ours.highest_ns(), ours.significant_digits()).unwrap();
        for sample in samples {
            ours.record_ns(*sample);
            theirs.saturating_record((*sample).min(ours.highest_ns()));
        }
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&theirs, &mut bytes).unwrap();
        (encoded(&ours), bytes, ours)
    }

    #[test]
    fn the_crates_own_writer_gives_the_same_bytes() {
        for samples in [&[][..], &[0], &[1], &[1, 1, 3], &[5, 70_000, 1 << 40], &[2; 300]] {
            let (ours, theirs, _) = both(samples);
            assert_eq!(ours, theirs, "{samples:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(samples in proptest::collection::vec(0_u64..4_000_000_000_000, 0..300)) {
            let (ours, theirs, histogram) = both(&samples);
            prop_assert_eq!(&ours, &theirs);
            let read: Histogram<u32> = Deserializer::new().deserialize(&mut ours.as_slice()).unwrap();
            prop_assert_eq!(read.len(), histogram.len());
            let counts: Vec<u32> = read.iter_all().map(|step| step.count_at_value()).collect();
            let kept: Vec<u32> = histogram.counts().collect();
            prop_assert_eq!(counts, kept);
        }
    }
}
