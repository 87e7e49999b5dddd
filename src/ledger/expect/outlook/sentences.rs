//! The paragraph that tells what a run will do to each tier.

use super::Outlook;
use crate::ledger::simulate::Tier;
use crate::units::with_commas;

fn percent(part: u64, whole: u64) -> u64 {
    (part as f64 / whole.max(1) as f64 * 100.0).round() as u64
}

impl Outlook {
    /// A paragraph for the user, before anything is sent; each item is a sentence.
    pub fn sentences(&self) -> Vec<String> {
        if self.requests == 0 {
            return Vec::new();
        }
        let prefix = match self.prefix_tokens / self.prefixes.max(1) {
            each if each * self.prefixes == self.prefix_tokens => format!("{} tokens", with_commas(each)),
            each => format!("{} tokens on average", with_commas(each)),
        };
        let (noun, begin) = match (self.prefixes, self.requests) {
            (1, _) => ("prefix", "with one"),
            _ => ("different prefixes", "with"),
        };
        let count = if self.prefixes == 1 {
            String::new()
        } else {
            format!(" {}", with_commas(self.prefixes))
        };
        let mut sentences = vec![format!(
            "{} requests begin {begin}{count} {noun} of {prefix}; all prompts together have {} distinct tokens.",
            with_commas(self.requests),
            with_commas(self.working_set_tokens),
        )];
        for (tier, tokens) in &self.capacities {
            let stays = self.watermark.filter(|_| *tier == Tier::L1);
            let stays = stays.map_or_else(String::new, |share| {
                format!(", which evicts from {:.0} % on", share * 100.0)
            });
            sentences.push(format!(
                "The prefixes are {} % and all prompts {} % of {tier} ({} tokens{stays}).",
                percent(self.prefix_tokens, *tokens),
                percent(self.working_set_tokens, *tokens),
                with_commas(*tokens),
            ));
        }
        self.add_served(&mut sentences);
        let hbm = self.capacities.iter().find(|(tier, _)| *tier == Tier::Hbm);
        let wanted = self.in_flight.saturating_mul(self.longest_prompt_tokens);
        if let Some((_, tokens)) = hbm
            && wanted > *tokens
        {
            sentences.push(format!(
                "{} requests in flight of up to {} tokens need more than HBM has, so requests will wait for others.",
                with_commas(self.in_flight),
                with_commas(self.longest_prompt_tokens),
            ));
        }
        sentences
    }

    fn add_served(&self, sentences: &mut Vec<String>) {
        let whole = self.again_tokens;
        if whole == 0 {
            sentences.push("No prefix is sent twice, so no tier serves any.".to_owned());
            return;
        }
        let possible = percent(self.again_possible, whole);
        let Some(again) = self.again else {
            for tier in &self.unknown {
                sentences.push(format!(
                    "The capacity of {tier} is unknown; give it with --kv-tiers to see what each tier will serve."
                ));
            }
            sentences.push(format!(
                "At most {possible} % of the tokens of prompts with a known prefix can be cached."
            ));
            return;
        };
        sentences.push(format!(
            "Of prompts whose prefix was sent before, HBM will serve {} %, L1 {} % and L2 {} % (at most {possible} % can be cached).",
            percent(again.hbm, whole),
            percent(again.l1, whole),
            percent(again.l2, whole),
        ));
        for (tier, lost) in again.lost() {
            let share = percent(lost, again.total());
            if share > 0 {
                sentences.push(format!(
                    "{share} % of their tokens will be computed again, because {tier} has evicted them (LRU) before they are \
                     sent again."
                ));
            }
        }
        let refused = percent(again.refused_by_l1, again.total());
        if refused > 0 {
            sentences.push(format!(
                "{refused} % of their tokens will be computed again, because L1, which evicts once a second, has no room to \
                 store or load them."
            ));
        }
    }
}
