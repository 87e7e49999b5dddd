//! The kernels of cuda/checksum.cu. They are loaded from the PTX in the repository, which the driver compiles for the device.
#![allow(unsafe_code)]

use std::ffi::{CString, c_void};
use std::sync::Arc;

use super::context::Context;
use super::driver::{CudaError, FunctionHandle, ModuleHandle};
use super::memory::DeviceMemory;
use super::stream::Stream;

const PTX: &str = include_str!("../../cuda/checksum.ptx");
/// Threads per block: at most `THREADS` of cuda/checksum.cu.
const THREADS_MAX: u64 = 256;
const THREADS_MIN: u64 = 64;
/// What one thread loads before it waits: `BATCH` pairs of words in cuda/checksum.cu.
const BATCH_BYTES: u64 = 4 * 16;
const WARP_THREADS: u64 = 32;
/// The grid limits of every device.
const GRID_X_MAX: u64 = (1 << 31) - 1;
const GRID_Y_MAX: u64 = 65_535;

/// `Plane` of cuda/checksum.cu, field for field.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    pub base: u64,
    /// A multiple of 8.
    pub block_bytes: u64,
    /// Position of the plane's first word in a chunk: the number of words of all planes before it.
    pub first_word: u64,
    /// The key of the plane's pattern.
    pub key: u64,
    /// A mask for the words of the pattern.
    pub mask: u64,
}

/// The sums over the words of one chunk, as the kernel stores them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawSums {
    pub a: u64,
    pub b: u64,
    pub c: u64,
}

/// The `Plane` records of a set of tensors, in device memory.
pub struct Planes {
    memory: DeviceMemory,
    count: u64,
    threads: u32,
}

pub struct Kernels {
    context: Arc<Context>,
    module: ModuleHandle,
    checksum: FunctionHandle,
    fill: FunctionHandle,
}

// SAFETY: the driver allows modules and functions on any thread on which their context is current.
unsafe impl Send for Kernels {}

impl Planes {
    pub fn new(context: &Arc<Context>, stream: &Stream, planes: &[Plane]) -> Result<Planes, CudaError> {
        let words = planes
            .iter()
            .flat_map(|plane| [plane.base, plane.block_bytes, plane.first_word, plane.key, plane.mask]);
        let bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        let memory = DeviceMemory::allocate(context, bytes.len().max(1))?;
        memory.write(stream, 0, &bytes)?;
        Ok(Planes {
            memory,
            count: planes.len() as u64,
            threads: threads(planes.iter().map(|plane| plane.block_bytes).max().unwrap_or(0)),
        })
    }
}

/// The number of threads for blocks of this size: one for each batch, because more would be idle.
fn threads(block_bytes: u64) -> u32 {
    let wanted = block_bytes.div_ceil(BATCH_BYTES).next_multiple_of(WARP_THREADS);
    wanted.clamp(THREADS_MIN, THREADS_MAX) as u32
}

impl Kernels {
    /// Loads the PTX. The driver compiles it for the device and caches the result.
    pub fn load(context: &Arc<Context>) -> Result<Kernels, CudaError> {
        context.bind()?;
        let image = CString::new(PTX).expect("PTX is text");
        let functions = &context.driver.functions;
        let mut module = std::ptr::null_mut();
        // SAFETY: `module` is writable, and `image` is NUL-terminated PTX.
        let status = unsafe { (functions.module_load_data)(&mut module, image.as_ptr().cast()) };
        context.driver.check("cuModuleLoadData", status)?;
        let mut kernels = Kernels {
            context: Arc::clone(context),
            module,
            checksum: std::ptr::null_mut(),
            fill: std::ptr::null_mut(),
        };
        kernels.checksum = kernels.function("checksum_paged")?;
        kernels.fill = kernels.function("fill_paged")?;
        Ok(kernels)
    }

    fn function(&self, name: &str) -> Result<FunctionHandle, CudaError> {
        let text = CString::new(name).expect("names hold no zero bytes");
        let mut function = std::ptr::null_mut();
        let functions = &self.context.driver.functions;
        // SAFETY: `function` is writable, the module is loaded, `text` is NUL-terminated.
        let status = unsafe { (functions.module_get_function)(&mut function, self.module, text.as_ptr()) };
        self.context.driver.check("cuModuleGetFunction", status)?;
        Ok(function)
    }

    /// Queues the fill of the blocks `first..first + count` of every plane.
    pub fn fill(&self, stream: &Stream, planes: &Planes, first: u32, count: u32) -> Result<(), CudaError> {
        let mut base = planes.memory.address();
        let mut first = first;
        let arguments: [*mut c_void; 2] = [(&raw mut base).cast(), (&raw mut first).cast()];
        let grid = (u64::from(count), planes.count);
        self.launch(self.fill, grid, planes.threads, stream, arguments)
    }

    /// Computes the sums of every chunk of a request and waits for them. `block_ids` are its blocks in token order.
    pub fn checksum(
        &self,
        stream: &Stream,
        planes: &Planes,
        block_ids: &[u32],
        blocks_per_chunk: u32,
    ) -> Result<Vec<RawSums>, CudaError> {
        let chunks = block_ids.len() / blocks_per_chunk.max(1) as usize;
        if chunks == 0 {
            return Ok(Vec::new());
        }
        let ids: Vec<u8> = block_ids.iter().flat_map(|id| id.to_ne_bytes()).collect();
        let on_device = DeviceMemory::allocate(&self.context, ids.len())?;
        on_device.write(stream, 0, &ids)?;
        let sums = DeviceMemory::allocate(&self.context, chunks * size_of::<RawSums>())?;
        sums.fill(stream, 0, sums.bytes(), 0)?;
        self.checksum_queued(stream, planes, &on_device, blocks_per_chunk, &sums)?;
        let mut bytes = vec![0; sums.bytes()];
        sums.read(stream, 0, &mut bytes)?;
        let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let chunk = |at: usize| RawSums {
            a: word(at),
            b: word(at + 8),
            c: word(at + 16),
        };
        Ok((0..chunks).map(|index| chunk(index * size_of::<RawSums>())).collect())
    }

    /// Queues only the kernel. `block_ids` and `sums` are in device memory; `sums` must be zero, and its size determines the
    /// number of chunks.
    pub fn checksum_queued(
        &self,
        stream: &Stream,
        planes: &Planes,
        block_ids: &DeviceMemory,
        blocks_per_chunk: u32,
        sums: &DeviceMemory,
    ) -> Result<(), CudaError> {
        let chunks = (sums.bytes() / size_of::<RawSums>()) as u64;
        let (mut base, mut ids) = (planes.memory.address(), block_ids.address());
        let (mut blocks, mut out) = (blocks_per_chunk, sums.address());
        let arguments: [*mut c_void; 4] = [
            (&raw mut base).cast(),
            (&raw mut ids).cast(),
            (&raw mut blocks).cast(),
            (&raw mut out).cast(),
        ];
        let width = planes.count * u64::from(blocks_per_chunk);
        self.launch(self.checksum, (width, chunks), planes.threads, stream, arguments)
    }

    fn launch<const N: usize>(
        &self,
        function: FunctionHandle,
        (x, y): (u64, u64),
        threads: u32,
        stream: &Stream,
        mut arguments: [*mut c_void; N],
    ) -> Result<(), CudaError> {
        if x == 0 || y == 0 {
            return Ok(());
        }
        assert!(x <= GRID_X_MAX && y <= GRID_Y_MAX, "a grid of {x} x {y}");
        self.context.bind()?;
        // SAFETY: the arguments match the parameters of the kernel in number, order and size (cuda/checksum.cu). The driver
        // copies them before the call returns. Freeing device memory waits for the work that uses it.
        let status = unsafe {
            (self.context.driver.functions.launch_kernel)(
                function,
                x as u32,
                y as u32,
                1,
                threads,
                1,
                1,
                0,
                stream.handle(),
                arguments.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        self.context.driver.check("cuLaunchKernel", status)
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: loaded once, unloaded once.
            unsafe { (self.context.driver.functions.module_unload)(self.module) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_threads_follows_the_block_size() {
        let cases = [
            (8, 64),
            (4096, 64),
            (4160, 96),
            (8192, 128),
            (16_384, 256),
            (1 << 20, 256),
        ];
        for (block_bytes, expected) in cases {
            assert_eq!(threads(block_bytes), expected, "{block_bytes}");
        }
    }
}
