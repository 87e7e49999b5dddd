//! Fields of the `hfbucket` type.

use super::{AdapterType, Config, Fields, bridged, field};

pub const TYPE: AdapterType = AdapterType::new(
    "hfbucket",
    &[
        "bucket_handle",
        "token_env",
        "token",
        "create_bucket_if_missing",
        "download_tmp_dir",
        "metadata_cache_ttl_secs",
        "num_workers",
        "max_capacity_gb",
    ],
    parse,
);

fn parse(fields: &Fields) -> Result<Config, String> {
    let handle = field::non_empty_string(fields, "bucket_handle")?;
    field::string(fields, "token_env", "HF_TOKEN")?;
    field::optional_string(fields, "token")?;
    field::non_empty_string_or(fields, "download_tmp_dir", "lmcache-hfbucket-mp")?;
    field::strict_non_negative_number(fields, "metadata_cache_ttl_secs", 30.0)?;
    field::strict_positive_int(fields, "num_workers", Some(4))?;
    field::strict_non_negative_number(fields, "max_capacity_gb", 0.0)?;
    field::boolean(fields, "create_bucket_if_missing", false)?;
    check_handle(handle.trim())?;
    Ok(bridged())
}

fn check_handle(handle: &str) -> Result<(), String> {
    let Some(path) = handle.strip_prefix("hf://buckets/") else {
        return Err("bucket_handle must start with 'hf://buckets/' for the hfbucket plugin".to_owned());
    };
    if path.split('/').filter(|part| !part.is_empty()).count() < 2 {
        return Err("bucket_handle must be in the form 'hf://buckets/<namespace>/<bucket>[/<prefix>]'".to_owned());
    }
    Ok(())
}
