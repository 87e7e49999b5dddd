//! A working set: documents that are sent one after the other, again and again, one in flight.

use super::Tiers;

/// So many documents fill HBM by default, so that a step of one document is 3 % of it.
const DOCUMENTS_OF_HBM: u64 = 32;
/// Chunks of a document where the size of HBM is unknown.
const CHUNKS_OF_UNKNOWN: u64 = 8;
/// A document has at least so many chunks, or the tokens behind the last whole one are too large a part of it.
const CHUNKS_MIN: u64 = 2;
/// Tokens of a chunk where nothing is said: LMCache's default.
const CHUNK_DEFAULT: u64 = 256;
const BLOCK_DEFAULT: u64 = 16;
/// Chunks and documents are planned no larger than this, whatever a server says of its sizes.
const GRAIN_MAX: u64 = 1 << 16;
const DOCUMENT_MAX: u64 = 1 << 20;
/// Tokens behind the last whole chunk, at most. Fewer than a block: then HBM and the cache server can serve the same tokens.
const BEHIND_MAX: u64 = 8;

/// `documents` of `tokens` tokens each, and one of `rest` tokens unless that is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Circle {
    pub documents: u64,
    pub tokens: u64,
    pub rest: u64,
}

impl Circle {
    /// A working set of about `working_set` tokens. One that is smaller than a document is one shorter document. A rest of less
    /// than `rest_min` tokens is left out: no tier would hold any of it.
    pub fn of(working_set: u64, document_tokens: u64, rest_min: u64) -> Circle {
        let tokens = document_tokens.max(1);
        let documents = working_set / tokens;
        if documents == 0 {
            return Circle {
                documents: 1,
                tokens: working_set.max(1),
                rest: 0,
            };
        }
        let rest = working_set % tokens;
        Circle {
            documents,
            tokens,
            rest: if rest < rest_min { 0 } else { rest },
        }
    }

    /// Distinct tokens.
    pub fn working_set(&self) -> u64 {
        self.documents.saturating_mul(self.tokens).saturating_add(self.rest)
    }

    /// Documents with the shorter one.
    pub fn count(&self) -> u64 {
        self.documents + u64::from(self.rest > 0)
    }

    /// The length of document `number`; the shorter one is the last.
    pub fn length(&self, number: u64) -> u64 {
        if number < self.documents {
            self.tokens
        } else {
            self.rest
        }
    }

    /// Each length, and how many documents have it.
    pub fn lengths(&self) -> Vec<(u64, u64)> {
        let mut lengths = vec![(self.tokens, self.documents)];
        if self.rest > 0 {
            lengths.push((self.rest, 1));
        }
        lengths
    }
}

/// Tokens behind the last whole chunk of a document or probe: at least one, because the engine computes the last token anyway.
pub fn behind(tiers: &Tiers) -> u64 {
    (tiers.block.unwrap_or(BLOCK_DEFAULT) / 2).clamp(1, BEHIND_MAX)
}

/// Tokens of a chunk, or without a cache server of a block: documents are a multiple of it.
pub fn grain(tiers: &Tiers) -> u64 {
    let blocks_only = tiers.l1.is_none() && tiers.l2.is_none();
    let block = tiers.block.filter(|_| blocks_only);
    tiers.chunk.or(block).unwrap_or(CHUNK_DEFAULT).clamp(1, GRAIN_MAX)
}

/// The default length of a document: a 32nd of HBM in whole chunks, and a few tokens more. At least two chunks, at most
/// [`DOCUMENT_MAX`]; at most half of what the model takes, which comes first where the two contradict.
pub fn document_tokens(tiers: &Tiers, max_model_len: Option<u64>) -> u64 {
    let (grain, behind) = (grain(tiers), behind(tiers));
    let chunks = match tiers.hbm {
        Some(hbm) => (hbm / DOCUMENTS_OF_HBM).min(DOCUMENT_MAX) / grain,
        None => CHUNKS_OF_UNKNOWN,
    };
    let wanted = chunks.max(CHUNKS_MIN) * grain + behind;
    let Some(most) = max_model_len.map(|tokens| (tokens / 2).max(1)) else {
        return wanted;
    };
    if wanted <= most {
        return wanted;
    }
    match most.saturating_sub(behind) / grain {
        0 => most,
        chunks => chunks * grain + behind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers(hbm: Option<u64>) -> Tiers {
        Tiers {
            hbm,
            block: Some(16),
            chunk: Some(256),
            ..Tiers::default()
        }
    }

    #[test]
    fn a_working_set_is_documents_and_a_shorter_one() {
        let circle = Circle::of(10_500, 2_000, 17);
        assert_eq!((circle.documents, circle.rest, circle.count()), (5, 500, 6));
        assert_eq!((circle.length(4), circle.length(5)), (2_000, 500));
        assert_eq!(circle.working_set(), 10_500);
        assert_eq!(Circle::of(10_016, 2_000, 17).working_set(), 10_000);
        let small = Circle::of(300, 2_000, 17);
        assert_eq!((small.documents, small.tokens, small.rest), (1, 300, 0));
    }

    #[test]
    fn documents_are_whole_chunks_and_a_few_tokens() {
        assert_eq!(document_tokens(&tiers(Some(320_000)), None), 39 * 256 + 8);
        assert_eq!(document_tokens(&tiers(Some(8_192)), None), 2 * 256 + 8);
        assert_eq!(document_tokens(&tiers(None), None), 8 * 256 + 8);
        assert_eq!(document_tokens(&tiers(Some(320_000)), Some(4_096)), 7 * 256 + 8);
        assert_eq!(document_tokens(&tiers(Some(320_000)), Some(400)), 200);
        let alone = Tiers {
            chunk: None,
            ..tiers(Some(320_000))
        };
        assert_eq!(document_tokens(&alone, None), 10_000 + 8);
    }

    #[test]
    fn sizes_that_no_server_can_have_are_bounded() {
        let absurd = Tiers {
            chunk: Some(1 << 63),
            ..tiers(Some(u64::MAX))
        };
        assert_eq!(grain(&absurd), GRAIN_MAX);
        assert_eq!(document_tokens(&absurd, None), DOCUMENT_MAX + 8);
        assert_eq!(document_tokens(&absurd, Some(4_096)), 2_048);
    }
}
