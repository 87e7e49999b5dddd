//! Streams and events: the order of work on a device, its timing, and events that are shared between processes.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::driver::{CudaError, EventHandle, IpcHandle, StreamHandle};

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;
/// `CU_EVENT_BLOCKING_SYNC`: a wait sleeps instead of spinning.
const BLOCKING_SYNC: u32 = 1;
/// `CU_EVENT_DISABLE_TIMING`, which `CU_EVENT_INTERPROCESS` requires.
const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;

pub struct Stream {
    context: Arc<Context>,
    handle: StreamHandle,
}

// SAFETY: the driver's streams may be used from any thread.
unsafe impl Send for Stream {}

impl Stream {
    pub fn new(context: &Arc<Context>) -> Result<Stream, CudaError> {
        context.bind()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is writable; a context is current.
        let status = unsafe { (context.driver.functions.stream_create)(&mut handle, NON_BLOCKING) };
        context.driver.check("cuStreamCreate", status)?;
        Ok(Stream {
            context: Arc::clone(context),
            handle,
        })
    }

    pub(super) fn handle(&self) -> StreamHandle {
        self.handle
    }

    /// Waits until all work that is queued is done.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.context.bind()?;
        // SAFETY: the stream exists until drop.
        let status = unsafe { (self.context.driver.functions.stream_synchronize)(self.handle) };
        self.context.driver.check("cuStreamSynchronize", status)
    }

    /// Makes work that is queued from now on wait for `event`.
    pub fn wait_for(&self, event: &Event) -> Result<(), CudaError> {
        self.context.bind()?;
        // SAFETY: stream and event exist; the flags must be 0.
        let status = unsafe { (self.context.driver.functions.stream_wait_event)(self.handle, event.handle, 0) };
        self.context.driver.check("cuStreamWaitEvent", status)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: created once, destroyed once. The driver releases the stream after its queued work.
            unsafe { (self.context.driver.functions.stream_destroy)(self.handle) };
        }
    }
}

pub struct Event {
    context: Arc<Context>,
    handle: EventHandle,
}

// SAFETY: the driver's events may be used from any thread.
unsafe impl Send for Event {}

impl Event {
    /// Creates an event that records a time.
    pub fn timing(context: &Arc<Context>) -> Result<Event, CudaError> {
        Event::create(context, BLOCKING_SYNC)
    }

    /// Creates an event that another process can wait for. It records no time.
    pub fn interprocess(context: &Arc<Context>) -> Result<Event, CudaError> {
        Event::create(context, BLOCKING_SYNC | DISABLE_TIMING | INTERPROCESS)
    }

    fn create(context: &Arc<Context>, flags: u32) -> Result<Event, CudaError> {
        context.bind()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is writable; a context is current.
        let status = unsafe { (context.driver.functions.event_create)(&mut handle, flags) };
        context.driver.check("cuEventCreate", status)?;
        Ok(Event {
            context: Arc::clone(context),
            handle,
        })
    }

    /// Opens an event of another process by its IPC handle.
    pub fn open(context: &Arc<Context>, ipc_handle: [u8; 64]) -> Result<Event, CudaError> {
        context.bind()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is writable; the driver checks the 64 bytes.
        let status = unsafe { (context.driver.functions.ipc_open_event_handle)(&mut handle, IpcHandle(ipc_handle)) };
        context.driver.check("cuIpcOpenEventHandle", status)?;
        Ok(Event {
            context: Arc::clone(context),
            handle,
        })
    }

    /// Records the event after the work that is queued on the stream.
    pub fn record(&self, stream: &Stream) -> Result<(), CudaError> {
        self.context.bind()?;
        // SAFETY: event and stream exist.
        let status = unsafe { (self.context.driver.functions.event_record)(self.handle, stream.handle()) };
        self.context.driver.check("cuEventRecord", status)
    }

    /// Waits until the event has been reached.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.context.bind()?;
        // SAFETY: the event exists until drop.
        let status = unsafe { (self.context.driver.functions.event_synchronize)(self.handle) };
        self.context.driver.check("cuEventSynchronize", status)
    }

    /// Device time from `begin` to this event. Both must be timing events that have been reached.
    pub fn elapsed_since(&self, begin: &Event) -> Result<Duration, CudaError> {
        self.context.bind()?;
        let mut ms = 0.0_f32;
        // SAFETY: `ms` is writable, and both events exist.
        let status = unsafe { (self.context.driver.functions.event_elapsed_ms)(&mut ms, begin.handle, self.handle) };
        self.context.driver.check("cuEventElapsedTime", status)?;
        Ok(Duration::from_secs_f64(f64::from(ms.max(0.0)) / 1e3))
    }

    /// The handle with which another process opens this event.
    pub fn ipc_handle(&self) -> Result<[u8; 64], CudaError> {
        self.context.bind()?;
        let mut handle = IpcHandle([0; 64]);
        // SAFETY: `handle` is 64 writable bytes; the driver refuses an event without `INTERPROCESS`.
        let status = unsafe { (self.context.driver.functions.ipc_get_event_handle)(&mut handle, self.handle) };
        self.context.driver.check("cuIpcGetEventHandle", status)?;
        Ok(handle.0)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: created or opened once, destroyed once.
            unsafe { (self.context.driver.functions.event_destroy)(self.handle) };
        }
    }
}
