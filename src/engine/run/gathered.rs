//! What one phase has gathered so far. It takes the record of each request that ended.

use super::live::Live;
use crate::engine::samples::phase::{Ended, PhaseSamples, add_usage};
use crate::engine::samples::record::Record;
use crate::engine::samples::series;
use crate::engine::samples::steadiness::Steadiness;
use crate::engine::timestamp::Stamp;
use crate::engine::workload::Finished;

/// The state of one phase.
pub struct Gathered {
    pub samples: PhaseSamples,
    /// Not yet passed to the workload.
    pub finished: Vec<Finished>,
    pub keeps_gaps: bool,
    /// Whether requests are kept as a cache sees them.
    pub keeps_accesses: bool,
    /// Of a phase that ends when it is steady.
    pub steadiness: Option<Steadiness>,
    /// When the number of requests in flight last changed.
    pub changed: Stamp,
    /// When the measured time is over, where it is known; `None` when the requests were used up before.
    pub window_ends: Option<Stamp>,
}

impl Gathered {
    /// Whether the phase ends now because it is steady.
    pub fn is_over(&mut self, now: Stamp) -> bool {
        if self.samples.steady_since.is_none()
            && let Some(steadiness) = &mut self.steadiness
            && steadiness.is_steady(now)
        {
            self.samples.steady_since = steadiness.since();
        }
        self.samples.steady_since.is_some()
    }

    pub fn take(&mut self, id: String, record: Option<Box<Record>>, live: &Live) {
        live.ended(record.as_deref());
        let Some(mut record) = record else {
            self.samples.cut_off += 1;
            self.samples.usage.failed += 1;
            self.samples.accesses.is_partial = true;
            return;
        };
        let succeeded = record.succeeded();
        let text = std::mem::take(&mut record.answer.text);
        self.finished.push(Finished {
            id,
            succeeded,
            text: if succeeded { text } else { String::new() },
            ttft_s: record.ttft_s(),
            output_tokens: record.output_tokens(),
            cached_tokens: record.cached_tokens(),
        });
        add_usage(&mut self.samples.usage, &record);
        let is_measured = record.scheduled >= self.samples.measured_from;
        if self.keeps_accesses {
            self.samples.accesses.add(&mut record);
        }
        if let Some(seconds) = &mut self.samples.series {
            series::add(seconds, &record, self.samples.began);
        }
        if let Some(steadiness) = &mut self.steadiness {
            steadiness.extend(Ended::of(&record));
        }
        let samples = &self.samples;
        let is_sending = samples.sending_ended <= samples.began;
        let sent_all = (!is_sending).then_some(samples.sending_ended);
        let ends = self.window_ends.or(sent_all);
        let in_window = record.finished >= samples.in_flight_from && ends.is_none_or(|ends| record.finished <= ends);
        self.samples.ended_in_window += u64::from(in_window && record.succeeded());
        if !is_measured {
            self.samples.unmeasured.add(&record);
            self.samples.earlier.extend(Ended::of(&record).filter(|_| in_window));
            return;
        }
        self.samples.gaps.add(&record);
        record.longest_gap_s = record.gaps_s().filter(|_| !record.is_buffered()).reduce(f64::max);
        if !self.keeps_gaps {
            // The first gap is kept: it shows whether the first token arrived alone.
            record.answer.gaps.truncate(1);
            record.answer.gaps.shrink_to_fit();
        }
        self.samples.connections_opened += u64::from(record.connect_ns > 0);
        self.samples.records.push(*record);
    }
}
