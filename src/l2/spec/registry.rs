//! Every adapter type that LMCache registers, a line each. To add one: write `spec/<type>.rs` with a `TYPE`, and name it here.

use super::{
    SpecType, aerospike, bigtable, dax, fault_inject, fs, fs_native, hf3fs, hfbucket, mock, mooncake_store,
    native_plugin, nixl_native, nixl_store, nixl_store_dynamic, p2p, plugin, raw_block, resp, s3, sagemaker_hyperpod,
    valkey,
};

/// In the order in which LMCache's message lists them.
const TYPES: [SpecType; 21] = [
    aerospike::TYPE,
    bigtable::TYPE,
    dax::TYPE,
    fault_inject::TYPE,
    fs::TYPE,
    fs_native::TYPE,
    hf3fs::TYPE,
    hfbucket::TYPE,
    mock::TYPE,
    mooncake_store::TYPE,
    native_plugin::TYPE,
    nixl_native::TYPE,
    nixl_store::TYPE,
    nixl_store_dynamic::TYPE,
    p2p::TYPE,
    plugin::TYPE,
    raw_block::TYPE,
    resp::TYPE,
    s3::TYPE,
    sagemaker_hyperpod::TYPE,
    valkey::TYPE,
];

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
