//! Every adapter type that LMCache registers, a line each. To add one: write `spec/<type>.rs` with a `TYPE`, and name it here.

use super::{AdapterKind, SpecType, fs, mock, resp, s3, valkey};

/// In the order in which LMCache's message lists them.
const TYPES: [SpecType; 21] = [
    unchecked("aerospike"),
    unchecked("bigtable"),
    unchecked("dax"),
    unchecked("fault_inject"),
    fs::TYPE,
    unchecked("fs_native"),
    unchecked("hf3fs"),
    unchecked("hfbucket"),
    mock::TYPE,
    unchecked("mooncake_store"),
    unchecked("native_plugin"),
    unchecked("nixl_native"),
    unchecked("nixl_store"),
    unchecked("nixl_store_dynamic"),
    unchecked("p2p"),
    unchecked("plugin"),
    unchecked("raw_block"),
    resp::TYPE,
    s3::TYPE,
    unchecked("sagemaker-hyperpod"),
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
