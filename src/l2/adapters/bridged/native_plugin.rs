//! Fields of the `native_plugin` type: a connector in a Python extension module, which only LMCache in Python can load.

use super::{AdapterType, Config, Fields, bridged, field};

pub const TYPE: AdapterType = AdapterType::new(
    "native_plugin",
    &["module_path", "class_name", "adapter_params", "max_capacity_gb"],
    parse,
);

fn parse(fields: &Fields) -> Result<Config, String> {
    field::non_empty_string(fields, "module_path")?;
    field::non_empty_string(fields, "class_name")?;
    field::dict(fields, "adapter_params")?;
    field::non_negative_number(fields, "max_capacity_gb", 0.0)?;
    Ok(bridged())
}
