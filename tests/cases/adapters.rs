//! L2 adapters that live on a file or a device: fs_native, raw_block, dax, nixl, fault_inject.
