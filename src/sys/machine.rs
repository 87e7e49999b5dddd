//! Facts about the machine that a comparison of two runs needs: processor, memory, kernel, limits of control groups.

use std::fs;
use std::thread;

use serde::Serialize;

use crate::sys::counters::group_folders;

/// Longer texts of the kernel, such as a processor's name, are cut to this many characters.
const TEXT_CHARS_MAX: usize = 200;

/// What is not known is `None`, null in a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Machine {
    pub cpu_model: Option<String>,
    /// Processors that this process may use.
    pub cpus: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub kernel: Option<String>,
    /// The least that the control groups of this process allow.
    pub cgroup_memory_bytes: Option<u64>,
    /// The least number of processors, as quota over period.
    pub cgroup_cpus: Option<f64>,
}

impl Machine {
    pub fn read() -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Machine {
            cpu_model: field(&cpuinfo, &["model name", "Processor", "cpu model"]).map(|text| shortened(&text)),
            cpus: thread::available_parallelism().ok().map(|count| count.get() as u64),
            memory_bytes: field(&meminfo, &["MemTotal"]).and_then(|text| kib(&text)),
            kernel: kernel.map(|text| shortened(&text)),
            cgroup_memory_bytes: memory_limit(&groups),
            cgroup_cpus: cpu_limit(&groups),
        }
    }
}

/// The first of these fields in a table of `name : value` lines.
fn field(table: &str, names: &[&str]) -> Option<String> {
    let of = |name: &&str| {
        let line = table
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
        Some(line.trim().to_owned()).filter(|text| !text.is_empty())
    };
    names.iter().find_map(of)
}

fn kib(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn memory_limit(groups: &str) -> Option<u64> {
    let of = |name: &'static str| move |folder: &std::path::PathBuf| fs::read_to_string(folder.join(name)).ok();
    let folders = group_folders(groups, "memory");
    let limits = folders
        .iter()
        .filter_map(|folder| of("memory.max")(folder).or_else(|| of("memory.limit_in_bytes")(folder)));
    limits.filter_map(|text| bounded_bytes(&text)).min()
}

/// Version 1 writes a number near 2^63 where there is no limit, version 2 the word `max`.
fn bounded_bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

fn cpu_limit(groups: &str) -> Option<f64> {
    let read = |folder: &std::path::Path, name: &str| fs::read_to_string(folder.join(name)).ok();
    let of = |folder: &std::path::PathBuf| {
        let together = read(folder, "cpu.max");
        let apart = || {
            Some(format!(
                "{} {}",
                read(folder, "cpu.cfs_quota_us")?.trim(),
                read(folder, "cpu.cfs_period_us")?
            ))
        };
        quota(&together.or_else(apart)?)
    };
    group_folders(groups, "cpu")
        .iter()
        .filter_map(of)
        .min_by(f64::total_cmp)
}

/// `QUOTA PERIOD` in microseconds as processors; `max` and -1 are no quota.
fn quota(text: &str) -> Option<f64> {
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse::<f64>().ok());
    let (quota, period) = (numbers.next()??, numbers.next()??);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn shortened(text: &str) -> String {
    let printable = text.trim().chars().filter(|c| !c.is_control());
    printable.take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_on_every_architecture() {
        let x86 = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: other\n";
        assert_eq!(
            field(x86, &["model name", "Processor"]).as_deref(),
            Some("Some CPU @ 2 GHz")
        );
        assert_eq!(
            field("Processor : ARM\n", &["model name", "Processor"]).as_deref(),
            Some("ARM")
        );
        assert_eq!(field("model name\t:\n", &["model name"]), None);
        assert_eq!(
            field("MemTotal:       24688272 kB\n", &["MemTotal"]).and_then(|text| kib(&text)),
            Some(24_688_272 << 10)
        );
    }

    #[test]
    fn limits_are_those_that_are_set() {
        assert_eq!(
            (bounded_bytes("max\n"), bounded_bytes("9223372036854771712")),
            (None, None)
        );
        assert_eq!(bounded_bytes("1073741824\n"), Some(1 << 30));
        assert_eq!(
            (
                quota("150000 100000\n"),
                quota("max 100000"),
                quota("-1 100000"),
                quota("")
            ),
            (Some(1.5), None, None, None)
        );
    }

    #[test]
    fn this_machine_has_a_kernel_and_processors() {
        let machine = Machine::read();
        assert!(
            machine.cpus.is_some_and(|count| count > 0) && machine.kernel.is_some() && machine.memory_bytes.is_some()
        );
    }
}
