//! The adapter types that only LMCache's own Python adapter can run: their fields are checked here, and the bridge runs them.

pub mod aerospike;
pub mod bigtable;
pub mod hf3fs;
pub mod hfbucket;
pub mod mooncake_store;
pub mod native_plugin;
pub mod nixl_native;
pub mod nixl_store;
pub mod p2p;
pub mod plugin;
pub mod sagemaker_hyperpod;

use super::field::{self, Fields};
use super::registry::{AdapterType, Config, bridged};
