//! "Did you mean": the known name that is nearest to a mistyped one.

/// Characters. Longer names are not compared: the cost grows with the square of the length.
const LONGEST: usize = 64;

/// The nearest of the known names, if at most a third of the letters (at least one) differ.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let (distance, name) = known
        .into_iter()
        .map(|name| (distance(word, name), name))
        .min_by_key(|near| near.0)?;
    (distance <= (length / 3).max(1)).then_some(name)
}

/// The number of edits between two words (optimal string alignment: a swap of two neighbours is one edit).
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("rounds", "rounds"), 0);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("num-kyes", "num-keys"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn near_names_are_proposed_and_far_ones_are_not() {
        let known = ["num-keys", "rounds", "quiet"];
        assert_eq!(nearest("num_keys", known), Some("num-keys"));
        assert_eq!(nearest("runds", known), Some("rounds"));
        assert_eq!(nearest("compression", known), None);
        assert_eq!(nearest(&"num-keys".repeat(100), known), None);
        assert_eq!(nearest("rounds", []), None);
    }
}
