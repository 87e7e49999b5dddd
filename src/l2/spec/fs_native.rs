//! Fields of the `fs_native` type. As in LMCache, `relative_tmp_dir` may not be null, and nothing checks where it leads.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::{AdapterKind, SpecType, field};

pub const TYPE: SpecType = SpecType {
    name: "fs_native",
    fields: Some(&[
        "base_path",
        "num_workers",
        "relative_tmp_dir",
        "use_odirect",
        "read_ahead_size",
        "max_capacity_gb",
    ]),
    parse,
};

#[derive(Clone, Debug, PartialEq)]
pub struct FsNativeConfig {
    pub base_path: PathBuf,
    pub num_workers: usize,
    /// Empty: none.
    pub relative_tmp_dir: String,
    pub use_odirect: bool,
    pub read_ahead_size: Option<u64>,
}

fn parse(fields: &Map<String, Value>) -> Result<AdapterKind, String> {
    let base_path = PathBuf::from(field::non_empty_string(fields, "base_path")?);
    let num_workers = field::workers(field::positive_int(fields, "num_workers", Some(4))?, "num_workers")?;
    let relative_tmp_dir = field::string(fields, "relative_tmp_dir", "")?;
    let use_odirect = field::boolean(fields, "use_odirect", false)?;
    let read_ahead_size = field::optional_positive_int(fields, "read_ahead_size")?;
    field::non_negative_number(fields, "max_capacity_gb", 0.0)?;
    Ok(AdapterKind::FsNative(FsNativeConfig {
        base_path,
        num_workers,
        relative_tmp_dir,
        use_odirect,
        read_ahead_size,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, message_about};
    use super::*;
    use crate::result::warning::Warning as _;

    const START: &str = r#""type": "fs_native", "base_path": "/x""#;

    #[test]
    fn fields_are_checked_with_lmcaches_messages() {
        let cases = [
            (r#""base_path": """#, "base_path must be a non-empty string"),
            (r#""num_workers": 0"#, "num_workers must be a positive integer"),
            (r#""num_workers": 2.0"#, "num_workers must be a positive integer"),
            (r#""relative_tmp_dir": null"#, "relative_tmp_dir must be a string"),
            (r#""use_odirect": 1"#, "use_odirect must be a boolean"),
            (r#""read_ahead_size": -1"#, "read_ahead_size must be a positive integer"),
            (
                r#""max_capacity_gb": -1"#,
                "max_capacity_gb must be a non-negative number",
            ),
            (
                r#""max_capacity_gb": null"#,
                "max_capacity_gb must be a non-negative number",
            ),
        ];
        for (field, expected) in cases {
            assert_eq!(message_about(START, field), expected, "{field}");
        }
    }

    #[test]
    fn defaults_are_lmcaches() {
        let (kind, warnings) = config(&format!("{{{START}}}"));
        let expected = FsNativeConfig {
            base_path: PathBuf::from("/x"),
            num_workers: 4,
            relative_tmp_dir: String::new(),
            use_odirect: false,
            read_ahead_size: None,
        };
        assert_eq!((kind, warnings), (AdapterKind::FsNative(expected), vec![]));
        let (_, warnings) = config(&format!(r#"{{{START}, "max_capacity_gb": 2}}"#));
        assert_eq!(warnings[0].code(), "field-without-effect");
    }
}
