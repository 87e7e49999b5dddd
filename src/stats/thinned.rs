//! A bounded sample of a stream of values: all of them up to a limit, then evenly fewer.

/// When it is full, every other value is dropped, and from then on half as many are added.
#[derive(Clone, Debug)]
pub struct Thinned {
    values: Vec<f64>,
    limit: usize,
    stride: u64,
    seen: u64,
}

impl Thinned {
    /// `limit` is at least 1.
    pub fn with_limit(limit: usize) -> Thinned {
        Thinned {
            values: Vec::new(),
            limit,
            stride: 1,
            seen: 0,
        }
    }

    pub fn push(&mut self, value: f64) {
        if self.seen.is_multiple_of(self.stride) {
            if self.values.len() == self.limit {
                self.halve();
            }
            if self.seen.is_multiple_of(self.stride) {
                self.values.push(value);
            }
        }
        self.seen += 1;
    }

    /// Lowers the limit and drops values until they are within it.
    pub fn tighten(&mut self, limit: usize) {
        self.limit = limit.max(1);
        while self.values.len() > self.limit {
            self.halve();
        }
        self.values.shrink_to_fit();
    }

    /// Those that were kept, in the order of the stream.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    fn halve(&mut self) {
        let mut keep = false;
        self.values.retain(|_| {
            keep = !keep;
            keep
        });
        self.stride *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_kept_up_to_the_limit_and_then_evenly_fewer() {
        let mut sample = Thinned::with_limit(8);
        (0..8).for_each(|value| sample.push(f64::from(value)));
        assert_eq!(sample.values(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        (8..32).for_each(|value| sample.push(f64::from(value)));
        assert_eq!(sample.values(), [0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0]);
    }

    #[test]
    fn a_lower_limit_thins_what_is_there_and_what_comes() {
        let mut sample = Thinned::with_limit(8);
        (0..6).for_each(|value| sample.push(f64::from(value)));
        sample.tighten(2);
        assert_eq!(sample.values(), [0.0, 4.0]);
        (6..16).for_each(|value| sample.push(f64::from(value)));
        assert_eq!(sample.values(), [0.0, 8.0]);
        sample.tighten(0);
        assert_eq!(sample.values(), [0.0]);
    }
}
