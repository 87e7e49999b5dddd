//! Shared memory that is page-locked in this process, so that the device accesses it directly.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::Arc;

use super::context::Context;
use super::memory::HostMemory;
use crate::sys::shm::Segment;

/// Unlocked on drop, after all work of the context.
pub struct LockedSegment {
    context: Arc<Context>,
    segment: Segment,
}

impl LockedSegment {
    /// Locks all pages of the segment, for which the kernel allocates those that do not exist yet. The segment comes back if the
    /// driver refuses.
    pub fn lock(context: &Arc<Context>, segment: Segment) -> Result<LockedSegment, Segment> {
        let bytes = segment.mapping().len();
        let address = segment.mapping().at(0, bytes).cast();
        let locked = context.bind().and_then(|()| {
            // SAFETY: the whole mapping, which stays mapped until it is unlocked in `drop`. The flags are 0.
            let status = unsafe { (context.driver.functions.mem_host_register)(address, bytes, 0) };
            context.driver.check("cuMemHostRegister", status)
        });
        match locked {
            Ok(()) => Ok(LockedSegment {
                context: Arc::clone(context),
                segment,
            }),
            Err(_) => Err(segment),
        }
    }

    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}

// SAFETY: ranges are inside the mapping, and `drop` waits for all work of the context.
unsafe impl HostMemory for LockedSegment {
    fn range(&mut self, offset: usize, bytes: usize) -> *mut c_void {
        self.segment.mapping().at(offset, bytes).cast()
    }
}

impl Drop for LockedSegment {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            let functions = &self.context.driver.functions;
            let mapping = self.segment.mapping();
            // SAFETY: locked once at this address and unlocked once. Copies that are still queued end before that.
            unsafe {
                (functions.synchronize)();
                (functions.mem_host_unregister)(mapping.at(0, mapping.len()).cast());
            }
        }
    }
}
