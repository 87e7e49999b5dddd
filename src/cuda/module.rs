//! Modules of kernels, loaded from PTX, and their launch.
#![allow(unsafe_code)]

use std::ffi::{CString, c_void};
use std::sync::Arc;

use super::context::Context;
use super::driver::{CudaError, FunctionHandle, ModuleHandle};
use super::stream::Stream;

/// The grid limits of every device.
const GRID_X_MAX: u64 = (1 << 31) - 1;
const GRID_Y_MAX: u64 = 65_535;

/// A loaded module. It stays loaded as long as one of its functions exists.
#[derive(Clone)]
pub struct Module {
    loaded: Arc<Loaded>,
}

struct Loaded {
    context: Arc<Context>,
    handle: ModuleHandle,
}

// SAFETY: the driver allows modules and functions on any thread on which their context is current.
unsafe impl Send for Loaded {}
// SAFETY: as above; nothing in it changes after it was loaded.
unsafe impl Sync for Loaded {}

/// A kernel of a module.
pub struct Function {
    module: Module,
    handle: FunctionHandle,
}

// SAFETY: as for `Loaded`.
unsafe impl Send for Function {}

impl Module {
    /// Loads PTX. The driver compiles it for the device and caches the result.
    pub fn load(context: &Arc<Context>, ptx: &str) -> Result<Module, CudaError> {
        context.bind()?;
        let image = CString::new(ptx).expect("PTX is text");
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is writable, and `image` is NUL-terminated PTX.
        let status = unsafe { (context.driver.functions.module_load_data)(&mut handle, image.as_ptr().cast()) };
        context.driver.check("cuModuleLoadData", status)?;
        let context = Arc::clone(context);
        Ok(Module {
            loaded: Arc::new(Loaded { context, handle }),
        })
    }

    pub fn function(&self, name: &str) -> Result<Function, CudaError> {
        let text = CString::new(name).expect("names hold no zero bytes");
        let driver = &self.loaded.context.driver;
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is writable, the module is loaded, `text` is NUL-terminated.
        let status = unsafe { (driver.functions.module_get_function)(&mut handle, self.loaded.handle, text.as_ptr()) };
        driver.check("cuModuleGetFunction", status)?;
        Ok(Function {
            module: self.clone(),
            handle,
        })
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: loaded once, unloaded once.
            unsafe { (self.context.driver.functions.module_unload)(self.handle) };
        }
    }
}

impl Function {
    /// Queues the kernel with a grid of x by y blocks. Nothing is queued for an empty grid.
    ///
    /// # Safety
    ///
    /// Each argument points to a value of the type that the kernel's parameter has, in the order of the parameters. The driver
    /// copies them before the call returns. What they point to on the device must exist until the kernel has ended.
    pub unsafe fn launch<const N: usize>(
        &self,
        (x, y): (u64, u64),
        threads: u32,
        stream: &Stream,
        mut arguments: [*mut c_void; N],
    ) -> Result<(), CudaError> {
        if x == 0 || y == 0 {
            return Ok(());
        }
        assert!(x <= GRID_X_MAX && y <= GRID_Y_MAX, "a grid of {x} x {y}");
        let context = &self.module.loaded.context;
        context.bind()?;
        // SAFETY: the caller answers for the arguments; function and stream exist.
        let status = unsafe {
            (context.driver.functions.launch_kernel)(
                self.handle,
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
        context.driver.check("cuLaunchKernel", status)
    }
}
