//! Every adapter type that LMCache registers, a line each. To add one: write `spec/<type>.rs` with a `TYPE`, and name it here.

use super::{
    AdapterKind, SpecType, aerospike, bigtable, fs, hf3fs, hfbucket, mock, mooncake_store, native_plugin, nixl_native,
    nixl_store, p2p, plugin, resp, s3, sagemaker_hyperpod, valkey,
};

/// In the order in which LMCache's message lists them.
const TYPES: [SpecType; 21] = [
    aerospike::TYPE,
    bigtable::TYPE,
    unchecked("dax"),
    unchecked("fault_inject"),
    fs::TYPE,
    unchecked("fs_native"),
    hf3fs::TYPE,
    hfbucket::TYPE,
    mock::TYPE,
    mooncake_store::TYPE,
    native_plugin::TYPE,
    nixl_native::TYPE,
    nixl_store::TYPE,
    unchecked("nixl_store_dynamic"),
    p2p::TYPE,
    plugin::TYPE,
    unchecked("raw_block"),
    resp::TYPE,
    s3::TYPE,
    sagemaker_hyperpod::TYPE,
    valkey::TYPE,
];

/// A type whose fields only LMCache's own code checks.
const fn unchecked(name: &'static str) -> SpecType {
    SpecType {
        name,
        fields: None,
        parse: |_| Ok(AdapterKind::Bridged),
    }
}

pub fn find(name: &str) -> Option<&'static SpecType> {
    TYPES.iter().find(|spec_type| spec_type.name == name)
}

/// For the message about an unknown type.
pub fn names() -> String {
    TYPES.map(|spec_type| spec_type.name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_in_the_order_of_the_message() {
        assert!(TYPES.is_sorted_by_key(|spec_type| spec_type.name));
    }
}
