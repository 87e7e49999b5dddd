//! Fields of the `plugin` type: a Python class, which only LMCache in Python can load.

use super::{AdapterType, Config, Fields, bridged, field};

pub const TYPE: AdapterType = AdapterType::new(
    "plugin",
    &["module_path", "class_name", "adapter_params", "config_class_name"],
    parse,
);

fn parse(fields: &Fields) -> Result<Config, String> {
    field::non_empty_string(fields, "module_path")?;
    field::non_empty_string(fields, "class_name")?;
    field::dict(fields, "adapter_params")?;
    field::optional_string(fields, "config_class_name")?;
    Ok(bridged())
}
