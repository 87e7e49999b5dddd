//! Readings of kernel counters: CPU time, block device traffic, available memory and limits.
#![allow(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::storage;

/// CPU time of all threads of this process, user and kernel.
pub fn process_cpu() -> Duration {
    // SAFETY: all-zero bytes are a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is writable for the whole call; RUSAGE_SELF cannot fail with a valid pointer.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    let duration = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

/// CPU time of the calling thread, user and kernel.
pub fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable for the whole call, which cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    timespec_duration(time).unwrap_or_default()
}

fn timespec_duration(time: libc::timespec) -> Option<Duration> {
    Some(Duration::new(
        u64::try_from(time.tv_sec).ok()?,
        u32::try_from(time.tv_nsec).ok()?,
    ))
}

/// CPU time of all threads of another process; `None` when it has ended.
pub fn other_process_cpu(pid: u32) -> Option<Duration> {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `clock` is writable for the whole call.
    let status = unsafe { libc::clock_getcpuclockid(libc::pid_t::try_from(pid).ok()?, &mut clock) };
    // SAFETY: `time` is writable for the whole call, and `clock` was filled in by the call above.
    if status != 0 || unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return None;
    }
    timespec_duration(time)
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

/// Bytes of memory that can be allocated without swapping: the smaller of the kernel's estimate (`MemAvailable`) and what the
/// memory limits of this process's control groups leave, which is how containers are limited.
pub fn available_memory_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups = group_folders(&groups, "memory").into_iter().filter_map(|folder| {
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let limit = read("memory.max").or_else(|| read("memory.limit_in_bytes"))?;
        let used = read("memory.current").or_else(|| read("memory.usage_in_bytes"))?;
        left_in_group(&limit, &used, &read("memory.stat").unwrap_or_default())
    });
    of_groups.chain(available_on_machine()).min()
}

fn available_on_machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    line.split_ascii_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// Where the limits of one controller on this process stand, from its own group up to the root: version 2 (`0::/a/b`) or
/// version 1 (`4:memory:/a/b`). `table` is `/proc/self/cgroup`. Folders that a container does not show are among them.
pub fn group_folders(table: &str, controller: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in table.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let root = match controllers {
            "" => PathBuf::from("/sys/fs/cgroup"),
            _ if controllers.split(',').any(|name| name == controller) => Path::new("/sys/fs/cgroup").join(controller),
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        folders.extend(path.ancestors().map(|below| root.join(below)));
    }
    folders
}

/// Bytes that a control group may still use. Page cache counts as free, because the kernel reclaims it first. `None` without a
/// limit.
fn left_in_group(limit: &str, used: &str, stat: &str) -> Option<u64> {
    let limit: u64 = limit.trim().parse().ok()?;
    let used: u64 = used.trim().parse().ok()?;
    // In version 1 the plain fields leave out child groups, and the totals are `total_*`.
    let field = |name: &str| {
        let value = |wanted: String| {
            stat.lines()
                .find_map(|line| line.strip_prefix(&wanted)?.parse::<u64>().ok())
        };
        value(format!("total_{name} "))
            .or_else(|| value(format!("{name} ")))
            .unwrap_or(0)
    };
    let files = field("inactive_file").saturating_add(field("active_file"));
    Some(limit.saturating_sub(used.saturating_sub(files)))
}

/// Storage traffic of a process, from `/proc/PID/io`. Writes through the page cache count when a page becomes dirty, not when
/// it reaches the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessIo {
    pub read_bytes: u64,
    pub write_bytes: u64,
}

/// The traffic of this process (`None`), or of another process of this user.
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

/// Traffic of a block device, by all processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceIo {
    pub read_bytes: u64,
    pub write_bytes: u64,
}

/// The block device that holds a file system.
#[derive(Clone, Debug)]
pub struct BlockDevice {
    stat_path: PathBuf,
}

impl BlockDevice {
    /// Finds the device of the file system that holds `path`: by its device number, or, for file systems with an anonymous
    /// number (btrfs, overlay), by its source in the mount table.
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
    let (_, source) = storage::mount(table, number)?;
    source.starts_with('/').then_some(source)
}

fn parse_device_io(text: &str) -> Option<DeviceIo> {
    // The unit of these fields is 512 bytes, whatever the sector size of the device (Documentation/block/stat.rst of Linux).
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
    fn process_and_device_counters_are_parsed() {
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
    fn the_source_of_an_anonymous_device_is_found() {
        let table = "24 1 0:22 / / rw - btrfs /dev/sda2 rw\n25 24 0:23 / /proc rw - proc proc rw\n";
        assert_eq!(mount_source(table, libc::makedev(0, 22)).as_deref(), Some("/dev/sda2"));
        assert_eq!(mount_source(table, libc::makedev(0, 23)), None);
    }

    #[test]
    fn control_group_limits_are_found_and_applied() {
        let folders = group_folders("4:cpu,memory:/a/b\n3:cpuset:/x\n0::/\n", "memory");
        let folders: Vec<_> = folders.iter().map(|folder| folder.to_str().unwrap()).collect();
        let root = "/sys/fs/cgroup/memory/";
        let of_version_1 = [format!("{root}a/b"), format!("{root}a"), root.to_owned()];
        assert_eq!(folders[..3], of_version_1);
        assert_eq!(folders[3..], ["/sys/fs/cgroup/"]);
        assert_eq!(left_in_group("max\n", "5\n", ""), None);
        assert_eq!(
            left_in_group("1000\n", "700\n", "anon 9\nactive_file 40\ninactive_file 60\n"),
            Some(400)
        );
        let stat = "inactive_file 1\ntotal_inactive_file 200\ntotal_active_file 0\nactive_file 1\n";
        assert_eq!(left_in_group("1000", "1100", stat), Some(100));
        assert_eq!(left_in_group("1000", "1100", ""), Some(0));
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

    #[test]
    fn the_cpu_time_of_a_thread_is_its_own() {
        let own = thread_cpu();
        let busy = std::thread::spawn(|| {
            let mut sum = 0_u64;
            while thread_cpu() < Duration::from_millis(20) {
                sum = std::hint::black_box(sum.wrapping_add(1));
            }
            thread_cpu()
        });
        let others = busy.join().unwrap();
        assert!(others >= Duration::from_millis(20));
        let own = thread_cpu() - own;
        assert!(own < others, "waiting takes no CPU time: {own:?}, {others:?}");
    }
}
