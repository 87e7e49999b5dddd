//! The section `kv_usable`: how much of each tier can be used, beside its configured size.

use super::{Climbed, ceiling};
use crate::ledger::staircase::Tier;
use crate::ledger::staircase::plan::Ended;
use crate::ledger::staircase::usable::{Reach, UsableL1};
use crate::result::model::{Entry, Section};

/// The ends of a cliff are too far apart for a size by this share of the lower one: 5 % is what a size is said to be known to.
const WIDE: f64 = 0.05;

/// Keys and labels of one tier.
struct Names {
    tier: Tier,
    found: (&'static str, &'static str),
    gb: (&'static str, &'static str),
    tokens: (&'static str, &'static str),
    holds: (&'static str, &'static str),
    fails: (&'static str, &'static str),
    configured: (&'static str, &'static str),
    share: (&'static str, &'static str),
}

const HBM: Names = Names {
    tier: Tier::Hbm,
    found: ("hbm_found", "HBM"),
    gb: ("hbm_gb", "HBM, usable (GB)"),
    tokens: ("hbm_tokens", "HBM, usable (tokens)"),
    holds: ("hbm_holds_tokens", "Largest working set HBM held (tokens)"),
    fails: ("hbm_fails_tokens", "Smallest that HBM did not (tokens)"),
    configured: ("hbm_configured_tokens", "HBM, configured (tokens)"),
    share: ("hbm_usable_percent", "HBM, usable of configured (%)"),
};
const L1: Names = Names {
    tier: Tier::L1,
    found: ("l1_found", "L1"),
    gb: ("l1_gb", "L1, usable (GB)"),
    tokens: ("l1_tokens", "L1, usable (tokens)"),
    holds: ("l1_holds_tokens", "Largest working set L1 held (tokens)"),
    fails: ("l1_fails_tokens", "Smallest that L1 did not (tokens)"),
    configured: ("l1_configured_tokens", "L1, configured (tokens)"),
    share: ("l1_usable_percent", "L1, usable of configured (%)"),
};
const L2: Names = Names {
    tier: Tier::L2,
    found: ("l2_found", "L2"),
    gb: ("l2_gb", "L2, usable (GB)"),
    tokens: ("l2_tokens", "L2, usable (tokens)"),
    holds: ("l2_holds_tokens", "Largest working set L2 held (tokens)"),
    fails: ("l2_fails_tokens", "Smallest that L2 did not (tokens)"),
    configured: ("l2_configured_tokens", "L2, configured (tokens)"),
    share: ("l2_usable_percent", "L2, usable of configured (%)"),
};

pub fn section(climbed: &Climbed) -> Section {
    let usable = climbed.usable();
    let tokens = |reach: Option<Reach>| reach.and_then(|reach| reach.tokens()).map(|tokens| tokens as f64);
    let mut entries = of_tier(climbed, &HBM, usable.hbm, tokens(usable.hbm));
    if climbed.has_lower_tiers() {
        let (l1, l2) = match climbed.fills_no_chunk() {
            true => (None, None),
            false => (usable.l1, usable.l2),
        };
        let reach = l1.map(|l1| l1.reach);
        entries.extend(of_tier(climbed, &L1, reach, l1.and_then(|l1| l1.tokens())));
        entries.extend(l1.map(|l1| of_l1(climbed, &l1)).unwrap_or_default());
        entries.extend(of_tier(climbed, &L2, l2, tokens(l2)));
    }
    entries.push(Entry::text("ended", "Ended", ended(climbed)));
    Section::entries("kv_usable", "Usable Tiers", entries)
}

fn of_tier(climbed: &Climbed, names: &Names, reach: Option<Reach>, tokens: Option<f64>) -> Vec<Entry> {
    let found = match reach {
        None => nothing(climbed, names.tier),
        Some(Reach::Nothing { .. }) => "does not hold the smallest working set",
        Some(Reach::Cliff { holds, fails }) if is_wide(holds.working_set, fails) => {
            "between two working sets far apart"
        }
        Some(Reach::Cliff { .. }) => "found",
        Some(Reach::NotReached { .. }) => "not reached, at least as large as the largest working set",
    };
    let mut entries = vec![Entry::text(names.found.0, names.found.1, found)];
    if let Some(gb) = tokens.and_then(|tokens| climbed.gb(tokens)) {
        entries.push(Entry::number(names.gb.0, names.gb.1, gb, 3));
    }
    if let Some(tokens) = tokens {
        entries.push(Entry::count(names.tokens.0, names.tokens.1, tokens.round() as u64));
    }
    if let Some(held) = reach.and_then(|reach| reach.holds()) {
        entries.push(Entry::count(names.holds.0, names.holds.1, held.working_set));
    }
    if let Some(Reach::Cliff { fails, .. }) = reach {
        entries.push(Entry::count(names.fails.0, names.fails.1, fails));
    }
    if let Some(size) = climbed.tiers().size(names.tier).filter(|size| *size > 0) {
        entries.push(Entry::count(names.configured.0, names.configured.1, size));
        let is_found = matches!(reach, Some(Reach::Cliff { holds, fails }) if !is_wide(holds.working_set, fails));
        let share = tokens.filter(|_| is_found);
        let percent = share.map(|tokens| tokens / size as f64 * 100.0);
        entries.extend(percent.map(|percent| Entry::number(names.share.0, names.share.1, percent, 1)));
    }
    if reach.is_some() && names.tier != Tier::L2 {
        let (key, label) = match names.tier {
            Tier::Hbm => ("hbm_most_percent", "HBM can serve at most (%)"),
            _ => ("lmcache_most_percent", "L1 and L2 can serve at most (%)"),
        };
        let most = ceiling(climbed, names.tier).map(|share| share * 100.0);
        entries.extend(most.map(|most| Entry::number(key, label, most, 1)));
    }
    entries
}

/// Whether a size between the two is not known well enough to be compared with another one.
fn is_wide(holds: u64, fails: u64) -> bool {
    fails as f64 > (1.0 + WIDE) * holds as f64
}

/// Why no size of a tier was found.
fn nothing(climbed: &Climbed, tier: Tier) -> &'static str {
    let tiers = climbed.tiers();
    let has_l1 = tiers.l1.is_some() || climbed.usable().l1.is_some();
    if climbed.points().is_empty() {
        "not measured"
    } else if climbed.fills_no_chunk() {
        "documents are shorter than a chunk"
    } else if tiers.size(tier) == Some(0) {
        "none, as the servers say"
    } else if tiers.size(tier).is_none() {
        "serves nothing"
    } else if tier == Tier::L2 && has_l1 {
        // It may serve much, but of no working set that L1 does not hold.
        "adds nothing measurable to L1"
    } else {
        "adds nothing measurable to HBM"
    }
}

/// Both readings of L1, whichever of them is the usable size.
fn of_l1(climbed: &Climbed, l1: &UsableL1) -> Vec<Entry> {
    let mut entries = Vec::new();
    if let Some(kept) = l1.kept {
        let kept = [
            ("l1_kept_tokens", "L1 served of larger ones (tokens/pass)", kept.mean),
            ("l1_kept_min_tokens", "  least", kept.min),
            ("l1_kept_max_tokens", "  most", kept.max),
        ];
        entries.extend(kept.map(|(key, label, tokens)| Entry::count(key, label, tokens.round() as u64)));
    }
    let keeps = climbed.tiers().l1_keeps;
    entries.extend(keeps.map(|keeps| Entry::count("l1_keeps_tokens", "L1 keeps up to its watermark (tokens)", keeps)));
    entries
}

fn ended(climbed: &Climbed) -> &'static str {
    match climbed.ended {
        None if climbed.failure.is_some() => "by a failure",
        None => "by a signal",
        Some(Ended::Found) => "found",
        Some(Ended::Budget) => "the budget was used up",
        Some(Ended::Points) => "the number of working sets was used up",
    }
}
