//! The page `/metrics`: the counters of vLLM and of an LMCache server that benchmarks read, and one of blended tokens.
//! An LMCache server counts a lookup in one of two families, by whether its module for blending did it (0.5.6 and 0.5.7).

use super::record::Sources;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    requests: u64,
    generation_tokens: u64,
    sources: Sources,
    lookup_tokens: u64,
}

impl Counters {
    /// Counts one completion.
    pub fn add(&mut self, sources: &Sources, generation_tokens: u64) {
        self.requests += 1;
        self.generation_tokens += generation_tokens;
        self.sources.hbm += sources.hbm;
        self.sources.dram += sources.dram;
        self.sources.disk += sources.disk;
        self.sources.computed += sources.computed;
        self.sources.blended += sources.blended;
        // The engine looks up in the cache server what it does not have itself.
        self.lookup_tokens += sources.total() - sources.hbm;
    }

    /// The page in the text format of Prometheus. With `blend` lookups are those of the module for blending.
    pub fn render(&self, model: &str, blend: bool) -> String {
        let label = model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let lookups = self.lookups(&label, blend);
        let model = format!("engine=\"0\",model_name=\"{label}\"");
        let Counters {
            requests,
            generation_tokens,
            sources,
            ..
        } = self;
        let Sources {
            hbm,
            dram,
            disk,
            computed,
            blended,
        } = sources;
        let prompt = sources.total();
        let external = dram + disk;
        format!(
            "# TYPE vllm:prompt_tokens_total counter\n\
             vllm:prompt_tokens_total{{{model}}} {prompt}\n\
             # TYPE vllm:generation_tokens_total counter\n\
             vllm:generation_tokens_total{{{model}}} {generation_tokens}\n\
             # TYPE vllm:request_success_total counter\n\
             vllm:request_success_total{{{model},finished_reason=\"length\"}} {requests}\n\
             # TYPE vllm:prompt_tokens_by_source_total counter\n\
             vllm:prompt_tokens_by_source_total{{{model},source=\"local_compute\"}} {computed}\n\
             vllm:prompt_tokens_by_source_total{{{model},source=\"local_cache_hit\"}} {hbm}\n\
             vllm:prompt_tokens_by_source_total{{{model},source=\"external_kv_transfer\"}} {external}\n\
             {lookups}\
             # TYPE mock_blended_tokens_total counter\n\
             mock_blended_tokens_total {blended}\n"
        )
    }

    fn lookups(&self, label: &str, blend: bool) -> String {
        let (requested, l1, l2) = (self.lookup_tokens, self.sources.dram, self.sources.disk);
        let (mp, blended) = match blend {
            true => ([0; 4], Some([requested, l1 + l2])),
            false => ([requested, l1 + l2, l1, l2], None),
        };
        let names = ["requested", "hit", "hit_l1", "hit_l2"].map(|what| format!("mp_lookup_{what}"));
        let blend_names = ["requested", "hit"].map(|what| format!("blend_lookup_{what}"));
        let counts = names
            .iter()
            .zip(mp)
            .chain(blend_names.iter().zip(blended.into_iter().flatten()));
        counts
            .map(|(name, count)| {
                let name = format!("lmcache_{name}_tokens_total");
                format!("# TYPE {name} counter\n{name}{{model_name=\"{label}\",cache_salt=\"\"}} {count}\n")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_counts_in_the_family_of_the_module_that_did_it() {
        let mut counters = Counters::default();
        let sources = Sources {
            hbm: 100,
            dram: 30,
            disk: 20,
            computed: 7,
            blended: 10,
        };
        counters.add(&sources, 4);
        let labels = "{model_name=\"a\\\"b\",cache_salt=\"\"}";
        let has = |blend: bool, name: &str, count: u64| {
            let page = counters.render("a\"b", blend);
            let line = format!("\nlmcache_{name}_tokens_total{labels} {count}\n");
            assert!(page.contains(&line), "{line}{page}");
        };
        has(false, "mp_lookup_requested", 57);
        has(false, "mp_lookup_hit", 50);
        has(false, "mp_lookup_hit_l1", 30);
        has(false, "mp_lookup_hit_l2", 20);
        assert!(!counters.render("m", false).contains("lmcache_blend"));
        has(true, "blend_lookup_requested", 57);
        has(true, "blend_lookup_hit", 50);
        has(true, "mp_lookup_requested", 0);
        has(true, "mp_lookup_hit", 0);
    }
}
