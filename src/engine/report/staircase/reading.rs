//! What the figures of a staircase mean, and what is missing, in sentences.

use super::{Climbed, break_even};
use crate::ledger::staircase::plan::Missed;
use crate::ledger::staircase::probes::{NotIsolated, Source, SourceLine};
use crate::ledger::staircase::usable::Reach;
use crate::result::model::{Note, Section};
use crate::units::with_commas;

/// Points whose L1 and L2 are farther apart than this share of the prompt tokens are named.
const WIDE: f64 = 0.05;

pub fn section(climbed: &Climbed) -> Section {
    let mut notes = Vec::new();
    let mut say = |code: &'static str, text: String| {
        notes.push(Note { key: code.into(), text });
    };
    if climbed.has_lower_tiers() && !climbed.points().is_empty() {
        say("tokens-decide", of_l1(climbed));
    }
    if let Some(Reach::NotReached { largest }) = climbed.usable().l2.filter(|_| climbed.has_lower_tiers()) {
        let largest = size(climbed, largest.working_set);
        say(
            "l2-not-reached",
            format!("L2 held the largest working set that was tried, {largest}."),
        );
    }
    if let Some(text) = of_others(climbed) {
        say("other-clients", text);
    }
    let wide = climbed.points().iter().filter(|point| {
        let l1 = point.tokens.l1;
        point.tokens.share(l1.max - l1.min.min(l1.max)) > WIDE
    });
    let wide = wide.count();
    if wide > 0 {
        say(
            "split-unknown",
            format!(
                "Of {wide} working sets the counters leave open how much came from L1 and how much from L2; the table has the most \
                 that L2 can have served."
            ),
        );
    }
    if let Some(tokens) = climbed.cut_off {
        say(
            "cut-off",
            format!(
                "The working set of {} was not measured to its end: working sets may use 70 % of --budget.",
                size(climbed, tokens)
            ),
        );
    }
    if climbed.ended.is_some() {
        climbed
            .plan
            .missed()
            .iter()
            .for_each(|missed| say("not-reached", sentence(climbed, missed)));
    }
    for line in climbed.probes.iter().flat_map(|probes| probes.lines()) {
        if let Some((code, text)) = of_source(&line) {
            say(code, text);
        }
    }
    Section::list("kv_reading", "Reading It", notes)
}

fn size(climbed: &Climbed, tokens: u64) -> String {
    let text = format!("{} tokens", with_commas(tokens));
    match climbed.gb(tokens as f64) {
        Some(gb) => format!("{text} ({gb:.3} GB)"),
        None => text,
    }
}

fn of_l1(climbed: &Climbed) -> String {
    let general = "Sizes are read from where tokens came from; TTFT only shows how high a step is.";
    if climbed.fills_no_chunk() {
        return format!(
            "{general} L1 and L2 hold whole chunks, and documents are shorter than one; raise --staircase-document-length to measure \
             them."
        );
    }
    let Some(l1) = climbed.usable().l1 else {
        return format!("{general} L1 served nothing that HBM did not hold.");
    };
    match (l1.has_cliff, l1.kept) {
        (Some(false), Some(kept)) => format!(
            "{general} L1 has no cliff here: it went on serving {} to {} tokens of each pass, however large the working set. That is \
             LMCache's default prefetch policy, under which what is loaded from L2 does not enter L1 and pushes nothing out of it; \
             the usable size of L1 is the mean of that.",
            with_commas(kept.min.round() as u64),
            with_commas(kept.max.round() as u64),
        ),
        (Some(true), _) => {
            format!("{general} L1 gave way here as an LRU does: beyond its size it served next to nothing.")
        }
        _ => format!(
            "{general} Under LMCache's default prefetch policy L1 has no cliff where there is an L2: what is loaded from L2 does not \
             enter L1 and pushes nothing out of it."
        ),
    }
}

/// Where tokens were counted that are not of this run, or sources that do not add up.
fn of_others(climbed: &Climbed) -> Option<String> {
    let points = climbed.points();
    let sent = climbed.probes.as_ref().map_or(&[][..], |probes| probes.sent());
    let sets = points.iter().filter(|point| point.tokens.doubtful > 0).count();
    let lengths = sent.iter().filter(|sent| sent.tokens.doubtful > 0).count();
    (sets + lengths > 0).then(|| {
        format!(
            "Tokens of other clients, or tokens that the sources have too many or too few, are in {sets} of {} working sets and \
             {lengths} of {} lengths of prompts, so that sizes and times are not to be trusted; repeat the run while nobody else \
             uses the servers.",
            points.len(),
            sent.len()
        )
    })
}

fn sentence(climbed: &Climbed, missed: &Missed) -> String {
    match missed {
        Missed::WorkingSet { tokens, seconds } => {
            let next = format!("The next working set, {}, ", size(climbed, *tokens));
            match seconds {
                Some(seconds) => format!("{next}may take up to {seconds:.0} s; raise --budget to reach it."),
                None => format!("{next}is the first one; raise --budget to reach it."),
            }
        }
        Missed::Close { tier, holds, fails } => format!(
            "The largest working set that {} holds lies between {} and {}; raise --budget to know it within 2 %.",
            tier.name(),
            size(climbed, *holds),
            size(climbed, *fails)
        ),
    }
}

/// What the table does not say about a source.
fn of_source(line: &SourceLine) -> Option<(&'static str, String)> {
    let name = line.source.name();
    match &line.line {
        // There is nothing to explain.
        Err(NotIsolated::NoTier) => None,
        Err(why) => Some(("not-isolated", format!("TTFT by {name} is not isolated: {why}."))),
        Ok(_) if line.source == Source::Computed => None,
        Ok(_) => match line.break_even {
            Some(even) if even.tokens.is_none() => Some((
                "never-faster",
                format!(
                    "From {name} a token does not come faster than it is computed, so loading never pays ({}).",
                    break_even::key(line.source)
                ),
            )),
            _ => None,
        },
    }
}
