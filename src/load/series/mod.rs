//! What happened in each second of a phase. Times are seconds since the start of the phase. Memory is bounded whatever the load:
//! at most a day of seconds, and a sample of the latencies of each.

mod bucket;

use bucket::Bucket;

use crate::stats::percentile::linear_unsorted;

/// Seconds that are kept, a day; what comes later is left out.
pub const SECONDS_MAX: usize = 86_400;
/// Latencies of one kind that are kept for a second. Fewer once all seconds together have more than [`KEPT_MAX`].
const KEPT_PER_SECOND: usize = 4096;
/// 32 MiB.
const KEPT_MAX: usize = 4 << 20;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    pub started_s: f64,
    pub ended_s: f64,
    pub succeeded: bool,
    /// Of the first and last token, if there was one.
    pub tokens_at_s: Option<(f64, f64)>,
    pub ttft_s: Option<f64>,
    /// Prompt tokens, and how many of them came from a cache. They count in the second in which the request was started.
    pub tokens_in: u64,
    pub cached: u64,
    /// Spread evenly between the first token and the last.
    pub tokens_out: u64,
}

/// The figures of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Row {
    /// Counted from 0.
    pub second: usize,
    /// How much of it belongs to the phase: 1, less for the last.
    pub width_s: f64,
    pub started: u64,
    /// Ended with success.
    pub finished: u64,
    pub failed: u64,
    /// Mean over the second.
    pub in_flight: f64,
    /// The most at the beginning or after any hundredth of the second.
    pub in_flight_max: u64,
    pub tokens_in: u64,
    pub cached: u64,
    pub tokens_out: f64,
    /// By the second of the first token; `None` without one. In seconds, by linear interpolation.
    pub ttft: Option<Percentiles>,
    /// By the second of the later of the two events.
    pub itl: Option<Percentiles>,
    /// The sum of the latencies `ttft` is over, and their number: a steady state needs their mean.
    pub ttft_sum_s: f64,
    pub ttft_count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
}

#[derive(Clone, Debug)]
pub struct Series {
    buckets: Vec<Bucket>,
    /// Of latencies, in all buckets together.
    kept: usize,
    kept_max: usize,
    kept_per_second: usize,
}

impl Default for Series {
    fn default() -> Series {
        Series::with_limit(KEPT_MAX)
    }
}

impl Series {
    fn with_limit(kept_max: usize) -> Series {
        Series {
            buckets: Vec::new(),
            kept: 0,
            kept_max,
            kept_per_second: KEPT_PER_SECOND,
        }
    }

    /// Adds a request that has ended. The order does not matter.
    pub fn request(&mut self, request: &Observation) {
        let Observation { started_s, ended_s, .. } = *request;
        if let Some(bucket) = self.bucket(started_s) {
            bucket.started += 1;
            bucket.tokens_in += request.tokens_in;
            bucket.cached += request.cached;
            bucket.step(started_s, 1);
        }
        if let Some(bucket) = self.bucket(ended_s) {
            bucket.finished += u64::from(request.succeeded);
            bucket.failed += u64::from(!request.succeeded);
            bucket.step(ended_s, -1);
        }
        self.spread(started_s, ended_s, |bucket, seconds| bucket.busy_s += seconds);
        let Some((first_s, last_s)) = request.tokens_at_s else {
            return;
        };
        let tokens = request.tokens_out as f64;
        if last_s > first_s {
            let per_second = tokens / (last_s - first_s);
            self.spread(first_s, last_s, |bucket, seconds| {
                bucket.tokens_out += per_second * seconds
            });
        } else if let Some(bucket) = self.bucket(first_s) {
            bucket.tokens_out += tokens;
        }
        if let Some(ttft_s) = request.ttft_s {
            let limit = self.kept_per_second;
            let Some(bucket) = self.bucket(first_s) else { return };
            bucket.ttft_sum_s += ttft_s;
            bucket.ttft_count += 1;
            let added = bucket.keep_ttft(ttft_s, limit);
            self.count(added);
        }
    }

    /// Adds the time between two token events, of which the later one was at `at_s`.
    pub fn gap(&mut self, at_s: f64, gap_s: f64) {
        let limit = self.kept_per_second;
        let Some(bucket) = self.bucket(at_s) else { return };
        let added = bucket.keep_gap(gap_s, limit);
        self.count(added);
    }

    /// One row for each second up to `end_s`, the end of the phase, or to the last event if that is later.
    pub fn rows(&self, end_s: f64) -> Vec<Row> {
        let seconds = (end_s.max(0.0).ceil() as usize)
            .min(SECONDS_MAX)
            .max(self.buckets.len());
        let blank = Bucket::default();
        let mut in_flight = 0;
        let row = |second: usize| {
            let bucket = self.buckets.get(second).unwrap_or(&blank);
            let begin_s = second as f64;
            // Behind the end of the phase a second is a whole one.
            let width_s = if end_s > begin_s {
                (end_s - begin_s).min(1.0)
            } else {
                1.0
            };
            let peak = bucket.peak(&mut in_flight);
            Row {
                second,
                width_s,
                started: bucket.started,
                finished: bucket.finished,
                failed: bucket.failed,
                in_flight: bucket.busy_s / width_s,
                in_flight_max: peak,
                tokens_in: bucket.tokens_in,
                cached: bucket.cached,
                tokens_out: bucket.tokens_out,
                ttft: percentiles(bucket.ttfts()),
                itl: percentiles(bucket.gaps()),
                ttft_sum_s: bucket.ttft_sum_s,
                ttft_count: bucket.ttft_count,
            }
        };
        (0..seconds).map(row).collect()
    }

    /// The bucket of a time; one before the start counts as the start.
    fn bucket(&mut self, at_s: f64) -> Option<&mut Bucket> {
        // A time that is not a number or negative becomes 0.
        let second = at_s as usize;
        if second >= SECONDS_MAX {
            return None;
        }
        if second >= self.buckets.len() {
            self.buckets.resize_with(second + 1, Bucket::default);
        }
        self.buckets.get_mut(second)
    }

    /// Calls `add` for each bucket between two times, with the seconds of it that lie between them.
    fn spread(&mut self, from_s: f64, to_s: f64, add: impl Fn(&mut Bucket, f64)) {
        let from_s = from_s.max(0.0);
        let mut begin_s = from_s;
        while begin_s < to_s {
            let border_s = begin_s.floor() + 1.0;
            let Some(bucket) = self.bucket(begin_s) else { return };
            add(bucket, to_s.min(border_s) - begin_s);
            begin_s = border_s;
        }
    }

    /// Takes note of how many latencies a bucket holds more, or fewer, and thins all when they are too many.
    fn count(&mut self, added: isize) {
        self.kept = self.kept.saturating_add_signed(added);
        while self.kept > self.kept_max && self.kept_per_second > 1 {
            self.kept_per_second /= 2;
            let limit = self.kept_per_second;
            self.kept = self.buckets.iter_mut().map(|bucket| bucket.tighten(limit)).sum();
        }
    }
}

fn percentiles(seconds: &[f64]) -> Option<Percentiles> {
    if seconds.is_empty() {
        return None;
    }
    Some(Percentiles {
        p50: linear_unsorted(seconds.to_vec(), 50.0),
        p99: linear_unsorted(seconds.to_vec(), 99.0),
    })
}

#[cfg(test)]
mod tests;
