//! Every operation against numbers that CPython drew.

use ring::digest;
use serde_json::Value;

use super::*;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/golden/engine/rng-vectors.json")).unwrap()
}

fn seeded(vector: &Value) -> PythonRandom {
    match &vector["seed"] {
        Value::String(text) if vector["seed_type"] == "str" => PythonRandom::of_text(text),
        Value::String(text) => PythonRandom::new(&BigInt::parse(text).unwrap()),
        number => PythonRandom::new(&BigInt::parse(&number.to_string()).unwrap()),
    }
}

fn numbers(list: &Value) -> Vec<u64> {
    list.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
}

fn sha256(list: &[usize]) -> String {
    let texts: Vec<String> = list.iter().map(usize::to_string).collect();
    let digest = digest::digest(&digest::SHA256, texts.join(",").as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// C's hexadecimal form of a number between 0 and 1 that is not tiny.
fn hex(number: f64) -> String {
    let bits = number.to_bits();
    let (exponent, fraction) = ((bits >> 52) as i64 - 1023, bits & ((1 << 52) - 1));
    format!("0x1.{fraction:013x}p{exponent}")
}

fn as_u64(list: Vec<usize>) -> Vec<u64> {
    list.into_iter().map(|n| n as u64).collect()
}

#[test]
fn single_draws_are_cpythons() {
    let mut checked = 0;
    for vector in vectors()["vectors"].as_array().unwrap() {
        checked += 1;
        let rng = seeded(vector);
        let draws = |draw: &mut dyn FnMut(&mut PythonRandom) -> u64, key: &str| {
            let mut rng = rng.clone();
            let expected = numbers(&vector[key]);
            let drawn: Vec<u64> = expected.iter().map(|_| draw(&mut rng)).collect();
            assert_eq!(drawn, expected, "{} {key}", vector["seed"]);
        };
        draws(&mut |rng| rng.getrandbits(32), "getrandbits_32");
        draws(&mut |rng| rng.getrandbits(33), "getrandbits_33");
        draws(&mut |rng| rng.getrandbits(5), "getrandbits_5");
        draws(&mut |rng| rng.below(1000), "randbelow_1000");
        draws(&mut |rng| rng.randrange(256, 50000), "randrange_256_50000");
        draws(&mut |rng| rng.randrange(0, 1 << 32), "randrange_2pow32");
        draws(&mut |rng| rng.randrange(3, 8), "randint_3_7");
        draws(&mut |rng| rng.choice(10) as u64, "choice_of_10");
        draws(&mut |rng| rng.choices_index(13) as u64, "choices_13_k16");
        draws(&mut |rng| rng.choices_index(8000) as u64, "choices_8000_k8");
        // As text, because every bit counts: "0x1.4762f307200c5p-1".
        let mut floats = rng.clone();
        for expected in vector["random_hex"].as_array().unwrap() {
            assert_eq!(hex(floats.random()), expected.as_str().unwrap());
        }
    }
    assert_eq!(checked, 12);
}

#[test]
fn shuffles_and_samples_are_cpythons() {
    for vector in vectors()["vectors"].as_array().unwrap() {
        let rng = seeded(vector);
        let shuffled = |n: usize| {
            let mut things: Vec<usize> = (0..n).collect();
            rng.clone().shuffle(&mut things);
            things
        };
        assert_eq!(as_u64(shuffled(12)), numbers(&vector["shuffle_12"]));
        assert_eq!(sha256(&shuffled(1000)), vector["shuffle_1000_sha256"]);
        let sampled = |n, k| rng.clone().sample(n, k);
        for (n, k, key) in [
            (21, 5, "sample_21_5_pool"),
            (22, 5, "sample_22_5_set"),
            (85, 6, "sample_85_6_pool"),
            (86, 6, "sample_86_6_set"),
            (9, 9, "sample_9_9_pool"),
        ] {
            assert_eq!(as_u64(sampled(n, k)), numbers(&vector[key]), "{key}");
        }
        assert_eq!(sha256(&sampled(9000, 8000)), vector["sample_9000_8000_sha256"]);
        assert_eq!(sha256(&sampled(70000, 8000)), vector["sample_70000_8000_set_sha256"]);
    }
    for row in vectors()["sample_set_size_threshold"].as_array().unwrap() {
        let k = row["k"].as_u64().unwrap() as usize;
        assert_eq!(
            sample_set_threshold(k) as u64,
            row["threshold"].as_u64().unwrap(),
            "k = {k}"
        );
    }
}
