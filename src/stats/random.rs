//! Seeded random numbers of our own, for what the reference does not draw: arrival times and workloads that it lacks. The
//! generator is SplitMix64 (Steele, Lea, Flood 2014), integers only, so that a second implementation gives the same streams.
//! What must equal CPython's numbers is in `python/random`.

/// A stream of random numbers. Streams of one seed are independent of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitMix64 {
    state: u64,
}

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
/// Spreads the numbers of streams.
const STREAM_FACTOR: u64 = 0xD134_2543_DE82_EF95;

impl SplitMix64 {
    pub fn new(state: u64) -> SplitMix64 {
        SplitMix64 { state }
    }

    /// Stream `number` of a seed: it starts at first(seed) ^ first(number x STREAM_FACTOR + 1), where first(x) is the first
    /// output from state x.
    pub fn stream(seed: u64, number: u64) -> SplitMix64 {
        let place = number.wrapping_mul(STREAM_FACTOR).wrapping_add(1);
        SplitMix64::new(SplitMix64::new(seed).next_u64() ^ SplitMix64::new(place).next_u64())
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A whole number below `n`: the high 64 bits of output x n. 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// A whole number from `least` to `most`, both included; `least` must not be the greater one.
    pub fn range(&mut self, least: u64, most: u64) -> u64 {
        match (most - least).checked_add(1) {
            Some(n) => least + self.below(n),
            None => self.next_u64(),
        }
    }

    /// Uniform in [0, 1): the upper 53 bits of an output.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in (0, 1], for logarithms.
    fn above_zero(&mut self) -> f64 {
        1.0 - self.unit()
    }

    /// Exponential with mean 1, by inversion.
    pub fn exponential(&mut self) -> f64 {
        -self.above_zero().ln()
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller; the second number of each pair is not used).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.above_zero().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Gamma with this shape and scale 1: its mean and its variance are `shape`, which must be above 0. Method of Marsaglia
    /// and Tsang (2000); below shape 1 a draw of shape + 1 is multiplied by U^(1/shape).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = self.above_zero().powf(1.0 / shape);
            return boost * self.gamma(shape + 1.0);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.above_zero().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::ks;

    #[test]
    fn outputs_and_streams_are_the_published_ones() {
        let mut zero = SplitMix64::new(0);
        assert_eq!(
            [zero.next_u64(), zero.next_u64(), zero.next_u64()],
            [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]
        );
        for (stream, outputs) in [
            (0, [15753111256889434642, 15823878869839838668, 8316116469908292061u64]),
            (1, [11665436934421796587, 42349340619723409, 2343156766592252100]),
        ] {
            let mut random = SplitMix64::stream(42, stream);
            assert_eq!(outputs, [(); 3].map(|()| random.next_u64()), "stream {stream}");
        }
        assert_eq!(SplitMix64::stream(42, 2).next_u64(), 14270509538605918556);
    }

    /// Users of the l2 workload `mix` of seed 42: type, context, generation, think time.
    #[test]
    fn ranges_are_drawn_from_the_high_bits() {
        for (user, kind, context, generation, think) in [
            (0, 2, 14637, 470, 1041),
            (1, 1, 4143, 150, 758),
            (2, 2, 14834, 460, 1320),
            (3, 1, 23939, 144, 836),
        ] {
            let mut random = SplitMix64::stream(42, user);
            assert_eq!(random.below(3), kind, "user {user}");
            let bounds = match kind {
                1 => [(4096, 25000), (100, 500), (200, 1000)],
                _ => [(4096, 16384), (200, 800), (300, 1500)],
            };
            let drawn = bounds.map(|(least, most)| random.range(least, most));
            assert_eq!(drawn, [context, generation, think], "user {user}");
        }
        let mut random = SplitMix64::new(1);
        assert_eq!((random.below(0), random.range(7, 7)), (0, 7));
        assert_eq!(random.range(0, u64::MAX), {
            let mut same = SplitMix64::new(1);
            same.next_u64();
            same.next_u64();
            same.next_u64()
        });
    }

    fn drawn(mut draw: impl FnMut(&mut SplitMix64) -> f64) -> Vec<f64> {
        let mut random = SplitMix64::stream(7, 1);
        (0..6000).map(|_| draw(&mut random)).collect()
    }

    /// Mean and variance.
    fn moments(sample: &[f64]) -> (f64, f64) {
        let n = sample.len() as f64;
        let mean = sample.iter().sum::<f64>() / n;
        (mean, sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n)
    }

    #[test]
    fn samples_follow_their_distributions() {
        let unit = drawn(SplitMix64::unit);
        assert!(ks::p_value(&unit, |x| x) > 0.01);
        assert!(unit.iter().all(|x| (0.0..1.0).contains(x)));
        let exponential = drawn(SplitMix64::exponential);
        assert!(ks::p_value(&exponential, |x| 1.0 - (-x).exp()) > 0.01);
        // Shape 2 is the sum of two exponentials (Erlang).
        let erlang = drawn(|random| random.gamma(2.0));
        assert!(ks::p_value(&erlang, |x| 1.0 - (-x).exp() * (1.0 + x)) > 0.01);
        assert!(ks::p_value(&erlang, |x| 1.0 - (-x).exp()) < 1e-9, "the test can fail");
        // Half the square of a normal number is gamma of shape 1/2: both functions against each other.
        let half = drawn(|random| random.gamma(0.5));
        let mut chi = drawn(|random| random.normal().powi(2) / 2.0);
        chi.sort_by(f64::total_cmp);
        let below = |x: f64| chi.partition_point(|c| *c <= x) as f64 / chi.len() as f64;
        // Two samples of n: the distance may be sqrt(2) times as large as of one sample to a known distribution.
        assert!(ks::statistic(&half, below) < 1.6276 * (2.0f64 / 6000.0).sqrt());
    }

    #[test]
    fn gamma_has_its_shape_as_mean_and_variance() {
        for shape in [0.25, 0.5, 1.0, 2.0, 10.0, 1000.0] {
            let (mean, variance) = moments(&drawn(|random| random.gamma(shape)));
            // Five deviations of a mean of 6000; a variance has fatter tails below shape 1.
            assert!(
                (mean - shape).abs() < 5.0 * (shape / 6000.0f64).sqrt(),
                "{shape}: {mean}"
            );
            let spread = (2.0 + 6.0 / shape) / 6000.0f64;
            assert!(
                (variance / shape - 1.0).abs() < 5.0 * spread.sqrt(),
                "{shape}: {variance}"
            );
        }
        let (mean, variance) = moments(&drawn(SplitMix64::normal));
        assert!(mean.abs() < 0.065 && (variance - 1.0).abs() < 0.1, "{mean} {variance}");
    }
}
