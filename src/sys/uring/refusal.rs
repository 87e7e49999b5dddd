//! Advice for an io_uring that the kernel refuses to create, or to register buffers with. A resource limit, a sysctl and a
//! seccomp filter lead to similar errors and need different remedies.

use std::fs;
use std::io;

use crate::sys::limits;
use crate::units::{KIB, bytes_text};

/// 0 allows io_uring to all processes, 1 to those of a group, 2 to none.
const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

/// The error and the advice, without a full stop: `Operation not permitted (os error 1): the sysctl ...`.
pub fn with_advice(error: &io::Error) -> String {
    format!("{error}: {}", advice(error))
}

/// The advice for a ring that could not be created or used.
pub fn advice(error: &io::Error) -> String {
    let sysctl = fs::read_to_string(SYSCTL).ok();
    advice_for(error, sysctl.as_deref().map(str::trim))
}

fn advice_for(error: &io::Error, sysctl: Option<&str>) -> String {
    if let Some(advice) = limits::advice(error) {
        return advice.to_owned();
    }
    match (error.raw_os_error(), sysctl) {
        (Some(libc::ENOMEM), _) => {
            "a ring's memory counts as locked on kernels before 5.12: raise `ulimit -l`, or free memory".to_owned()
        }
        (Some(libc::EPERM | libc::EACCES), Some(value @ ("1" | "2"))) => {
            format!("the sysctl kernel.io_uring_disabled is {value}, which forbids it to this process: set it to 0")
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

/// The advice for buffers of `needed_bytes` that could not be registered. `limit_bytes` is the limit of locked memory, if any.
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
    fn limits_sysctl_seccomp_and_old_kernels_have_different_advice() {
        for (code, sysctl, part) in [
            (libc::ENOMEM, Some("0"), "`ulimit -l`"),
            (libc::EMFILE, Some("0"), "ulimit -n"),
            (libc::EPERM, Some("2"), "kernel.io_uring_disabled is 2"),
            (libc::EPERM, Some("1"), "kernel.io_uring_disabled is 1"),
            (libc::EPERM, Some("0"), "seccomp"),
            (libc::EPERM, None, "seccomp"),
            (libc::ENOSYS, None, "no io_uring"),
            (libc::EIO, None, "kernel's log"),
        ] {
            let text = advice_for(&of(code), sysctl);
            assert!(text.contains(part), "{code} {sysctl:?}: {text}");
        }
        assert!(with_advice(&of(libc::EIO)).starts_with("Input/output error (os error 5): "));
    }

    #[test]
    fn the_limit_of_locked_memory_is_named_only_if_it_is_too_low() {
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
