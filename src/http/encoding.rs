//! Compressed responses. None are asked for (`ACCEPT`), because inflating costs the client's own time. gzip that comes all
//! the same is inflated, each byte as soon as the server has flushed it; other encodings are refused by name.

use std::io::{ErrorKind, Write};

use flate2::write::MultiGzDecoder;

/// Enough for an error message, which is at the beginning.
const OPENING_BYTES_MAX: usize = 64 << 10;
/// The value of `accept-encoding` in every request.
pub const ACCEPT: &str = "identity";
/// A body is inflated in pieces of this size, so that it exceeds its limit by at most 1 MiB before that is noticed: deflate
/// expands a byte to at most 1032.
const PIECE_BYTES: usize = 1024;

/// How the bytes of a body are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
}

/// The encoding that a `content-encoding` header names; none is identity.
pub fn of_header(value: Option<&str>) -> Result<Encoding, String> {
    let name = value.unwrap_or_default().trim();
    if name.is_empty() || name.eq_ignore_ascii_case("identity") {
        return Ok(Encoding::Identity);
    }
    if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
        return Ok(Encoding::Gzip);
    }
    let shown = super::error_body::one_line(name);
    Err(format!(
        "the answer is compressed (Content-Encoding: {shown}) although it was asked for as it is; switch compression off in \
         the server or in the proxy before it"
    ))
}

impl Encoding {
    /// The decoded body, if it is no longer than `bytes_max`.
    pub fn decode(self, body: Vec<u8>, bytes_max: usize) -> Result<Vec<u8>, String> {
        // An answer without a body may have the header too.
        if self == Encoding::Identity || body.is_empty() {
            return Ok(body);
        }
        let mut gunzip = Gunzip::default();
        let mut out = Vec::new();
        for piece in body.chunks(PIECE_BYTES) {
            gunzip.feed(piece, &mut out)?;
            if out.len() > bytes_max {
                return Err(format!(
                    "the answer is longer than {bytes_max} bytes when it is unpacked"
                ));
            }
        }
        gunzip.end(&mut out)?;
        Ok(out)
    }

    /// Decodes as much as possible of the beginning of a body, which may be damaged.
    pub fn decode_opening(self, body: Vec<u8>) -> Vec<u8> {
        if self == Encoding::Identity {
            return body;
        }
        let mut gunzip = Gunzip::default();
        let mut out = Vec::new();
        let fits = |out: &Vec<u8>| out.len() <= OPENING_BYTES_MAX;
        for piece in body.chunks(PIECE_BYTES) {
            if gunzip.feed(piece, &mut out).is_err() || !fits(&out) {
                break;
            }
        }
        out
    }
}

/// Inflates gzip as it arrives, with one member or several: some servers write one for each event.
#[derive(Debug)]
pub struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
}

impl Default for Gunzip {
    fn default() -> Gunzip {
        Gunzip {
            decoder: MultiGzDecoder::new(Vec::new()),
        }
    }
}

impl Gunzip {
    /// Appends everything that the bytes so far decode to: at most 1032 bytes for each one that was fed.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        // Without a flush, decoded bytes stay in the decoder's own buffer.
        let fed = self.decoder.write_all(bytes).and_then(|()| self.decoder.flush());
        out.append(self.decoder.get_mut());
        fed.map_err(|_| "the answer says that it is gzip (Content-Encoding), and its bytes are not".to_owned())
    }

    /// Fails when the stream is incomplete.
    pub fn end(mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let ended = self.decoder.try_finish();
        out.append(self.decoder.get_mut());
        ended.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => "the compressed answer (Content-Encoding: gzip) is cut off".to_owned(),
            _ => "the compressed answer (Content-Encoding: gzip) is cut off or damaged".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::http::testing::gzip;

    const MAX: usize = 1 << 20;

    #[test]
    fn headers_name_what_can_be_read() {
        for value in [None, Some(""), Some(" identity "), Some("IDENTITY")] {
            assert_eq!(of_header(value), Ok(Encoding::Identity), "{value:?}");
        }
        for value in ["gzip", "GZIP", "x-gzip"] {
            assert_eq!(of_header(Some(value)), Ok(Encoding::Gzip), "{value}");
        }
        for value in ["br", "zstd", "deflate", "gzip, gzip"] {
            let text = of_header(Some(value)).unwrap_err();
            assert!(text.contains(&format!("(Content-Encoding: {value})")), "{text}");
        }
    }

    #[test]
    fn whole_bodies_are_unpacked_up_to_their_limit() {
        let text = "a text that repeats, ".repeat(1000);
        let packed = gzip(text.as_bytes());
        assert_eq!(Encoding::Gzip.decode(packed.clone(), MAX).unwrap(), text.as_bytes());
        assert_eq!(Encoding::Identity.decode(packed.clone(), 0).unwrap(), packed);
        assert_eq!(Encoding::Gzip.decode(Vec::new(), MAX), Ok(Vec::new()));
        let two = [packed.clone(), gzip(b"!")].concat();
        assert_eq!(Encoding::Gzip.decode(two, MAX).unwrap(), format!("{text}!").as_bytes());
        let bomb = Encoding::Gzip.decode(gzip(&vec![0; 64 << 20]), MAX).unwrap_err();
        assert!(bomb.contains("longer than 1048576 bytes"), "{bomb}");
    }

    #[test]
    fn the_beginning_of_a_body_is_what_can_be_had_of_it() {
        let packed = gzip("a text that repeats, ".repeat(1000).as_bytes());
        let opening = Encoding::Gzip.decode_opening(packed[..packed.len() / 2].to_vec());
        assert!(opening.starts_with(b"a text that repeats, "));
        assert_eq!(Encoding::Gzip.decode_opening(b"plain".to_vec()), b"");
        assert_eq!(Encoding::Identity.decode_opening(b"plain".to_vec()), b"plain");
        let bomb = Encoding::Gzip.decode_opening(gzip(&vec![0; 64 << 20]));
        assert!(bomb.len() <= OPENING_BYTES_MAX + (1 << 20), "{}", bomb.len());
    }

    #[test]
    fn a_body_that_is_cut_off_or_damaged_is_refused() {
        let packed = gzip(b"some text");
        for length in 1..packed.len() {
            let text = Encoding::Gzip.decode(packed[..length].to_vec(), MAX).unwrap_err();
            assert!(text.contains("is cut off"), "{length}: {text}");
        }
        let mut damaged = packed.clone();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert!(Encoding::Gzip.decode(damaged, MAX).unwrap_err().contains("damaged"));
        let plain = Encoding::Gzip.decode(b"{\"data\": []}".to_vec(), MAX).unwrap_err();
        assert!(plain.contains("and its bytes are not"), "{plain}");
    }

    /// A server that flushes after each event must not see its events wait for the next one.
    #[test]
    fn what_was_flushed_comes_out_at_once() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut gunzip = Gunzip::default();
        let mut out = Vec::new();
        for number in 0..100 {
            let event = format!("data: {{\"n\": {number}}}\n\n").repeat(if number == 50 { 20_000 } else { 1 });
            encoder.write_all(event.as_bytes()).unwrap();
            encoder.flush().unwrap();
            let packed = std::mem::take(encoder.get_mut());
            gunzip.feed(&packed, &mut out).unwrap();
            assert_eq!(std::mem::take(&mut out), event.as_bytes(), "{number}");
        }
        gunzip.feed(&encoder.finish().unwrap(), &mut out).unwrap();
        gunzip.end(&mut out).unwrap();
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_are_the_whole(text in prop::collection::vec(0u8..4, 0..5000), size in 1usize..50) {
            let mut gunzip = Gunzip::default();
            let mut out = Vec::new();
            for piece in gzip(&text).chunks(size) {
                gunzip.feed(piece, &mut out).unwrap();
            }
            gunzip.end(&mut out).unwrap();
            prop_assert_eq!(out, text);
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Encoding::Gzip.decode([&[0x1f, 0x8b, 8, 0][..], &bytes].concat(), MAX);
        }
    }
}
