//! TTFT as a fixed part and a part for each token of the prompt, and the length from which loading is faster than computing.
//!
//! The line goes through the median TTFT of each length. Its slope is the median of the slopes between all pairs of lengths,
//! each weighted by how far apart they are (Theil 1950; weights by Sievers 1978): one length that was disturbed does not tilt the
//! line as it would with least squares, and pairs of close lengths, whose slopes are mostly noise, count little. The intervals are
//! those of a bootstrap: the samples of each length are drawn again, with a fixed seed.

use crate::stats::percentile::linear_unsorted;
use crate::stats::random::SplitMix64;

/// Drawn again so many times.
const DRAWS: usize = 400;
/// Fewer lengths, or fewer samples of one, say nothing about how exact the line is.
const LENGTHS_MIN: usize = 3;
const SAMPLES_MIN: usize = 3;
const SEED: u64 = 0x5741_1c45;
const GB: f64 = (1u64 << 30) as f64;

/// The TTFT of prompts of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Length {
    /// Of the prompts, on average.
    pub tokens: f64,
    pub ttft_s: Vec<f64>,
}

/// TTFT = `base_s` + `per_token_s` x tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub base_s: f64,
    pub per_token_s: f64,
    /// The most that the median of a length is off the line.
    pub residual_s: f64,
    /// 95 %; `None` with too few lengths or samples.
    pub base_interval_s: Option<(f64, f64)>,
    pub per_token_interval_s: Option<(f64, f64)>,
}

/// From which length on a tier is faster than computing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakEven {
    /// `None`: at no length.
    pub tokens: Option<f64>,
    /// 95 %. The upper end may be infinite: then it is possible that the tier is never faster.
    pub interval: Option<(f64, f64)>,
}

/// The line through the medians; `None` with fewer than two lengths.
pub fn line(lengths: &[Length]) -> Option<Line> {
    let (base_s, per_token_s) = through(&medians(lengths))?;
    let off = |(tokens, ttft): (f64, f64)| (ttft - base_s - per_token_s * tokens).abs();
    let drawn: Vec<(f64, f64)> = draws(lengths, 0)
        .filter_map(|drawn| through(&medians(&drawn)))
        .collect();
    let interval = |of: fn(&(f64, f64)) -> f64| interval(drawn.iter().map(of).collect());
    Some(Line {
        base_s,
        per_token_s,
        residual_s: medians(lengths).into_iter().map(off).fold(0.0, f64::max),
        base_interval_s: interval(|line| line.0),
        per_token_interval_s: interval(|line| line.1),
    })
}

impl Line {
    /// GB (2^30 bytes) of KV cache per second; `None` where a longer prompt does not take longer.
    pub fn gb_per_s(&self, bytes_per_token: f64) -> Option<f64> {
        (self.per_token_s > 0.0 && bytes_per_token > 0.0).then(|| bytes_per_token / self.per_token_s / GB)
    }
}

/// Where the lines of computing and of a tier meet. `first` is the first length of which the tier serves anything: no answer is
/// below it. `None` if either has no line.
pub fn break_even(computing: &[Length], tier: &[Length], first: f64) -> Option<BreakEven> {
    let tokens = meet(through(&medians(computing))?, through(&medians(tier))?, first);
    let pairs = draws(computing, 0).zip(draws(tier, 1));
    let met = pairs.filter_map(|(computing, tier)| {
        let meet = meet(through(&medians(&computing))?, through(&medians(&tier))?, first);
        Some(meet.unwrap_or(f64::INFINITY))
    });
    Some(BreakEven {
        tokens,
        interval: interval(met.collect()),
    })
}

/// n = (a_tier - a_comp) / (b_comp - b_tier); `None` where the tier is no faster per token.
fn meet(computing: (f64, f64), tier: (f64, f64), first: f64) -> Option<f64> {
    let faster_by = computing.1 - tier.1;
    (faster_by > 0.0).then(|| ((tier.0 - computing.0) / faster_by).max(first))
}

/// Tokens and median TTFT of each length with a sample.
fn medians(lengths: &[Length]) -> Vec<(f64, f64)> {
    let sampled = lengths.iter().filter(|length| !length.ttft_s.is_empty());
    sampled
        .map(|length| (length.tokens, linear_unsorted(length.ttft_s.clone(), 50.0)))
        .collect()
}

/// Base and slope; `None` unless two lengths differ.
fn through(medians: &[(f64, f64)]) -> Option<(f64, f64)> {
    let mut slopes: Vec<(f64, f64)> = Vec::new();
    for (at, (tokens, ttft)) in medians.iter().enumerate() {
        for (other, other_ttft) in &medians[at + 1..] {
            let apart = other - tokens;
            if apart != 0.0 {
                slopes.push(((other_ttft - ttft) / apart, apart.abs()));
            }
        }
    }
    let slope = weighted_median(slopes)?;
    let bases = medians.iter().map(|(tokens, ttft)| ttft - slope * tokens).collect();
    Some((linear_unsorted(bases, 50.0), slope))
}

/// The value at half of the sum of the weights; the mean of two where exactly half lies below. `None` without a value.
fn weighted_median(mut values: Vec<(f64, f64)>) -> Option<f64> {
    values.sort_by(|one, other| one.0.total_cmp(&other.0));
    let half = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    for (at, (value, weight)) in values.iter().enumerate() {
        below += weight;
        if below > half {
            return Some(*value);
        }
        if below == half {
            let next = values.get(at + 1).map_or(*value, |(next, _)| *next);
            return Some((value + next) / 2.0);
        }
    }
    values.last().map(|(value, _)| *value)
}

/// The samples, drawn again; nothing where there are too few. Sources that are compared need streams of their own: with the same
/// draws their errors would cancel.
fn draws(lengths: &[Length], stream: u64) -> impl Iterator<Item = Vec<Length>> {
    let is_enough = lengths.len() >= LENGTHS_MIN && lengths.iter().all(|length| length.ttft_s.len() >= SAMPLES_MIN);
    let draws = if is_enough { DRAWS } else { 0 };
    let mut random = SplitMix64::stream(SEED, stream);
    (0..draws).map(move |_| {
        let again = |length: &Length| {
            let count = length.ttft_s.len();
            Length {
                tokens: length.tokens,
                ttft_s: (0..count)
                    .map(|_| length.ttft_s[random.below(count as u64) as usize])
                    .collect(),
            }
        };
        lengths.iter().map(again).collect()
    })
}

fn interval(values: Vec<f64>) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let mut sorted = values;
    sorted.sort_by(f64::total_cmp);
    // By rank: an average with an infinite value would be one.
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    Some((at(0.025), at(0.975)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths of 256 to 4,096 tokens with TTFT = base + slope x tokens and noise of up to `noise` of it.
    fn lengths(base_s: f64, per_token_s: f64, noise: f64, seed: u64) -> Vec<Length> {
        let mut random = SplitMix64::new(seed);
        let of = |tokens: f64| {
            let exact = base_s + per_token_s * tokens;
            let mut noisy = || exact * (1.0 + noise * (2.0 * random.unit() - 1.0));
            Length {
                tokens,
                ttft_s: (0..5).map(|_| noisy()).collect(),
            }
        };
        [264.0, 520.0, 1032.0, 2056.0, 4104.0].map(of).into()
    }

    #[test]
    fn exact_lines_are_found_exactly() {
        let found = line(&lengths(0.030, 0.000_5, 0.0, 1)).unwrap();
        assert!((found.base_s - 0.030).abs() < 1e-12 && (found.per_token_s - 0.000_5).abs() < 1e-12);
        assert!(found.residual_s < 1e-12);
        // 256 KiB for each token in 0.5 ms.
        let gb_per_s = found.gb_per_s(262_144.0).unwrap();
        assert!((gb_per_s - 0.488_281_25).abs() < 1e-9, "{gb_per_s}");
        assert_eq!(line(&lengths(0.030, 0.0, 0.0, 1)).unwrap().gb_per_s(1.0), None);
        assert_eq!(line(&lengths(0.030, 0.000_5, 0.0, 1)[..1]), None);
    }

    #[test]
    fn one_disturbed_length_does_not_tilt_the_line() {
        let mut disturbed = lengths(0.030, 0.000_5, 0.0, 1);
        disturbed[3].ttft_s.iter_mut().for_each(|ttft| *ttft *= 3.0);
        let found = line(&disturbed).unwrap();
        assert!((found.per_token_s - 0.000_5).abs() < 0.05 * 0.000_5, "{found:?}");
        assert!(found.residual_s > 1.0);
    }

    #[test]
    fn close_lengths_with_noise_count_little() {
        let mut lengths = lengths(0.030, 0.000_05, 0.0, 1);
        for (length, off_s) in lengths.iter_mut().zip([0.008, 0.002, -0.004, -0.006, 0.0]) {
            length.ttft_s.iter_mut().for_each(|ttft| *ttft += off_s);
        }
        let found = line(&lengths).unwrap();
        assert!((found.per_token_s / 0.000_05 - 1.0).abs() < 0.05, "{found:?}");
    }

    #[test]
    fn noise_is_within_the_interval_nearly_always() {
        let covered = (0..100).filter(|seed| {
            let found = line(&lengths(0.030, 0.000_5, 0.10, *seed)).unwrap();
            let (low, high) = found.per_token_interval_s.unwrap();
            (low..=high).contains(&0.000_5)
        });
        let covered = covered.count();
        assert!(covered >= 85, "{covered}");
        assert_eq!(
            line(&lengths(0.030, 0.000_5, 0.10, 1)[..2]).unwrap().base_interval_s,
            None
        );
    }

    #[test]
    fn the_lines_meet_at_the_break_even_length() {
        let computing = lengths(0.020, 0.000_050, 0.0, 1);
        // 30 ms dearer, 45 us per token cheaper.
        let loading = lengths(0.050, 0.000_005, 0.0, 2);
        let found = break_even(&computing, &loading, 256.0).unwrap();
        assert!((found.tokens.unwrap() - 666.67).abs() < 0.01, "{found:?}");
        let (low, high) = found.interval.unwrap();
        assert!((low - high).abs() < 1e-6);
        let noisy = break_even(
            &lengths(0.020, 0.000_050, 0.05, 3),
            &lengths(0.050, 0.000_005, 0.05, 4),
            256.0,
        )
        .unwrap();
        let (low, high) = noisy.interval.unwrap();
        assert!(low < 666.67 && 666.67 < high && high < 900.0, "{noisy:?}");
    }

    #[test]
    fn errors_of_the_two_sources_do_not_cancel() {
        let with_errors = |base_s: f64, per_token_s: f64| {
            let mut exact = lengths(base_s, per_token_s, 0.0, 1);
            for length in &mut exact {
                // The same errors in both sources, as no two sources have them.
                length
                    .ttft_s
                    .iter_mut()
                    .zip([-0.004, -0.002, 0.0, 0.002, 0.004])
                    .for_each(|(ttft, off_s)| *ttft += off_s);
            }
            exact
        };
        let found = break_even(&with_errors(0.020, 0.000_050), &with_errors(0.050, 0.000_005), 256.0).unwrap();
        let (low, high) = found.interval.unwrap();
        assert!(high - low > 50.0, "{found:?}");
    }

    #[test]
    fn a_tier_that_is_always_or_never_faster_says_so() {
        let computing = lengths(0.020, 0.000_050, 0.0, 1);
        let first = break_even(&computing, &lengths(0.010, 0.000_005, 0.0, 1), 256.0).unwrap();
        assert_eq!(first.tokens, Some(256.0), "never below what the tier serves");
        let never = break_even(&computing, &lengths(0.010, 0.000_051, 0.0, 1), 256.0).unwrap();
        assert_eq!(
            (never.tokens, never.interval),
            (None, Some((f64::INFINITY, f64::INFINITY)))
        );
        assert_eq!(break_even(&computing, &[], 256.0), None);
    }
}
