//! The summary that the reference prints of a few samples, such as the durations of rounds.

use super::percentile::nearest_rank;

/// All zeros without samples, as in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Summary {
    pub count: usize,
    pub avg: f64,
    pub min: f64,
    pub max: f64,
    /// Nearest rank.
    pub p50: f64,
    /// Nearest rank.
    pub p99: f64,
    /// Sample standard deviation (n - 1); 0 below two samples.
    pub std: f64,
}

impl Summary {
    pub fn of(samples: &[f64]) -> Summary {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
            return Summary::default();
        };
        let count = samples.len();
        let avg = mean(samples);
        Summary {
            count,
            avg,
            min: *min,
            max: *max,
            p50: nearest_rank(&sorted, 50.0),
            p99: nearest_rank(&sorted, 99.0),
            std: sample_deviation(samples, avg),
        }
    }
}

/// Arithmetic mean, summed in the order given; 0 without samples.
pub fn mean(samples: &[f64]) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    samples.iter().sum::<f64>() / samples.len() as f64
}

fn sample_deviation(samples: &[f64], avg: f64) -> f64 {
    if samples.len() < 2 {
        return 0.0;
    }
    let squares: f64 = samples.iter().map(|sample| (sample - avg).powi(2)).sum();
    (squares / (samples.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const VECTORS: &str = include_str!("../../tests/golden/l2-report-vectors.json");

    #[test]
    fn no_samples_are_all_zeros() {
        assert_eq!(Summary::of(&[]), Summary::default());
        assert_eq!(mean(&[]), 0.0);
    }

    #[test]
    fn one_sample_has_no_deviation() {
        let want = Summary {
            count: 1,
            avg: 3.0,
            min: 3.0,
            max: 3.0,
            p50: 3.0,
            p99: 3.0,
            std: 0.0,
        };
        assert_eq!(Summary::of(&[3.0]), want);
    }

    #[test]
    fn the_order_of_samples_does_not_matter() {
        let got = Summary::of(&[9.0, 1.0, 4.0, 2.0]);
        assert_eq!((got.min, got.max, got.p50, got.p99, got.avg), (1.0, 9.0, 2.0, 9.0, 4.0));
        assert!((got.std - (38.0f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    /// The durations of the reference's measured rounds give the duration figures of its reports.
    #[test]
    fn durations_summarise_as_in_the_references_reports() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        let mut compared = 0;
        for case in vectors["cases"].as_array().unwrap() {
            let report: Value =
                serde_json::from_str(&case["json"].as_str().unwrap().replace("Infinity", "null")).unwrap();
            for (index, operation) in case["operations"].as_array().unwrap().iter().enumerate() {
                let lost = operation["timed_out_rounds_before_strip"].as_u64().unwrap();
                if lost > 0 {
                    continue;
                }
                let warmup = case["args"]["warmup_rounds"].as_u64().unwrap() as usize;
                let durations = operation["round_durations_s_including_warmup"].as_array().unwrap();
                let ms: Vec<f64> = durations[warmup..]
                    .iter()
                    .map(|s| s.as_f64().unwrap() * 1000.0)
                    .collect();
                let summary = Summary::of(&ms);
                let metrics = &report["metrics"][format!("op_{index}")];
                for (key, value) in [
                    ("duration_avg_ms", summary.avg),
                    ("duration_min_ms", summary.min),
                    ("duration_max_ms", summary.max),
                    ("duration_p50_ms", summary.p50),
                    ("duration_p99_ms", summary.p99),
                    ("duration_std_ms", summary.std),
                ] {
                    assert_eq!(
                        format!("{value:.2}").parse::<f64>().unwrap(),
                        metrics[key].as_f64().unwrap(),
                        "{key}"
                    );
                    compared += 1;
                }
            }
        }
        assert!(compared >= 6 * 6, "{compared}");
    }
}
