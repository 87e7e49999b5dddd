//! What the kernel counts: CPU time, bytes this process moved to and from block devices, memory and limits. Readings only;
//! what they mean is decided elsewhere.
#![allow(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// CPU time of all threads of this process, user and kernel.
pub fn process_cpu() -> Duration {
    // SAFETY: an all-zero rusage is a valid value to fill in.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is writable for the whole call; RUSAGE_SELF cannot fail with a valid pointer.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let duration = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

/// CPU time of all threads of another process; `None` when it is gone.
pub fn other_process_cpu(pid: u32) -> Option<Duration> {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `clock` is writable for the whole call.
    let status = unsafe { libc::clock_getcpuclockid(libc::pid_t::try_from(pid).ok()?, &mut clock) };
    // SAFETY: `time` is writable for the whole call, and `clock` was filled in by the call above.
    if status != 0 || unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return None;
    }
    Some(Duration::new(
        u64::try_from(time.tv_sec).ok()?,
        u32::try_from(time.tv_nsec).ok()?,
    ))
}

/// Soft limit of locked memory in bytes; `None` when there is none.
pub fn locked_memory_limit_bytes() -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is writable for the whole call.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) };
    (status == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Bytes of memory that can be had without swapping, by the kernel's own estimate.
pub fn available_memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    line.split_ascii_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// Storage traffic that the kernel charges to a process, from `/proc/PID/io`. Writes through the page cache are charged
/// when a page becomes dirty, not when it reaches the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessIo {
    pub read_bytes: u64,
    pub write_bytes: u64,
}

/// Of this process, or of another one of this user.
pub fn process_io(pid: Option<u32>) -> Option<ProcessIo> {
    let path = pid.map_or("/proc/self/io".to_owned(), |pid| format!("/proc/{pid}/io"));
    parse_process_io(&fs::read_to_string(path).ok()?)
}

fn parse_process_io(text: &str) -> Option<ProcessIo> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some(ProcessIo {
        read_bytes: field("read_bytes:")?,
        write_bytes: field("write_bytes:")?,
    })
}

/// A block device's own counters, all processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceIo {
    pub read_bytes: u64,
    pub write_bytes: u64,
}

/// The block device under a path.
#[derive(Clone, Debug)]
pub struct BlockDevice {
    stat_path: PathBuf,
}

impl BlockDevice {
    /// Finds the device of the file system that holds `path`: by its device number, or, for file systems with an anonymous
    /// number (btrfs, overlay), by the source that the mount table names.
    pub fn under(path: &Path) -> Option<BlockDevice> {
        use std::os::unix::fs::MetadataExt;
        let number = fs::metadata(path).ok()?.dev();
        BlockDevice::by_number(number).or_else(|| {
            let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
            let source = mount_source(&table, number)?;
            BlockDevice::by_number(fs::metadata(source).ok()?.rdev())
        })
    }

    fn by_number(number: u64) -> Option<BlockDevice> {
        let stat_path = PathBuf::from(format!("/sys/dev/block/{}/stat", device_text(number)));
        stat_path.exists().then_some(BlockDevice { stat_path })
    }

    pub fn io(&self) -> Option<DeviceIo> {
        parse_device_io(&fs::read_to_string(&self.stat_path).ok()?)
    }
}

fn device_text(number: u64) -> String {
    format!("{}:{}", libc::major(number), libc::minor(number))
}

fn mount_source(table: &str, number: u64) -> Option<String> {
    let wanted = device_text(number);
    let line = table
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(wanted.as_str()))?;
    let (_, after) = line.split_once(" - ")?;
    let source = after.split(' ').nth(1)?;
    source.starts_with('/').then(|| source.to_owned())
}

fn parse_device_io(text: &str) -> Option<DeviceIo> {
    // Documented unit of these two fields: 512-byte sectors, whatever the device's own sector size.
    const SECTOR_BYTES: u64 = 512;
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let sectors = |index: usize| fields.get(index)?.parse::<u64>().ok()?.checked_mul(SECTOR_BYTES);
    Some(DeviceIo {
        read_bytes: sectors(2)?,
        write_bytes: sectors(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_process_and_device_counters() {
        let io = "rchar: 1\nwchar: 2\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n";
        assert_eq!(
            parse_process_io(io),
            Some(ProcessIo {
                read_bytes: 4096,
                write_bytes: 8192
            })
        );
        assert_eq!(parse_process_io("rchar: 1\n"), None);
        let stat =
            "   28099     5973  2062642     5069    16835    67213 19981960    90257        0     7156    96431\n";
        assert_eq!(
            parse_device_io(stat),
            Some(DeviceIo {
                read_bytes: 2_062_642 * 512,
                write_bytes: 19_981_960 * 512
            })
        );
        assert_eq!(parse_device_io("1 2 3"), None);
    }

    #[test]
    fn finds_the_source_of_an_anonymous_device() {
        let table = "24 1 0:22 / / rw - btrfs /dev/sda2 rw\n25 24 0:23 / /proc rw - proc proc rw\n";
        assert_eq!(mount_source(table, libc::makedev(0, 22)).as_deref(), Some("/dev/sda2"));
        assert_eq!(mount_source(table, libc::makedev(0, 23)), None);
    }

    #[test]
    fn cpu_time_grows() {
        let before = process_cpu();
        let mut sum = 0_u64;
        while process_cpu() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(process_cpu() > before);
        assert!(other_process_cpu(std::process::id()) > Some(before));
        assert_eq!(other_process_cpu(u32::MAX), None);
    }
}
