//! All figures of one measured phase.

use super::delivered::{Asked, Delivered};
use super::detail::Detail;
use super::figures::{Figures, Row};
use super::judged::Judged;
use crate::engine::samples::phase::PhaseSamples;
use crate::engine::timestamp::Clock;
use crate::engine::workload::Skipped;
use crate::load::slo::Slo;

pub struct Evaluated {
    /// In completion order.
    pub rows: Vec<Row>,
    pub figures: Figures,
    pub detail: Detail,
    pub delivered: Delivered,
    /// `None` without limits.
    pub judged: Option<Judged>,
}

impl Evaluated {
    /// `cut_short`: the phase ended before the time that was asked for.
    pub fn of(
        samples: &PhaseSamples,
        clock: &Clock,
        asked: Asked,
        skipped: Skipped,
        slo: &Slo,
        cut_short: bool,
    ) -> Evaluated {
        let rows: Vec<Row> = samples.records.iter().map(|record| Row::of(record, clock)).collect();
        let figures = Figures::of(&rows, samples.elapsed_s());
        let is_paced = asked.per_second.is_some();
        Evaluated {
            detail: Detail::of(samples, is_paced),
            delivered: Delivered::of(samples, asked, skipped, cut_short),
            judged: Judged::of(slo, samples, is_paced, skipped.unsent, figures.elapsed_s),
            rows,
            figures,
        }
    }
}
