//! Fields of the `plugin` type: a Python class, which only LMCache in Python can load.

use serde_json::{Map, Value};

use super::{AdapterKind, SpecType, field};

pub const TYPE: SpecType = SpecType {
    name: "plugin",
    fields: Some(&["module_path", "class_name", "adapter_params", "config_class_name"]),
    parse,
};

fn parse(fields: &Map<String, Value>) -> Result<AdapterKind, String> {
    field::non_empty_string(fields, "module_path")?;
    field::non_empty_string(fields, "class_name")?;
    field::dict(fields, "adapter_params")?;
    field::optional_string(fields, "config_class_name")?;
    Ok(AdapterKind::Bridged)
}
