//! The functions of the CUDA driver, resolved from `libcuda.so.1` at run time, so that the program also runs on a machine
//! without a driver. Status codes are integers, because a newer driver may return codes that an enum would lack. The other files
//! of this module wrap the functions in owning types.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

pub type Device = c_int;
pub type DevicePointer = u64;
pub type ContextHandle = *mut c_void;
pub type StreamHandle = *mut c_void;
pub type EventHandle = *mut c_void;
pub type ModuleHandle = *mut c_void;
pub type FunctionHandle = *mut c_void;

/// `CUipcMemHandle` and `CUipcEventHandle`: 64 opaque bytes, passed by value.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IpcHandle(pub [u8; 64]);

/// `CUuuid`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Uuid(pub [u8; 16]);

/// The library of the driver, unless `LMCACHE_BENCH_LIBCUDA` names another file, as in tests.
const LIBRARY: &CStr = c"libcuda.so.1";
pub const LIBRARY_VARIABLE: &str = "LMCACHE_BENCH_LIBCUDA";

/// The error of a driver call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaError {
    /// The function that was called.
    pub call: &'static str,
    pub code: c_int,
    /// The driver's name and description of the code.
    pub name: String,
    pub text: String,
}

impl fmt::Display for CudaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} failed: {} ({}), code {}",
            self.call, self.name, self.text, self.code
        )
    }
}

/// Declares the table of functions and resolves each by its symbol.
macro_rules! functions {
    ($($field:ident = $symbol:literal ($($argument:ty),*);)*) => {
        /// The functions of the driver, as declared in cuda.h.
        pub struct Functions {
            $(pub $field: unsafe extern "C" fn($($argument),*) -> c_int,)*
        }

        impl Functions {
            fn resolve(library: *mut c_void) -> Result<Functions, String> {
                Ok(Functions {
                    $($field: {
                        let address = symbol(library, $symbol)?;
                        // SAFETY: `address` is the function of that symbol in the driver, and cuda.h of CUDA 11 and later
                        // declares it with this signature.
                        unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> c_int>(address)
                        }
                    },)*
                })
            }
        }
    };
}

functions! {
    init = "cuInit" (c_uint);
    driver_get_version = "cuDriverGetVersion" (*mut c_int);
    get_error_name = "cuGetErrorName" (c_int, *mut *const c_char);
    get_error_string = "cuGetErrorString" (c_int, *mut *const c_char);
    device_get_count = "cuDeviceGetCount" (*mut c_int);
    device_get = "cuDeviceGet" (*mut Device, c_int);
    device_get_name = "cuDeviceGetName" (*mut c_char, c_int, Device);
    device_get_uuid = "cuDeviceGetUuid_v2" (*mut Uuid, Device);
    device_get_attribute = "cuDeviceGetAttribute" (*mut c_int, c_int, Device);
    primary_retain = "cuDevicePrimaryCtxRetain" (*mut ContextHandle, Device);
    primary_release = "cuDevicePrimaryCtxRelease_v2" (Device);
    set_current = "cuCtxSetCurrent" (ContextHandle);
    synchronize = "cuCtxSynchronize" ();
    mem_get_info = "cuMemGetInfo_v2" (*mut usize, *mut usize);
    mem_alloc = "cuMemAlloc_v2" (*mut DevicePointer, usize);
    mem_free = "cuMemFree_v2" (DevicePointer);
    mem_host_alloc = "cuMemHostAlloc" (*mut *mut c_void, usize, c_uint);
    mem_free_host = "cuMemFreeHost" (*mut c_void);
    mem_host_register = "cuMemHostRegister_v2" (*mut c_void, usize, c_uint);
    mem_host_unregister = "cuMemHostUnregister" (*mut c_void);
    memcpy_to_device = "cuMemcpyHtoDAsync_v2" (DevicePointer, *const c_void, usize, StreamHandle);
    memcpy_to_host = "cuMemcpyDtoHAsync_v2" (*mut c_void, DevicePointer, usize, StreamHandle);
    memcpy_on_device = "cuMemcpyDtoDAsync_v2" (DevicePointer, DevicePointer, usize, StreamHandle);
    memset_d8 = "cuMemsetD8Async" (DevicePointer, u8, usize, StreamHandle);
    stream_create = "cuStreamCreate" (*mut StreamHandle, c_uint);
    stream_destroy = "cuStreamDestroy_v2" (StreamHandle);
    stream_synchronize = "cuStreamSynchronize" (StreamHandle);
    stream_wait_event = "cuStreamWaitEvent" (StreamHandle, EventHandle, c_uint);
    event_create = "cuEventCreate" (*mut EventHandle, c_uint);
    event_destroy = "cuEventDestroy_v2" (EventHandle);
    event_record = "cuEventRecord" (EventHandle, StreamHandle);
    event_synchronize = "cuEventSynchronize" (EventHandle);
    event_elapsed_ms = "cuEventElapsedTime" (*mut f32, EventHandle, EventHandle);
    ipc_get_mem_handle = "cuIpcGetMemHandle" (*mut IpcHandle, DevicePointer);
    ipc_open_mem_handle = "cuIpcOpenMemHandle_v2" (*mut DevicePointer, IpcHandle, c_uint);
    ipc_close_mem_handle = "cuIpcCloseMemHandle" (DevicePointer);
    ipc_get_event_handle = "cuIpcGetEventHandle" (*mut IpcHandle, EventHandle);
    ipc_open_event_handle = "cuIpcOpenEventHandle" (*mut EventHandle, IpcHandle);
    module_load_data = "cuModuleLoadData" (*mut ModuleHandle, *const c_void);
    module_unload = "cuModuleUnload" (ModuleHandle);
    module_get_function = "cuModuleGetFunction" (*mut FunctionHandle, ModuleHandle, *const c_char);
    launch_kernel = "cuLaunchKernel" (
        FunctionHandle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, StreamHandle,
        *mut *mut c_void, *mut *mut c_void
    );
}

/// The loaded driver. Its library is never unloaded, because threads of the driver run until the process exits.
pub struct Driver {
    pub functions: Functions,
}

impl Driver {
    /// Loads and initialises the driver. The error is one sentence.
    pub fn load() -> Result<Arc<Driver>, String> {
        if cfg!(target_feature = "crt-static") {
            return Err(
                "this is the fully static build, which cannot load the CUDA driver; use the dynamically linked \
                        build (`make release`) on GPU nodes"
                    .to_owned(),
            );
        }
        match std::env::var_os(LIBRARY_VARIABLE) {
            Some(path) => Driver::load_from(&CString::new(path.into_vec()).expect("variables hold no zero bytes")),
            None => Driver::load_from(LIBRARY),
        }
    }

    /// Loads and initialises a driver from another file. The error is one sentence.
    pub fn load_from(name: &CStr) -> Result<Arc<Driver>, String> {
        // SAFETY: `name` is NUL-terminated. Loading runs the initialisers of the library, which the user trusts as the driver.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if library.is_null() {
            return Err(format!(
                "could not load the CUDA driver: {}; install the NVIDIA driver, or use --mode cpu",
                loader_error()
            ));
        }
        let driver = Driver {
            functions: Functions::resolve(library)?,
        };
        // SAFETY: the flags must be 0.
        let status = unsafe { (driver.functions.init)(0) };
        driver
            .check("cuInit", status)
            .map_err(|error| format!("the CUDA driver does not start: {error}; check nvidia-smi, or use --mode cpu"))?;
        Ok(Arc::new(driver))
    }

    /// Turns a status code into a result, with the driver's name and description of an error.
    pub fn check(&self, call: &'static str, code: c_int) -> Result<(), CudaError> {
        if code == 0 {
            return Ok(());
        }
        let text_of = |function: unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int| {
            let mut text: *const c_char = std::ptr::null();
            // SAFETY: `text` is writable; the driver sets it to a static string or to null.
            let status = unsafe { function(code, &mut text) };
            if status != 0 || text.is_null() {
                return "unknown to this driver".to_owned();
            }
            // SAFETY: the driver's strings are NUL-terminated and live as long as the library, which is never unloaded.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        };
        Err(CudaError {
            call,
            code,
            name: text_of(self.functions.get_error_name),
            text: text_of(self.functions.get_error_string),
        })
    }
}

fn symbol(library: *mut c_void, name: &str) -> Result<*mut c_void, String> {
    let text = CString::new(name).expect("names hold no zero bytes");
    // SAFETY: `library` came from dlopen and is never closed; `text` is NUL-terminated.
    let address = unsafe { libc::dlsym(library, text.as_ptr()) };
    if address.is_null() {
        return Err(format!(
            "the CUDA driver has no function {name}; update the NVIDIA driver (CUDA 11.4 or later)"
        ));
    }
    Ok(address)
}

fn loader_error() -> String {
    // SAFETY: dlerror returns null or a NUL-terminated string that stays valid until this thread's next call.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "the loader gave no reason".to_owned();
    }
    // SAFETY: as above; there is no call in between.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
