//! Which documents are in which request, number for number as in LMCache 0.5.7: the groups of the warm-up sweep, and those that
//! are drawn for the measured requests.

use crate::engine::tokens::ended;
use crate::error::Error;
use crate::python::big_int::BigInt;
use crate::python::random::PythonRandom;

/// Numbers in all groups together; more would not fit in memory.
const PLACES_MAX: f64 = 1e8;
/// Additions of weights, about ten seconds of them.
const ADDITIONS_MAX: f64 = 1e10;

/// The documents of the measured requests.
#[derive(Debug)]
pub struct Groups {
    docs_per_request: usize,
    documents: Vec<u32>,
}

/// How many requests cover `pool` documents once.
pub fn sweep_requests(pool: u64, docs_per_request: u64) -> u64 {
    pool.div_ceil(docs_per_request)
}

/// The documents of request `number` of the sweep, in order. The last group is filled up from the front of the pool.
pub fn sweep_group(pool: u64, docs_per_request: u64, number: u64) -> impl Iterator<Item = u32> {
    let first = number * docs_per_request;
    (first..first + docs_per_request).map(move |document| (document % pool) as u32)
}

impl Groups {
    /// Draws all groups. `skew` is finite; 0 makes all documents equally likely, otherwise document r has the weight
    /// 1 / (r + 1)^`skew`. Within a group no document is drawn twice.
    pub fn draw(pool: u64, docs_per_request: u64, requests: u64, skew: f64, seed: &BigInt) -> Result<Groups, Error> {
        let places = requests as f64 * docs_per_request as f64;
        if places > PLACES_MAX {
            return Err(Error::Settings(format!(
                "--ktp-num-requests x --ktp-docs-per-request makes {places:.0} documents to draw, more than the \
                 {PLACES_MAX:.0} of one run; lower one of them"
            )));
        }
        if skew != 0.0 && places * pool as f64 > ADDITIONS_MAX {
            return Err(Error::Settings(format!(
                "--ktp-access-skew: drawing {places:.0} documents by weight from {pool} would take minutes; lower \
                 --ktp-num-requests or --ktp-pool-size, or give --ktp-access-skew 0"
            )));
        }
        let mut rng = PythonRandom::new(seed);
        let weights = (skew != 0.0).then(|| weights(pool, skew));
        let docs = docs_per_request as usize;
        let mut documents = Vec::with_capacity(places as usize);
        for _ in 0..requests {
            ended()?;
            match &weights {
                None => documents.extend(rng.sample(pool as usize, docs).into_iter().map(|at| at as u32)),
                Some(weights) => draw_by_weight(weights, docs, &mut rng, &mut documents),
            }
        }
        Ok(Groups {
            docs_per_request: docs,
            documents,
        })
    }

    /// The documents of measured request `number`, in the order drawn.
    pub fn of(&self, number: u64) -> &[u32] {
        let first = number as usize * self.docs_per_request;
        &self.documents[first..first + self.docs_per_request]
    }
}

/// Whether a power of the last document's rank is too large for a number.
pub fn overflows(pool: u64, skew: f64) -> bool {
    (pool as f64).powf(skew).is_infinite()
}

fn weights(pool: u64, skew: f64) -> Vec<f64> {
    (1..=pool).map(|rank| 1.0 / (rank as f64).powf(skew)).collect()
}

/// Appends one group. Each draw is Python's `choices` with the remaining weights: sums from left to right, one random number,
/// the first sum above it.
fn draw_by_weight(weights: &[f64], docs: usize, rng: &mut PythonRandom, group: &mut Vec<u32>) {
    let mut weights = weights.to_vec();
    let mut left: Vec<u32> = (0..weights.len() as u32).collect();
    let mut sums = Vec::with_capacity(weights.len());
    for _ in 0..docs {
        sums.clear();
        sums.extend(weights.iter().scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        }));
        let last = sums.len() - 1;
        let drawn = rng.random() * sums[last];
        let at = sums[..last].partition_point(|sum| *sum <= drawn);
        group.push(left.remove(at));
        weights.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!(
            "../../../../tests/golden/engine/kv-tier-pressure-vectors.json"
        ))
        .unwrap()
    }

    fn groups(case: &Value) -> Vec<Vec<u32>> {
        serde_json::from_value(case["groups"].clone()).unwrap()
    }

    fn number(case: &Value, key: &str) -> u64 {
        case[key].as_u64().unwrap()
    }

    #[test]
    fn streams_are_the_references() {
        let vectors = vectors();
        let cases = vectors["sample_requests"].as_array().unwrap();
        assert_eq!(cases.len(), 16);
        for case in cases {
            let requests = number(case, "num_requests");
            let seed = BigInt::parse(&case["seed"].to_string()).unwrap();
            let drawn = Groups::draw(
                number(case, "pool_size"),
                number(case, "docs_per_request"),
                requests,
                case["access_skew"].as_f64().unwrap(),
                &seed,
            );
            let drawn = drawn.unwrap();
            let ours: Vec<Vec<u32>> = (0..requests).map(|number| drawn.of(number).to_vec()).collect();
            assert_eq!(ours, groups(case), "{case}");
        }
    }

    #[test]
    fn sweeps_are_the_references() {
        for case in vectors()["warmup_sweep"].as_array().unwrap() {
            let (pool, docs) = (number(case, "pool_size"), number(case, "docs_per_request"));
            let numbers = 0..sweep_requests(pool, docs);
            let ours: Vec<Vec<u32>> = numbers
                .map(|number| sweep_group(pool, docs, number).collect())
                .collect();
            assert_eq!(ours, groups(case), "{case}");
        }
    }

    #[test]
    fn too_much_to_draw_is_refused() {
        let seed = BigInt::from(1);
        let refusal =
            |pool, docs, requests, skew| Groups::draw(pool, docs, requests, skew, &seed).unwrap_err().to_string();
        assert!(
            refusal(100, 100, 2_000_000, 0.0)
                .starts_with("--ktp-num-requests x --ktp-docs-per-request makes 200000000 ")
        );
        assert!(refusal(1_000_000, 10, 2000, 1.0).starts_with("--ktp-access-skew: drawing 20000 documents "));
    }
}
