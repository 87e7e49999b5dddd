//! The answer in a response, and how well it matches a known one: LMCache's extraction and its token F1.

use std::collections::HashMap;

use crate::python::text::{strip, words};

const OPEN: &str = "<final_answer>";
const CLOSE: &str = "</final_answer>";
const ARTICLES: [&str; 3] = ["a", "an", "the"];

/// The text of the last `<final_answer>` region, without blanks at its ends; empty where there is none, or where it is not
/// closed, even if an earlier one is.
pub fn final_answer(response: &str) -> &str {
    let mut answer = "";
    let mut rest = response;
    while let Some(at) = find(rest, OPEN) {
        let region = &rest[at.end..];
        let Some(end) = find(region, CLOSE) else { return "" };
        answer = strip(&region[..end.start]);
        rest = &region[end.end..];
    }
    answer
}

struct Found {
    start: usize,
    end: usize,
}

/// The first place where `tag`, which is lower case, stands in any case.
fn find(text: &str, tag: &str) -> Option<Found> {
    let mut starts = text.match_indices('<').map(|(start, _)| start);
    starts.find_map(|start| {
        let mut rest = text[start..].chars();
        let matches = tag
            .chars()
            .all(|wanted| rest.next().is_some_and(|found| same(found, wanted)));
        let end = text.len() - rest.as_str().len();
        matches.then_some(Found { start, end })
    })
}

/// As in Python's regular expressions: the dotless i, the dotted I and the long s are letters of these tags too.
fn same(found: char, wanted: char) -> bool {
    let folded = match found {
        '\u{130}' | '\u{131}' => 'i',
        '\u{17f}' => 's',
        other => other.to_ascii_lowercase(),
    };
    folded == wanted
}

/// Lower case without ASCII punctuation and articles, one blank between words.
pub fn normalized(text: &str) -> String {
    let lowered = text.to_lowercase();
    let kept: String = lowered
        .chars()
        .filter(|character| !character.is_ascii_punctuation())
        .collect();
    let mut out = String::with_capacity(kept.len());
    let mut rest = kept.as_str();
    while let Some(first) = rest.chars().next() {
        let is_word = first.is_alphanumeric();
        let end = rest.find(|character: char| character.is_alphanumeric() != is_word);
        let (run, after) = rest.split_at(end.unwrap_or(rest.len()));
        out.push_str(if ARTICLES.contains(&run) { " " } else { run });
        rest = after;
    }
    words(&out).collect::<Vec<_>>().join(" ")
}

/// Token F1 of an answer against the best of the references; 0 without any.
pub fn best_f1(answer: &str, references: &[String]) -> f64 {
    let scores = references.iter().map(|reference| f1(answer, reference));
    scores.fold(0.0, f64::max)
}

/// Of the words of both, after normalising. Two texts without words are equal.
fn f1(answer: &str, reference: &str) -> f64 {
    let (answer, reference) = (normalized(answer), normalized(reference));
    let (answer, reference) = (counted(&answer), counted(&reference));
    let total = |counts: &HashMap<&str, u64>| counts.values().sum::<u64>() as f64;
    if answer.is_empty() || reference.is_empty() {
        return if answer.is_empty() && reference.is_empty() {
            1.0
        } else {
            0.0
        };
    }
    let common = answer
        .iter()
        .map(|(word, count)| count.min(reference.get(word).unwrap_or(&0)));
    let overlap = common.sum::<u64>() as f64;
    if overlap == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (overlap / total(&answer), overlap / total(&reference));
    2.0 * precision * recall / (precision + recall)
}

fn counted(text: &str) -> HashMap<&str, u64> {
    let mut counts = HashMap::new();
    for word in words(text) {
        *counts.entry(word).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::engine::testing::golden;

    fn vectors(part: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(golden("rag-scoring-vectors.json")).unwrap();
        let vectors: Value = serde_json::from_str(&text).unwrap();
        vectors[part].as_array().unwrap().clone()
    }

    #[test]
    fn answers_are_found_as_in_the_reference() {
        let vectors = vectors("extract");
        assert_eq!(vectors.len(), 20);
        for vector in vectors {
            assert_eq!(final_answer(vector["in"].as_str().unwrap()), vector["out"], "{vector}");
        }
    }

    #[test]
    fn texts_are_normalised_as_in_the_reference() {
        for vector in vectors("normalize") {
            assert_eq!(normalized(vector["in"].as_str().unwrap()), vector["out"], "{vector}");
        }
    }

    #[test]
    fn scores_are_the_references_to_the_last_bit() {
        for vector in vectors("f1") {
            let of = |key: &str| vector[key].as_str().unwrap();
            assert_eq!(f1(of("prediction"), of("reference")), vector["f1"], "{vector}");
        }
        for vector in vectors("best_f1") {
            let references = vector["references"].as_array().unwrap().iter();
            let references: Vec<String> = references.map(|text| text.as_str().unwrap().to_owned()).collect();
            let score = best_f1(vector["prediction"].as_str().unwrap(), &references);
            assert_eq!(score, vector["f1"], "{vector}");
        }
    }

    proptest! {
        #[test]
        fn any_response_is_handled(response in "(<final_answer>|</final_answer>|[ aé\u{85}<>/])*") {
            let answer = final_answer(&response);
            prop_assert!(response.contains(answer));
            let score = best_f1(answer, std::slice::from_ref(&response));
            prop_assert!((0.0..=1.0).contains(&score));
        }
    }
}
