//! The places in memory of a stream of bytes that is spread over several pieces.

use super::Run;
use crate::sys::mapping::Mapping;

/// The pieces that a stream of bytes goes to, in the order of the stream.
pub struct Places {
    runs: Vec<Run>,
    /// Index of the current piece, and its offset in the stream.
    at: usize,
    begin: usize,
}

impl Places {
    pub fn new(runs: impl Iterator<Item = Run>) -> Places {
        Places {
            runs: runs.collect(),
            at: 0,
            begin: 0,
        }
    }

    /// Writes the bytes at `offset` of the stream to their places; what is beyond the last piece is dropped. Each call must have
    /// an offset at least as large as the last.
    pub fn write(&mut self, mapping: &mut Mapping, mut offset: usize, mut bytes: &[u8]) {
        while let Some((place, room)) = self.place(offset).filter(|_| !bytes.is_empty()) {
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            mapping.write(place, now);
            offset += now.len();
            bytes = later;
        }
    }

    /// The position in memory of a byte of the stream, and the number of bytes that are contiguous from there.
    fn place(&mut self, offset: usize) -> Option<(usize, usize)> {
        while let Some(run) = self.runs.get(self.at) {
            let inside = offset.checked_sub(self.begin)?;
            if inside < run.bytes {
                return Some((run.offset + inside, run.bytes - inside));
            }
            self.begin += run.bytes;
            self.at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_map_to_positions_in_their_pieces() {
        let run = |offset, bytes| Run { offset, bytes };
        let mut places = Places::new([run(100, 10), run(50, 5), run(200, 20)].into_iter());
        assert_eq!(places.place(0), Some((100, 10)));
        assert_eq!(places.place(9), Some((109, 1)));
        assert_eq!(places.place(10), Some((50, 5)));
        assert_eq!(places.place(15), Some((200, 20)));
        assert_eq!(places.place(34), Some((219, 1)));
        assert_eq!(places.place(35), None);
    }

    #[test]
    fn bytes_are_spread_over_their_pieces() {
        let mut mapping = Mapping::anonymous(64).unwrap();
        let run = |offset, bytes| Run { offset, bytes };
        let mut places = Places::new([run(10, 3), run(4, 2), run(20, 2)].into_iter());
        places.write(&mut mapping, 0, b"ab");
        places.write(&mut mapping, 2, b"cdefgh");
        let mut out = [0; 18];
        mapping.read(4, &mut out);
        assert_eq!(&out, b"de\0\0\0\0abc\0\0\0\0\0\0\0fg");
    }
}
