//! Every adapter type that LMCache registers, a line each. To add one: write `spec/<type>.rs` with a `TYPE`, and name it here.

use super::{AdapterKind, SpecType, dax, fault_inject, fs, fs_native, mock, nixl_store_dynamic, raw_block};

/// In the order in which LMCache's message lists them.
const TYPES: [SpecType; 21] = [
    unchecked("aerospike"),
    unchecked("bigtable"),
    dax::TYPE,
    fault_inject::TYPE,
    fs::TYPE,
    fs_native::TYPE,
    unchecked("hf3fs"),
    unchecked("hfbucket"),
    mock::TYPE,
    unchecked("mooncake_store"),
    unchecked("native_plugin"),
    unchecked("nixl_native"),
    unchecked("nixl_store"),
    nixl_store_dynamic::TYPE,
    unchecked("p2p"),
    unchecked("plugin"),
    raw_block::TYPE,
    unchecked("resp"),
    unchecked("s3"),
    unchecked("sagemaker-hyperpod"),
    unchecked("valkey"),
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
