//! Measures the bytes that reached the block device during the timed parts, by the kernel's counters.

use std::path::Path;
use std::time::Duration;

use crate::l2::adapter::Operation;
use crate::l2::samples::DeviceTraffic;
use crate::sys::counters::{self, BlockDevice, DeviceIo, ProcessIo};

/// Shares of at least this are labelled `device`, shares of at most one minus this `cache`, others `mixed`.
const CLEAR_SHARE: f64 = 0.9;

/// Whether the bytes of a phase were moved from or to the device, the page cache or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    Device,
    Cache,
    Mixed,
}

impl Label {
    pub fn text(self) -> &'static str {
        match self {
            Label::Device => "device",
            Label::Cache => "cache",
            Label::Mixed => "mixed",
        }
    }
}

/// Reads the counters of this process, of its helper and of the device under a path.
pub struct DeviceMeter {
    /// Whether the storage is on this machine.
    local: bool,
    device: Option<BlockDevice>,
    helper_pid: Option<u32>,
}

/// A snapshot of the counters.
#[derive(Clone, Copy, Default)]
pub struct Reading {
    process: Option<ProcessIo>,
    device: Option<DeviceIo>,
}

impl DeviceMeter {
    /// A meter for the storage at `path`; without a path no counters are read. Includes the helper process.
    pub fn new(path: Option<&Path>, helper_pid: Option<u32>) -> DeviceMeter {
        DeviceMeter {
            local: path.is_some(),
            device: path.and_then(BlockDevice::under),
            helper_pid,
        }
    }

    /// CPU time so far, of this process and its helper.
    pub fn cpu(&self) -> Duration {
        let helper = self.helper_pid.and_then(counters::other_process_cpu);
        counters::process_cpu() + helper.unwrap_or_default()
    }

    pub fn knows_device(&self) -> bool {
        self.device.is_some()
    }

    pub fn read(&self) -> Reading {
        Reading {
            process: if self.local { self.process_io() } else { None },
            device: self.device.as_ref().and_then(BlockDevice::io),
        }
    }

    /// `None` without the helper's counters, because the sum would be too low.
    fn process_io(&self) -> Option<ProcessIo> {
        let own = counters::process_io(None)?;
        let Some(pid) = self.helper_pid else { return Some(own) };
        let helper = counters::process_io(Some(pid))?;
        Some(ProcessIo {
            read_bytes: own.read_bytes.saturating_add(helper.read_bytes),
            write_bytes: own.write_bytes.saturating_add(helper.write_bytes),
        })
    }
}

/// Adds the difference between two readings.
pub fn add(traffic: &mut DeviceTraffic, before: &Reading, after: &Reading) {
    let grow = |total: &mut Option<u64>, from: Option<u64>, to: Option<u64>| {
        if let (Some(from), Some(to)) = (from, to) {
            *total = Some(total.unwrap_or(0).saturating_add(to.saturating_sub(from)));
        }
    };
    let (from, to) = (before.process, after.process);
    grow(
        &mut traffic.process_read_bytes,
        from.map(|io| io.read_bytes),
        to.map(|io| io.read_bytes),
    );
    grow(
        &mut traffic.process_write_bytes,
        from.map(|io| io.write_bytes),
        to.map(|io| io.write_bytes),
    );
    let (from, to) = (before.device, after.device);
    grow(
        &mut traffic.device_write_bytes,
        from.map(|io| io.write_bytes),
        to.map(|io| io.write_bytes),
    );
}

/// Bytes that a phase moved to or from the device, if known. Reads are those charged to this process. The kernel charges writes
/// to a process when a page becomes dirty, so writes are taken from the device's counter, which includes other processes: the
/// result is capped at the bytes that this process wrote.
pub fn device_bytes(operation: Operation, traffic: &DeviceTraffic) -> Option<u64> {
    match operation {
        Operation::Load => traffic.process_read_bytes,
        Operation::Store => {
            let device = traffic.device_write_bytes?;
            Some(
                traffic
                    .process_write_bytes
                    .map_or(device, |process| device.min(process)),
            )
        }
        Operation::Lookup => None,
    }
}

/// The share of the moved bytes that reached the device, and its label.
pub fn label(device_bytes: Option<u64>, moved_bytes: u64) -> Option<(f64, Label)> {
    let share = device_bytes.filter(|_| moved_bytes > 0)? as f64 / moved_bytes as f64;
    let label = if share >= CLEAR_SHARE {
        Label::Device
    } else if share <= 1.0 - CLEAR_SHARE {
        Label::Cache
    } else {
        Label::Mixed
    };
    Some((share, label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_follows_the_share() {
        let text = |device, moved| label(device, moved).map(|(_, label)| label.text());
        assert_eq!(text(Some(95), 100), Some("device"));
        assert_eq!(text(Some(50), 100), Some("mixed"));
        assert_eq!(text(Some(5), 100), Some("cache"));
        assert_eq!(text(Some(0), 0), None);
        assert_eq!(text(None, 100), None);
    }

    #[test]
    fn writes_of_other_processes_are_capped() {
        let traffic = DeviceTraffic {
            process_read_bytes: Some(7),
            process_write_bytes: Some(100),
            device_write_bytes: Some(900),
        };
        assert_eq!(device_bytes(Operation::Store, &traffic), Some(100));
        assert_eq!(device_bytes(Operation::Load, &traffic), Some(7));
        assert_eq!(device_bytes(Operation::Lookup, &traffic), None);
    }
}
