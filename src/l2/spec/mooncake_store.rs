//! Fields of the `mooncake_store` type. Everything that LMCache does not know it hands to the Mooncake SDK.

use serde_json::{Map, Value};

use super::{AdapterKind, SpecType, field};

pub const TYPE: SpecType = SpecType {
    name: "mooncake_store",
    fields: None,
    parse,
};

fn parse(fields: &Map<String, Value>) -> Result<AdapterKind, String> {
    let lanes = field::per_op_workers(fields)?;
    field::strict_positive_int(fields, "num_workers", Some(4))?;
    field::check_per_op_workers(&lanes)?;
    Ok(AdapterKind::Bridged)
}
