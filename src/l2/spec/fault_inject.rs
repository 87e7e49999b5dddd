//! Fields of the `fault_inject` type: a whole spec to wrap, and which loads of it to drop.

use serde_json::{Map, Value};

use super::{AdapterKind, AdapterSpec, SpecType, common, field_warnings, registry};
use crate::l2::warning::Warning;
use crate::python::value;

pub const TYPE: SpecType = SpecType {
    name: "fault_inject",
    fields: Some(&["inner", "rate", "seed", "gap_indices", "gap_tail_ratios"]),
    parse,
};

#[derive(Clone, Debug, PartialEq)]
pub struct FaultInjectConfig {
    pub inner: Box<AdapterSpec>,
    /// Fields of the wrapped spec that mean nothing.
    pub inner_warnings: Vec<Warning>,
    pub rate: f64,
    /// As text, which is how it enters the hash; Python's int has no end.
    pub seed: String,
    pub gap_indices: Vec<u64>,
    pub gap_tail_ratios: Vec<f64>,
}

fn parse(fields: &Map<String, Value>) -> Result<AdapterKind, String> {
    let (inner, inner_warnings) = inner(fields)?;
    let rate = fields.get("rate").map_or(Some(0.0), value::number);
    let rate = rate.filter(|rate| (0.0..=1.0).contains(rate));
    let rate = rate.ok_or("rate must be a number in [0, 1]")?;
    let seed = match fields.get("seed") {
        None => "0".to_owned(),
        Some(Value::Number(seed)) if !seed.is_f64() => seed.to_string(),
        Some(_) => return Err("seed must be an integer".to_owned()),
    };
    let indices = list(fields, "gap_indices").and_then(|list| list.iter().map(Value::as_u64).collect());
    let gap_indices = indices.ok_or("gap_indices must be a list of non-negative integers")?;
    let ratio = |value: &Value| value.as_f64().filter(|ratio| (0.0..=1.0).contains(ratio));
    let ratios = list(fields, "gap_tail_ratios").and_then(|list| list.iter().map(ratio).collect());
    let gap_tail_ratios = ratios.ok_or("gap_tail_ratios must be a list of floats in [0, 1]")?;
    Ok(AdapterKind::FaultInject(FaultInjectConfig {
        inner,
        inner_warnings,
        rate,
        seed,
        gap_indices,
        gap_tail_ratios,
    }))
}

/// The wrapped spec, checked as LMCache does: its own fields, then eviction and serde; its affinity tag means nothing.
fn inner(fields: &Map<String, Value>) -> Result<(Box<AdapterSpec>, Vec<Warning>), String> {
    let Some(inner) = fields.get("inner").and_then(Value::as_object) else {
        return Err("'inner' must be an adapter spec dict with a 'type' field".to_owned());
    };
    let Some(type_name) = inner.get("type").and_then(Value::as_str) else {
        return Err("'inner' adapter spec must include a string 'type'".to_owned());
    };
    let unknown = || format!("unknown L2 adapter type {}", value::repr(&Value::from(type_name)));
    let spec_type = registry::find(type_name).ok_or_else(unknown)?;
    let kind = (spec_type.parse)(inner)?;
    common::check_eviction(inner)?;
    common::check_serde(inner)?;
    let mut warnings = field_warnings(spec_type, inner);
    if let AdapterKind::FaultInject(config) = &kind {
        warnings.extend(config.inner_warnings.clone());
    }
    let spec = AdapterSpec {
        kind,
        type_name: type_name.to_owned(),
        raw: Value::Object(inner.clone()).to_string(),
        // What counts is the serde of the whole spec, which is also what is shown.
        serde: None,
        shown: String::new(),
    };
    Ok((Box::new(spec), warnings))
}

/// Absent is empty; what is no list is none.
fn list<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a [Value]> {
    fields
        .get(name)
        .map_or(Some(&[]), |value| value.as_array().map(Vec::as_slice))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, message_about};
    use super::*;
    use crate::l2::warning::SpecDoubt;

    const START: &str = r#""type": "fault_inject", "inner": {"type": "fs", "base_path": "/x"}"#;

    #[test]
    fn fields_are_checked_with_lmcaches_messages() {
        let cases = [
            (
                r#""inner": 1"#,
                "'inner' must be an adapter spec dict with a 'type' field",
            ),
            (
                r#""inner": {"type": 1}"#,
                "'inner' adapter spec must include a string 'type'",
            ),
            (r#""inner": {"type": "no"}"#, "unknown L2 adapter type 'no'"),
            (r#""inner": {"type": "fs"}"#, "base_path must be a non-empty string"),
            (r#""rate": 1.5"#, "rate must be a number in [0, 1]"),
            (r#""rate": "0""#, "rate must be a number in [0, 1]"),
            (r#""seed": true"#, "seed must be an integer"),
            (r#""seed": 1.0"#, "seed must be an integer"),
            (
                r#""gap_indices": [-1]"#,
                "gap_indices must be a list of non-negative integers",
            ),
            (
                r#""gap_indices": [true]"#,
                "gap_indices must be a list of non-negative integers",
            ),
            (
                r#""gap_tail_ratios": [2]"#,
                "gap_tail_ratios must be a list of floats in [0, 1]",
            ),
            (
                r#""gap_tail_ratios": 0.5"#,
                "gap_tail_ratios must be a list of floats in [0, 1]",
            ),
        ];
        for (field, expected) in cases {
            assert_eq!(message_about(START, field), expected, "{field}");
        }
    }

    #[test]
    fn unknown_fields_of_the_wrapped_spec_are_named() {
        let (_, warnings) = config(
            r#"{"type": "fault_inject", "inner": {"type": "fs", "base_path": "/x", "use_odirct": true, "rate": 1}}"#,
        );
        let unknown = |field: &str, nearest: Option<&str>| {
            Warning::Spec(SpecDoubt::UnknownField {
                field: field.to_owned(),
                nearest: nearest.map(str::to_owned),
            })
        };
        assert_eq!(
            warnings,
            [unknown("use_odirct", Some("use_odirect")), unknown("rate", None)]
        );
    }

    #[test]
    fn the_wrapped_spec_is_a_spec() {
        let (kind, _) = config(&format!(
            r#"{{{START}, "rate": 1, "seed": -3, "gap_indices": [1], "gap_tail_ratios": [0, 0.5]}}"#
        ));
        let AdapterKind::FaultInject(config) = kind else {
            panic!("{kind:?}")
        };
        assert_eq!((config.rate, config.seed.as_str()), (1.0, "-3"));
        assert_eq!((config.gap_indices, config.gap_tail_ratios), (vec![1], vec![0.0, 0.5]));
        assert_eq!(config.inner.type_name, "fs");
        assert!(matches!(config.inner.kind, AdapterKind::Fs(_)));
    }
}
