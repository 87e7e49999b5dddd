//! Why the kernel gave no io_uring, or would not register buffers with one, and what to do: a limit, a switch and a filter look
//! alike from far away and each has its own cure.

use std::fs;
use std::io;

use crate::sys::limits;
use crate::units::{KIB, bytes_text};

/// 0 allows everybody, 1 a group, 2 nobody.
const SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";

/// The error and what to do about it, without a full stop: `Operation not permitted (os error 1): the sysctl ...`.
pub fn told(error: &io::Error) -> String {
    format!("{error}: {}", advice(error))
}

/// What to do about a ring that could not be made or used.
pub fn advice(error: &io::Error) -> String {
    let switch = fs::read_to_string(SWITCH).ok();
    advice_for(error, switch.as_deref().map(str::trim))
}

fn advice_for(error: &io::Error, switch: Option<&str>) -> String {
    if let Some(advice) = limits::advice(error) {
        return advice.to_owned();
    }
    match (error.raw_os_error(), switch) {
        (Some(libc::ENOMEM), _) => {
            "a ring's memory counts as locked on kernels before 5.12: raise `ulimit -l`, or free memory".to_owned()
        }
        (Some(libc::EPERM | libc::EACCES), Some(switch @ ("1" | "2"))) => {
            format!("the sysctl kernel.io_uring_disabled is {switch}, which forbids it to this process: set it to 0")
        }
        (Some(libc::EPERM | libc::EACCES), _) => {
            "a seccomp filter or security module forbids it, as the default profiles of containers do: allow io_uring_setup, \
             io_uring_enter and io_uring_register there"
                .to_owned()
        }
        (Some(libc::ENOSYS), _) => {
            "this kernel has no io_uring (it is older than 5.1, or a sandbox's own), or a seccomp filter hides it".to_owned()
        }
        _ => "see the kernel's log".to_owned(),
    }
}

/// What to do about buffers of `needed_bytes` that could not be registered, under this limit of locked memory.
pub fn register_advice(error: &io::Error, needed_bytes: u64, limit_bytes: Option<u64>) -> String {
    let enough = format!("`ulimit -l {}`", needed_bytes.div_ceil(KIB));
    match (error.raw_os_error(), limit_bytes) {
        (Some(libc::ENOMEM), Some(limit)) if limit < needed_bytes => {
            let limit = bytes_text(limit);
            format!("the limit of locked memory is {limit}: raise it with {enough}")
        }
        (Some(libc::ENOMEM), Some(limit)) => format!(
            "this user's processes together may lock {} and others of them do: raise the limit beyond {enough}",
            bytes_text(limit)
        ),
        (Some(libc::ENOMEM), None) => "the machine has not enough free memory that it could lock".to_owned(),
        (None, _) => "lower --data-size-kb".to_owned(),
        _ => advice(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: i32) -> io::Error {
        io::Error::from_raw_os_error(code)
    }

    #[test]
    fn a_limit_a_switch_a_filter_and_an_old_kernel_differ() {
        for (code, switch, part) in [
            (libc::ENOMEM, Some("0"), "`ulimit -l`"),
            (libc::EMFILE, Some("0"), "ulimit -n"),
            (libc::EPERM, Some("2"), "kernel.io_uring_disabled is 2"),
            (libc::EPERM, Some("1"), "kernel.io_uring_disabled is 1"),
            (libc::EPERM, Some("0"), "seccomp"),
            (libc::EPERM, None, "seccomp"),
            (libc::ENOSYS, None, "no io_uring"),
            (libc::EIO, None, "kernel's log"),
        ] {
            let text = advice_for(&of(code), switch);
            assert!(text.contains(part), "{code} {switch:?}: {text}");
        }
        assert!(told(&of(libc::EIO)).starts_with("Input/output error (os error 5): "));
    }

    #[test]
    fn locked_memory_is_blamed_only_where_it_is_short() {
        let needed = (64 << 20) + 1;
        let text = |code, limit| register_advice(&of(code), needed, limit);
        let short = text(libc::ENOMEM, Some(8 << 20));
        assert!(
            short.contains("8.0 MiB") && short.contains("`ulimit -l 65537`"),
            "{short}"
        );
        let shared = text(libc::ENOMEM, Some(1 << 30));
        assert!(
            shared.contains("this user's processes together may lock 1.0 GiB"),
            "{shared}"
        );
        assert!(text(libc::ENOMEM, None).contains("free memory"));
        assert!(text(libc::EMFILE, None).contains("ulimit -n"));
        let own = io::Error::new(io::ErrorKind::InvalidInput, "an object is larger than 1 GiB");
        assert_eq!(register_advice(&own, needed, None), "lower --data-size-kb");
    }
}
