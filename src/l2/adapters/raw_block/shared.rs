//! The index behind a lock, and the thread that writes checkpoints of it when the device is idle. Checkpoints are written
//! by that thread, or at the end after it has stopped.

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::checkpoint::{self, Header};
use super::device::Device;
use super::geometry::Geometry;
use super::index::Index;
use super::recovery::Recovery;
use crate::l2::warning::{RecoveryWarning, Warning};
use crate::sys::limits;

pub struct State {
    pub index: Index,
    /// Of the last checkpoint.
    sequence: u64,
    /// Changes so far, and how many of them the last checkpoint has.
    changes: u64,
    saved_changes: u64,
    /// Transfers in flight, and when one last ended.
    transfers: usize,
    last_transfer: Instant,
    pub warnings: Vec<Warning>,
}

impl State {
    pub fn transfer_begins(&mut self) {
        self.transfers += 1;
    }

    pub fn transfer_ends(&mut self) {
        self.transfers -= 1;
        self.last_transfer = Instant::now();
    }

    pub fn changed(&mut self) {
        self.changes += 1;
    }

    fn is_idle(&self, quiet: Duration) -> bool {
        self.transfers == 0 && self.last_transfer.elapsed() >= quiet
    }
}

pub struct Shared {
    pub geometry: Geometry,
    pub device: Device,
    state: Mutex<State>,
}

impl Shared {
    pub fn new(geometry: Geometry, device: Device, recovery: Recovery, warnings: Vec<Warning>) -> Shared {
        let state = State {
            index: recovery.index,
            sequence: recovery.sequence,
            changes: u64::from(recovery.dropped),
            saved_changes: 0,
            transfers: 0,
            last_transfer: Instant::now(),
            warnings,
        };
        Shared {
            geometry,
            device,
            state: Mutex::new(state),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the index")
    }

    /// Writes a checkpoint if something changed since the last one, and, unless `quiet` is none, only if the device is idle.
    pub fn checkpoint(&self, quiet: Option<Duration>) -> Result<(), String> {
        let (text, changes, sequence) = {
            let state = self.state();
            let idle = quiet.is_none_or(|quiet| state.is_idle(quiet));
            if state.changes == state.saved_changes || !idle {
                return Ok(());
            }
            (
                checkpoint::render(&self.geometry, &state.index),
                state.changes,
                state.sequence + 1,
            )
        };
        if text.len() as u64 > self.geometry.checkpoint_bytes_max() {
            return Err(format!(
                "the checkpoint is {} bytes long but a container holds {}, so it was not written and the next start will \
                 not find these objects; raise meta_total_bytes",
                text.len(),
                self.geometry.checkpoint_bytes_max()
            ));
        }
        self.write(&text, sequence).map_err(|error| {
            let path = &self.geometry.device_path;
            let advice = self.device.advice(&error);
            format!("could not write a checkpoint to device_path {path}: {error}{advice}; the last one is still there")
        })?;
        let mut state = self.state();
        state.sequence = sequence;
        state.saved_changes = changes;
        Ok(())
    }

    /// The text first, then the header that makes it valid; into the container that the last checkpoint is not in.
    fn write(&self, text: &[u8], sequence: u64) -> std::io::Result<()> {
        let geometry = &self.geometry;
        let container = geometry.containers()[usize::from(sequence.is_multiple_of(2))];
        let mut block = vec![0; usize::try_from(geometry.block_align).map_err(std::io::Error::other)?];
        let header = Header {
            sequence,
            payload_bytes: text.len() as u64,
            crc: checkpoint::crc32(text),
        };
        header.write(geometry, &mut block);
        self.device.write(geometry, container + geometry.block_align, text)?;
        self.device.write(geometry, container, &block)
    }
}

/// Writes a checkpoint in every interval until it is dropped.
pub struct Checkpointer {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub fn start(shared: &Arc<Shared>, interval: Duration, quiet: Duration) -> Result<Checkpointer, String> {
        let (stop, stopped) = bounded::<()>(0);
        let shared = Arc::clone(shared);
        let run = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                if let Err(reason) = shared.checkpoint(Some(quiet)) {
                    let warning = Warning::Recovery(RecoveryWarning::CheckpointNotWritten { reason });
                    let mut state = shared.state();
                    if !state.warnings.contains(&warning) {
                        state.warnings.push(warning);
                    }
                }
            }
        };
        let thread = Builder::new().name("checkpoint".to_owned()).spawn(run);
        let thread = thread.map_err(|error| {
            format!(
                "could not start the checkpoint thread: {}",
                limits::thread_with_advice(&error)
            )
        })?;
        Ok(Checkpointer {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, was reported already.
            let _ = thread.join();
        }
    }
}
