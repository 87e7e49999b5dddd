//! The `fs_native` type: the `fs` adapter with a number of threads of its own. As in LMCache, `relative_tmp_dir` may not be
//! null, and nothing checks where it leads.

use std::path::PathBuf;
use std::sync::Arc;

use super::field::{self, Fields};
use super::fs::config::{FsConfig, Names, Temporary};
use super::registry::{AdapterType, IdleField};

pub const TYPE: AdapterType = AdapterType {
    idle: &[IdleField::new(
        "max_capacity_gb",
        "it only counts what is stored, and no eviction controller acts on it",
    )],
    ..AdapterType::new(
        "fs_native",
        &[
            "base_path",
            "num_workers",
            "relative_tmp_dir",
            "use_odirect",
            "read_ahead_size",
            "max_capacity_gb",
        ],
        |fields| Ok(Arc::new(parse(fields)?)),
    )
};

fn parse(fields: &Fields) -> Result<FsConfig, String> {
    let base_path = PathBuf::from(field::non_empty_string(fields, "base_path")?);
    let num_workers = field::workers(field::positive_int(fields, "num_workers", Some(4))?, "num_workers")?;
    let relative_tmp_dir = field::string(fields, "relative_tmp_dir", "")?;
    let use_odirect = field::boolean(fields, "use_odirect", false)?;
    let read_ahead_size = field::optional_positive_int(fields, "read_ahead_size")?;
    field::non_negative_number(fields, "max_capacity_gb", 0.0)?;
    let temporary = match relative_tmp_dir.as_str() {
        "" => Temporary::Beside,
        directory => Temporary::Below(directory.to_owned()),
    };
    Ok(FsConfig {
        class_name: "NativeConnectorL2Adapter",
        base_path,
        names: Names::Data,
        temporary,
        read_ahead_size,
        use_odirect,
        threads: Some(num_workers),
        capacity_bytes: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l2::spec::tests::{config, message_about};
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
        let (parsed, warnings) = config::<FsConfig>(&format!("{{{START}}}"));
        let expected = FsConfig {
            class_name: "NativeConnectorL2Adapter",
            base_path: PathBuf::from("/x"),
            names: Names::Data,
            temporary: Temporary::Beside,
            read_ahead_size: None,
            use_odirect: false,
            threads: Some(4),
            capacity_bytes: None,
        };
        assert_eq!((parsed, warnings), (expected, vec![]));
        let (_, warnings) = config::<FsConfig>(&format!(r#"{{{START}, "max_capacity_gb": 2}}"#));
        assert_eq!(warnings[0].code(), "field-without-effect");
    }
}
