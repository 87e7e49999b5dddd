//! The orders that long-doc-permutator sends: some or all permutations of 0..n, as the reference chooses them.

use std::collections::BTreeSet;

use crate::python::random::PythonRandom;

/// Permutations are drawn where there are more than this many times as many as wanted, so that few draws repeat one.
const DRAW_FROM: u128 = 10;

/// `wanted` permutations of 0..n in lexicographic order: all if there are no more, else drawn if there are many more, else
/// the first ones.
pub fn chosen(n: usize, wanted: usize, rng: &mut PythonRandom) -> Vec<Vec<usize>> {
    let all = factorial(n);
    let wanted_wide = wanted as u128;
    if wanted_wide < all && all > DRAW_FROM.saturating_mul(wanted_wide) {
        // This ends: at any time at least nine tenths of all permutations are new.
        let mut drawn = BTreeSet::new();
        while drawn.len() < wanted {
            drawn.insert(rng.sample(n, n));
        }
        return drawn.into_iter().collect();
    }
    let mut found = vec![(0..n).collect::<Vec<usize>>()];
    while found.len() < wanted {
        let Some(next) = found.last().and_then(|last| following(last)) else {
            break;
        };
        found.push(next);
    }
    found
}

/// n!, or `u128::MAX` where that is larger.
pub fn factorial(n: usize) -> u128 {
    (1..=n as u128).fold(1, u128::saturating_mul)
}

/// The lexicographically next permutation; none after the last.
fn following(permutation: &[usize]) -> Option<Vec<usize>> {
    let pivot = (1..permutation.len())
        .rev()
        .find(|&at| permutation[at - 1] < permutation[at])?
        - 1;
    let mut next = permutation.to_vec();
    let larger = (pivot + 1..next.len()).rev().find(|&at| next[at] > next[pivot])?;
    next.swap(pivot, larger);
    next[pivot + 1..].reverse();
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::big_int::BigInt;

    fn chosen_with_seed(n: usize, wanted: usize) -> Vec<Vec<usize>> {
        chosen(n, wanted, &mut PythonRandom::new(&BigInt::from(42)))
    }

    #[test]
    fn few_are_all_and_in_order() {
        let all = chosen_with_seed(3, 10);
        assert_eq!(all, [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]);
        assert_eq!(chosen_with_seed(1, 1), [[0]]);
        // 3! = 6 is not more than ten times 5.
        assert_eq!(chosen_with_seed(3, 5), all[..5]);
    }

    #[test]
    fn many_are_drawn_distinct_and_sorted() {
        let drawn = chosen_with_seed(30, 200);
        assert_eq!(drawn.len(), 200);
        assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn factorials_do_not_overflow() {
        assert_eq!((factorial(0), factorial(5)), (1, 120));
        assert_eq!(factorial(100), u128::MAX);
    }
}
