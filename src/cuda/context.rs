//! A device and its primary context, which all users of the device in a process share.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::sync::Arc;

use super::driver::{ContextHandle, CudaError, Device, Driver, Uuid};

/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR`.
const CAPABILITY_MAJOR: c_int = 75;
const CAPABILITY_MINOR: c_int = 76;
const NAME_BYTES: usize = 256;

/// The properties of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub name: String,
    /// In the format of PyTorch: 32 lower-case hex digits in groups of 8-4-4-4-12, without `GPU-`.
    pub uuid: String,
    /// Compute capability, such as (9, 0).
    pub capability: (i32, i32),
    /// CUDA version of the driver: 1000 * major + 10 * minor.
    pub driver_version: i32,
}

pub struct Context {
    pub(super) driver: Arc<Driver>,
    device: Device,
    handle: ContextHandle,
    facts: Facts,
}

// SAFETY: the driver allows a context on any thread that has made it current, which `bind` does before each call.
unsafe impl Send for Context {}
// SAFETY: as above; no method modifies the fields.
unsafe impl Sync for Context {}

impl Context {
    /// Opens device `ordinal`, counted from 0. The error is one sentence.
    pub fn open(driver: &Arc<Driver>, ordinal: i64) -> Result<Arc<Context>, String> {
        let count = device_count(driver).map_err(|error| format!("could not count the CUDA devices: {error}"))?;
        let number = c_int::try_from(ordinal)
            .ok()
            .filter(|number| (0..count).contains(number));
        let Some(number) = number else {
            return Err(format!(
                "--device {ordinal}: there are {count} CUDA devices, numbered from 0; see nvidia-smi -L and CUDA_VISIBLE_DEVICES"
            ));
        };
        let functions = &driver.functions;
        let mut device = 0;
        let mut handle = std::ptr::null_mut();
        let opened = driver
            // SAFETY: `device` is writable.
            .check("cuDeviceGet", unsafe { (functions.device_get)(&mut device, number) })
            .and_then(|()| facts(driver, device))
            .and_then(|facts| {
                // SAFETY: `handle` is writable and `device` valid.
                let status = unsafe { (functions.primary_retain)(&mut handle, device) };
                driver.check("cuDevicePrimaryCtxRetain", status).map(|()| facts)
            });
        let facts =
            opened.map_err(|error| format!("could not open CUDA device {ordinal}: {error}; check nvidia-smi"))?;
        Ok(Arc::new(Context {
            driver: Arc::clone(driver),
            device,
            handle,
            facts,
        }))
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Makes the context current on this thread.
    pub(super) fn bind(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained until `drop`.
        let status = unsafe { (self.driver.functions.set_current)(self.handle) };
        self.driver.check("cuCtxSetCurrent", status)
    }

    /// Bytes of device memory: free and total.
    pub fn memory_bytes(&self) -> Result<(u64, u64), CudaError> {
        self.bind()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: both are writable, and a context is current.
        let status = unsafe { (self.driver.functions.mem_get_info)(&mut free, &mut total) };
        self.driver.check("cuMemGetInfo", status)?;
        Ok((free as u64, total as u64))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once in `open`. Everything that was created in the context holds an Arc of it and has been dropped.
        unsafe { (self.driver.functions.primary_release)(self.device) };
    }
}

fn device_count(driver: &Driver) -> Result<c_int, CudaError> {
    let mut count = 0;
    // SAFETY: `count` is writable.
    let status = unsafe { (driver.functions.device_get_count)(&mut count) };
    driver.check("cuDeviceGetCount", status).map(|()| count)
}

fn facts(driver: &Driver, device: Device) -> Result<Facts, CudaError> {
    let functions = &driver.functions;
    let mut name = [0 as c_char; NAME_BYTES];
    // SAFETY: the driver writes at most `NAME_BYTES` bytes, including the NUL.
    let status = unsafe { (functions.device_get_name)(name.as_mut_ptr(), NAME_BYTES as c_int, device) };
    driver.check("cuDeviceGetName", status)?;
    name[NAME_BYTES - 1] = 0;
    let mut uuid = Uuid::default();
    // SAFETY: `uuid` is 16 writable bytes.
    driver.check("cuDeviceGetUuid", unsafe {
        (functions.device_get_uuid)(&mut uuid, device)
    })?;
    let attribute = |which: c_int| {
        let mut value = 0;
        // SAFETY: `value` is writable.
        let status = unsafe { (functions.device_get_attribute)(&mut value, which, device) };
        driver.check("cuDeviceGetAttribute", status).map(|()| value)
    };
    let mut driver_version = 0;
    // SAFETY: `driver_version` is writable.
    let status = unsafe { (functions.driver_get_version)(&mut driver_version) };
    driver.check("cuDriverGetVersion", status)?;
    Ok(Facts {
        // SAFETY: the last byte was set to NUL above.
        name: unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned(),
        uuid: uuid_text(&uuid.0),
        capability: (attribute(CAPABILITY_MAJOR)?, attribute(CAPABILITY_MINOR)?),
        driver_version,
    })
}

fn uuid_text(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_the_format_of_pytorch() {
        let bytes: [u8; 16] = std::array::from_fn(|index| index as u8 * 17);
        assert_eq!(uuid_text(&bytes), "00112233-4455-6677-8899-aabbccddeeff");
    }
}
