//! CUDA through the driver API: a device and its context, memory, streams and events, and the two kernels of cuda/checksum.cu.
//! Each owning type holds what it depends on, so that everything is freed in order.

pub mod context;
pub mod driver;
pub mod kernel;
pub mod memory;
pub mod stream;

pub use context::Context;
pub use driver::CudaError;
