//! CUDA through the driver alone: a device and its context, memory, streams and events, and the two kernels of
//! cuda/checksum.cu. Owning types free in order, each holds what it depends on. Must know nothing of the server.

pub mod context;
pub mod driver;
pub mod kernel;
pub mod memory;
pub mod stream;

pub use context::Context;
pub use driver::CudaError;
