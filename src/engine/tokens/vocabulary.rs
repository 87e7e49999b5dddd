//! The words of a vocabulary that only the engine has. Ids are decoded in blocks, with a separator between them; what stands
//! between two separators is the text of an id. That keeps every id in mid-text, so a SentencePiece token shows its blank, and
//! a block costs one question.

use std::collections::BTreeSet;
use std::ops::Range;

use super::remote::{EngineTokenizer, Fault};

/// Texts that may separate ids, best first. Hardly any token holds a line break before a bar, but many hold one of the two.
const SAMPLES: [&str; 3] = ["\n|", "|", ";"];
/// Ids of one question.
const BLOCK: u32 = 4096;
/// Words that are counted as one text.
const LOT: usize = 4096;
/// Words that are tried one by one before a lot is halved.
const PROBES: usize = 64;
/// No vocabulary has more ids.
const IDS_MAX: u32 = 1 << 20;

/// Ids whose text is known in mid-text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Separator {
    ids: Vec<u32>,
    /// The text at the beginning of an answer, where SentencePiece decoders drop a blank.
    first: String,
    /// The text after anything else.
    unit: String,
}

impl Separator {
    /// Finds one that the engine's tokenizer decodes to the same text each time.
    pub fn find(engine: &EngineTokenizer) -> Result<Separator, String> {
        let mut why = String::new();
        for sample in SAMPLES {
            match Separator::of(engine, sample) {
                Ok(separator) => return Ok(separator),
                Err(fault @ Fault::Lost(_)) => return Err(fault.to_string()),
                Err(Fault::Refused(cause)) => why = cause,
            }
        }
        Err(why)
    }

    fn of(engine: &EngineTokenizer, sample: &str) -> Result<Separator, Fault> {
        let ids = engine.ids(sample)?;
        let text = |times: usize| engine.text(&ids.repeat(times), false);
        let texts = [text(1)?, text(2)?, text(3)?];
        Separator::from_texts(ids, &texts).ok_or_else(|| {
            Fault::Refused(format!(
                "{}/detokenize decodes no text in the same way twice",
                engine.root()
            ))
        })
    }

    /// From the text of the ids once, twice and three times.
    pub fn from_texts(ids: Vec<u32>, [one, two, three]: &[String; 3]) -> Option<Separator> {
        let unit = two.strip_prefix(one.as_str())?;
        let again = three.strip_prefix(two.as_str())?;
        // If it ended as it begins, it could be found half in an id's text and half in itself.
        let overlaps = (1..unit.len()).any(|at| unit.is_char_boundary(at) && unit.starts_with(&unit[at..]));
        let usable = unit == again && !unit.is_empty() && !one.is_empty() && !overlaps;
        usable.then(|| Separator {
            first: one.clone(),
            unit: unit.to_owned(),
            ids,
        })
    }

    /// The ids of a block, with separators around each.
    fn around(&self, block: Range<u32>) -> Vec<u32> {
        let mut ids = self.ids.clone();
        for id in block {
            ids.push(id);
            ids.extend_from_slice(&self.ids);
        }
        ids
    }

    /// The texts of `count` ids in the text of [`Separator::around`] them; `None` if there are more or fewer, because the text
    /// of an id holds the separator or takes it away.
    pub fn texts<'a>(&self, text: &'a str, count: usize) -> Option<Vec<&'a str>> {
        let text = text
            .strip_prefix(self.first.as_str())?
            .strip_suffix(self.unit.as_str())?;
        // Counted first: a list of very many empty texts would take sixteen times their bytes.
        if text.matches(self.unit.as_str()).count() + 1 != count {
            return None;
        }
        Some(text.split(self.unit.as_str()).collect())
    }
}

/// All tokens that are a blank and then lower-case ASCII letters, without the blank, sorted.
pub fn words(engine: &EngineTokenizer) -> Result<BTreeSet<String>, Fault> {
    let mut words = BTreeSet::new();
    let Some((separator, ids)) = engine.separator() else {
        return Ok(words);
    };
    let end = ids.unwrap_or(IDS_MAX).min(IDS_MAX);
    let mut begin = 0;
    while begin < end {
        let block = begin..end.min(begin + BLOCK);
        begin = block.end;
        // A block without any text lies behind the vocabulary.
        if !add_block(engine, separator, block, &mut words)? {
            break;
        }
    }
    Ok(words)
}

/// Adds the words of a block; whether any of its ids has a text. What is refused, or cannot be told apart, is halved down to
/// single ids: one that is refused does not exist, one that does not fit has a text that holds the separator.
fn add_block(
    engine: &EngineTokenizer,
    separator: &Separator,
    block: Range<u32>,
    words: &mut BTreeSet<String>,
) -> Result<bool, Fault> {
    let mut any_text = false;
    let mut left = vec![block];
    while let Some(block) = left.pop() {
        let text = decoded(engine, separator, block.clone())?;
        let texts = text.as_deref().map(|text| separator.texts(text, block.len()));
        match texts {
            Some(Some(texts)) => {
                any_text |= texts.iter().any(|text| !text.is_empty());
                words.extend(texts.into_iter().filter_map(|text| word(text, &[' '])));
                continue;
            }
            Some(None) => any_text = true,
            // Behind the vocabulary every id is refused, and halving would ask about each.
            None if block.len() > 2
                && decoded(engine, separator, block.start..block.start + 1)?.is_none()
                && decoded(engine, separator, block.end - 1..block.end)?.is_none() =>
            {
                continue;
            }
            None => {}
        }
        if block.len() > 1 {
            let middle = block.start + (block.end - block.start) / 2;
            left.extend([middle..block.end, block.start..middle]);
        }
    }
    Ok(any_text)
}

/// The text of a block; `None` where the engine refuses it.
fn decoded(engine: &EngineTokenizer, separator: &Separator, block: Range<u32>) -> Result<Option<String>, Fault> {
    engine.within_bounds()?;
    match engine.text(&separator.around(block), false) {
        Ok(text) => Ok(Some(text)),
        Err(Fault::Refused(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The word of a token that begins with one of these characters and is lower-case ASCII behind it.
pub fn word(token: &str, starts: &[char]) -> Option<String> {
    let word = token.strip_prefix(starts)?;
    let lower_case = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    lower_case.then(|| word.to_owned())
}

/// The candidates that add exactly one token to `before`, which has `base` tokens. Lots are counted as one text; one with
/// another count is halved down to single words.
pub fn single_tokens(
    engine: &EngineTokenizer,
    candidates: &[String],
    before: &str,
    base: u64,
) -> Result<Vec<String>, Fault> {
    let is_single = |lot: &[String]| {
        engine.within_bounds()?;
        let counted = engine.asked_to_count(&format!("{before}{}", lot.join(" ")))?;
        Ok(counted == base + lot.len() as u64)
    };
    let mut kept = Vec::new();
    let mut left: Vec<&[String]> = candidates.rchunks(LOT).collect();
    let mut probed = false;
    while let Some(lot) = left.pop() {
        if is_single(lot)? {
            kept.extend_from_slice(lot);
            continue;
        }
        // Where every word takes a token more, as behind a SentencePiece blank, halving would ask about each.
        if !std::mem::replace(&mut probed, true) {
            let mut probes = candidates.chunks(candidates.len().div_ceil(PROBES));
            let found = probes.try_fold(false, |found, some| Ok::<_, Fault>(found || is_single(&some[..1])?))?;
            if !found {
                return Ok(Vec::new());
            }
        }
        if lot.len() > 1 {
            let (first, second) = lot.split_at(lot.len() / 2);
            left.extend([second, first]);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn separator(one: &str, two: &str, three: &str) -> Option<Separator> {
        Separator::from_texts(vec![7, 8], &[one, two, three].map(str::to_owned))
    }

    #[test]
    fn a_separator_has_the_same_text_each_time_and_is_found_only_whole() {
        assert!(separator("\n|", "\n|\n|", "\n|\n|\n|").is_some());
        let blanks = separator("|", "| |", "| | |").unwrap();
        assert_eq!((blanks.first.as_str(), blanks.unit.as_str()), ("|", " |"));
        for (one, two, three) in [
            ("", "|", "||"),
            ("|", "|", "|"),
            ("|", "| |", "| ||"),
            ("|", "||;", "||;||;"),
            ("|", "x|", "xx|"),
            ("aba", "abaaba", "abaabaaba"),
        ] {
            assert_eq!(separator(one, two, three), None, "{one:?} {two:?} {three:?}");
        }
    }

    #[test]
    fn texts_between_separators_belong_to_the_ids_between_them() {
        let bars = separator("\n|", "\n|\n|", "\n|\n|\n|").unwrap();
        assert_eq!(bars.around(3..5), [7, 8, 3, 7, 8, 4, 7, 8]);
        // The text of an id may end as the separator begins, or begin as it ends.
        assert_eq!(bars.texts("\n|a\n\n||b\n|", 2), Some(vec!["a\n", "|b"]));
        assert_eq!(
            bars.texts("\n| the\n|\n|\u{fffd}\n|", 3),
            Some(vec![" the", "", "\u{fffd}"])
        );
        for (text, count) in [
            ("\n| the\n|", 2),
            ("\n| the\n|\n|", 1),
            (" the\n|", 1),
            ("\n| the", 1),
            ("", 1),
        ] {
            assert_eq!(bars.texts(text, count), None, "{text:?}");
        }
        let blanks = separator("|", "| |", "| | |").unwrap();
        assert_eq!(blanks.texts("| the | |", 2), Some(vec![" the", ""]));
    }

    #[test]
    fn words_are_a_blank_and_letters() {
        assert_eq!(word(" the", &[' ']), Some("the".to_owned()));
        for text in ["the", " ", "", " The", " the ", "  the", " thé", " a1"] {
            assert_eq!(word(text, &[' ']), None, "{text:?}");
        }
    }
}
