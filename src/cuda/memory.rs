//! Device memory and page-locked host memory.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::Arc;

use super::context::Context;
use super::driver::{CudaError, DevicePointer, IpcHandle};
use super::stream::Stream;

/// `CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS`, the only flag that cuda.h defines.
const LAZY_PEER_ACCESS: u32 = 1;

/// Page-locked host memory, which the device copies from and to without the processor.
///
/// # Safety
///
/// A range is readable and writable memory, which stays so until the work of the device that uses it is done.
pub unsafe trait HostMemory {
    /// The address of a range; panics if it is not inside.
    fn range(&mut self, offset: usize, bytes: usize) -> *mut c_void;
}

/// An allocation on the device. It is freed on drop, for which the driver waits for the work that uses it.
pub struct DeviceMemory {
    pub(super) context: Arc<Context>,
    pointer: DevicePointer,
    bytes: usize,
    /// Whether another process allocated it, so that it is closed instead of freed.
    opened: bool,
}

impl DeviceMemory {
    pub fn allocate(context: &Arc<Context>, bytes: usize) -> Result<DeviceMemory, CudaError> {
        context.bind()?;
        let mut pointer = 0;
        // SAFETY: `pointer` is writable; a context is current.
        let status = unsafe { (context.driver.functions.mem_alloc)(&mut pointer, bytes) };
        context.driver.check("cuMemAlloc", status)?;
        Ok(DeviceMemory {
            context: Arc::clone(context),
            pointer,
            bytes,
            opened: false,
        })
    }

    /// Opens an allocation of another process by its IPC handle. `bytes` is its size.
    pub fn open(context: &Arc<Context>, ipc_handle: [u8; 64], bytes: usize) -> Result<DeviceMemory, CudaError> {
        context.bind()?;
        let mut pointer = 0;
        // SAFETY: `pointer` is writable; the driver checks the 64 bytes.
        let status = unsafe {
            (context.driver.functions.ipc_open_mem_handle)(&mut pointer, IpcHandle(ipc_handle), LAZY_PEER_ACCESS)
        };
        context.driver.check("cuIpcOpenMemHandle", status)?;
        Ok(DeviceMemory {
            context: Arc::clone(context),
            pointer,
            bytes,
            opened: true,
        })
    }

    pub fn address(&self) -> DevicePointer {
        self.pointer
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The handle with which another process opens this allocation.
    pub fn ipc_handle(&self) -> Result<[u8; 64], CudaError> {
        self.context.bind()?;
        let mut handle = IpcHandle([0; 64]);
        // SAFETY: `handle` is 64 writable bytes and the pointer is the start of a live allocation.
        let status = unsafe { (self.context.driver.functions.ipc_get_mem_handle)(&mut handle, self.pointer) };
        self.context.driver.check("cuIpcGetMemHandle", status)?;
        Ok(handle.0)
    }

    fn range(&self, offset: usize, bytes: usize) -> DevicePointer {
        let end = offset.checked_add(bytes).expect("lengths are far below usize::MAX");
        assert!(end <= self.bytes, "{offset} + {bytes} of {}", self.bytes);
        self.pointer + offset as u64
    }

    /// Queues setting `bytes` bytes at `offset` to `value`.
    pub fn fill(&self, stream: &Stream, offset: usize, bytes: usize, value: u8) -> Result<(), CudaError> {
        let at = self.range(offset, bytes);
        self.context.bind()?;
        // SAFETY: the range is inside this allocation.
        let status = unsafe { (self.context.driver.functions.memset_d8)(at, value, bytes, stream.handle()) };
        self.context.driver.check("cuMemsetD8Async", status)
    }

    /// Copies host bytes to `offset` and waits for the copy.
    pub fn write(&self, stream: &Stream, offset: usize, from: &[u8]) -> Result<(), CudaError> {
        let at = self.range(offset, from.len());
        self.context.bind()?;
        let functions = &self.context.driver.functions;
        // SAFETY: both ranges are valid for the length, and `from` is borrowed until the copy is done, because of the wait below.
        let status = unsafe { (functions.memcpy_to_device)(at, from.as_ptr().cast(), from.len(), stream.handle()) };
        self.context.driver.check("cuMemcpyHtoDAsync", status)?;
        stream.synchronize()
    }

    /// Copies device bytes at `offset` to the host and waits for the copy.
    pub fn read(&self, stream: &Stream, offset: usize, to: &mut [u8]) -> Result<(), CudaError> {
        let at = self.range(offset, to.len());
        self.context.bind()?;
        let functions = &self.context.driver.functions;
        // SAFETY: both ranges are valid for the length, and `to` is borrowed until the copy is done, because of the wait below.
        let status = unsafe { (functions.memcpy_to_host)(to.as_mut_ptr().cast(), at, to.len(), stream.handle()) };
        self.context.driver.check("cuMemcpyDtoHAsync", status)?;
        stream.synchronize()
    }

    /// Queues a copy of the first `bytes` bytes of another allocation.
    pub fn copy_from(&self, stream: &Stream, from: &DeviceMemory, bytes: usize) -> Result<(), CudaError> {
        let (to, from) = (self.range(0, bytes), from.range(0, bytes));
        self.context.bind()?;
        // SAFETY: both ranges are inside allocations, and freeing them waits for the work that uses them.
        let status = unsafe { (self.context.driver.functions.memcpy_on_device)(to, from, bytes, stream.handle()) };
        self.context.driver.check("cuMemcpyDtoDAsync", status)
    }

    /// Queues a copy into page-locked memory at `at`. `PinnedMemory::bytes` waits for it.
    pub fn read_queued(
        &self,
        stream: &Stream,
        offset: usize,
        to: &mut impl HostMemory,
        at: usize,
        bytes: usize,
    ) -> Result<(), CudaError> {
        let from = self.range(offset, bytes);
        let to = to.range(at, bytes);
        self.context.bind()?;
        // SAFETY: both ranges are valid. Freeing page-locked memory waits for the work that uses it. The bytes of `PinnedMemory` are
        // only accessible through `PinnedMemory::bytes`, which waits for the stream, and those of shared memory only as copies.
        let status = unsafe { (self.context.driver.functions.memcpy_to_host)(to, from, bytes, stream.handle()) };
        self.context.driver.check("cuMemcpyDtoHAsync", status)
    }

    /// Queues a copy from page-locked memory at `at`.
    pub fn write_queued(
        &self,
        stream: &Stream,
        offset: usize,
        from: &mut impl HostMemory,
        at: usize,
        bytes: usize,
    ) -> Result<(), CudaError> {
        let to = self.range(offset, bytes);
        let from = from.range(at, bytes);
        self.context.bind()?;
        // SAFETY: as in `read_queued`.
        let status = unsafe { (self.context.driver.functions.memcpy_to_device)(to, from, bytes, stream.handle()) };
        self.context.driver.check("cuMemcpyHtoDAsync", status)
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            let functions = &self.context.driver.functions;
            let release = match self.opened {
                true => functions.ipc_close_mem_handle,
                false => functions.mem_free,
            };
            // SAFETY: allocated or opened once and released once, in its own context.
            unsafe { release(self.pointer) };
        }
    }
}

/// Page-locked host memory, which the device accesses directly.
pub struct PinnedMemory {
    context: Arc<Context>,
    address: *mut c_void,
    bytes: usize,
}

// SAFETY: plain memory with one owner, accessed only through `&mut self`.
unsafe impl Send for PinnedMemory {}

impl PinnedMemory {
    pub fn allocate(context: &Arc<Context>, bytes: usize) -> Result<PinnedMemory, CudaError> {
        context.bind()?;
        let mut address = std::ptr::null_mut();
        // SAFETY: `address` is writable, and a context is current. The flags are 0.
        let status = unsafe { (context.driver.functions.mem_host_alloc)(&mut address, bytes, 0) };
        context.driver.check("cuMemHostAlloc", status)?;
        let memory = PinnedMemory {
            context: Arc::clone(context),
            address,
            bytes,
        };
        // SAFETY: the driver allocated `bytes` writable bytes. They are zeroed so that a slice of them is initialised.
        unsafe { std::ptr::write_bytes(memory.address.cast::<u8>(), 0, bytes) };
        Ok(memory)
    }

    /// The bytes, after all work that is queued on `stream`, which must be the stream of their copies.
    pub fn bytes(&mut self, stream: &Stream) -> Result<&mut [u8], CudaError> {
        stream.synchronize()?;
        // SAFETY: allocated and zeroed in `allocate`. The device has finished its copies, and `&mut self` excludes other users.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.address.cast::<u8>(), self.bytes) })
    }
}

// SAFETY: ranges are inside the allocation, and freeing it waits for the work that uses it.
unsafe impl HostMemory for PinnedMemory {
    fn range(&mut self, offset: usize, bytes: usize) -> *mut c_void {
        let end = offset.checked_add(bytes).expect("lengths are far below usize::MAX");
        assert!(end <= self.bytes, "{offset} + {bytes} of {}", self.bytes);
        // SAFETY: the assertion above checked that the range is inside the allocation.
        unsafe { self.address.cast::<u8>().add(offset).cast() }
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: allocated once and freed once; the driver waits for copies that use it.
            unsafe { (self.context.driver.functions.mem_free_host)(self.address) };
        }
    }
}
