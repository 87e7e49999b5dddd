//! CUDA through the driver API: a device and its context, memory, streams and events, kernels.
//! Each owning type holds what it depends on, so that everything is freed in order.

pub mod context;
pub mod driver;
pub mod kernel;
pub mod locked;
pub mod memory;
pub mod module;
pub mod plain_read;
pub mod stream;

pub use context::Context;
pub use driver::CudaError;
