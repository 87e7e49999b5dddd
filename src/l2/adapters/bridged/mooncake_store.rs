//! Fields of the `mooncake_store` type. Everything that LMCache does not know it hands to the Mooncake SDK.

use super::{AdapterType, Config, Fields, bridged, field};

pub const TYPE: AdapterType = AdapterType {
    fields: None,
    ..AdapterType::new("mooncake_store", &[], parse)
};

fn parse(fields: &Fields) -> Result<Config, String> {
    let lanes = field::per_op_workers(fields)?;
    field::strict_positive_int(fields, "num_workers", Some(4))?;
    field::check_per_op_workers(&lanes)?;
    Ok(bridged())
}
