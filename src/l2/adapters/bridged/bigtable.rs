//! Fields of the `bigtable` type. Names of project, instance and table may come from the environment, as in LMCache; the
//! other fields are converted, not checked, and LMCache says what it cannot convert.

use std::env;

use super::{AdapterType, Config, Fields, bridged, field};
use crate::python::value;

pub const TYPE: AdapterType = AdapterType::new(
    "bigtable",
    &[
        "bigtable_project_id",
        "bigtable_instance_id",
        "bigtable_table_name",
        "bigtable_app_profile",
        "app_profile",
        "bigtable_read_timeout_ms",
        "read_timeout_ms",
        "bigtable_write_timeout_ms",
        "write_timeout_ms",
        "bigtable_exists_cache_ttl_seconds",
        "exists_cache_ttl_seconds",
        "bigtable_exists_cache_size",
        "exists_cache_size",
        "bigtable_thread_pool_size",
        "thread_pool_size",
        "bigtable_row_key_template",
        "row_key_template",
        "bigtable_credentials_path",
        "credentials_path",
        "bigtable_max_retries",
        "max_retries",
        "bigtable_max_chunk_size_mb",
        "max_chunk_size_mb",
        "bigtable_family_name",
        "family_name",
        "bigtable_column_name",
        "column_name",
        "layer_group_size",
        "num_layers",
        "kv_size",
        "max_capacity_gb",
    ],
    parse,
);

fn parse(fields: &Fields) -> Result<Config, String> {
    let name = |field: &str, variable: &str| {
        let given = fields.get(field).filter(|value| value::is_true(value));
        let given = given.map(value::str_text);
        given.or_else(|| env::var(variable).ok().filter(|name| !name.is_empty()))
    };
    let names = [
        name("bigtable_project_id", "BT_PROJECT_ID"),
        name("bigtable_instance_id", "BT_INSTANCE_ID"),
        name("bigtable_table_name", "BT_TABLE_NAME"),
    ];
    if names.iter().any(Option::is_none) {
        let [project, instance, table] = names.map(|name| name.unwrap_or_else(|| "None".to_owned()));
        return Err(format!(
            "Bigtable out-of-tree connector requires bigtable_project_id, bigtable_instance_id, and \
             bigtable_table_name (or BT_* env vars). Got project={project}, instance={instance}, table={table}"
        ));
    }
    field::non_negative_number(fields, "max_capacity_gb", 0.0)?;
    Ok(bridged())
}
