//! Fields of the `p2p` type.

use serde_json::{Map, Value};

use super::{AdapterKind, SpecType, field};

pub const TYPE: SpecType = SpecType {
    name: "p2p",
    fields: Some(&[
        "peer_mq_server_url",
        "peer_transfer_channel_server_url",
        "lookup_timeout_s",
        "load_timeout_s",
    ]),
    parse,
};

fn parse(fields: &Map<String, Value>) -> Result<AdapterKind, String> {
    field::non_empty_string(fields, "peer_mq_server_url")?;
    field::non_empty_string(fields, "peer_transfer_channel_server_url")?;
    field::positive_number_or(fields, "lookup_timeout_s", Some(10.0))?;
    field::positive_number_or(fields, "load_timeout_s", Some(10.0))?;
    Ok(AdapterKind::Bridged)
}
