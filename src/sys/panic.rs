//! Handling of panics. A bug in this program prints one line that asks for a report, and the run ends as after a signal, with
//! what was measured so far. A panic in a library that parses a file becomes an error with the library's message.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::env;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::signal;

/// The exit code of a Rust program that panicked.
pub const EXIT_CODE: u8 = 101;

static PANICKED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread is inside `contained`.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Installs the panic hook. The first panic prints one line through `say`; later ones mostly follow from it and print nothing.
/// Each one stops the run as a signal does.
pub fn install(say: fn(&str)) {
    panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        if CONTAINED.get() {
            return;
        }
        if !PANICKED.swap(true, Ordering::SeqCst) {
            let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
            let what = message(info.payload()).replace('\n', " ");
            say(&format!(
                "lmcache-bench: internal error{place}: {what} (please report this line and the command; any report is partial)"
            ));
            if env::var_os("RUST_BACKTRACE").is_some_and(|wanted| wanted == "full") {
                say(&Backtrace::force_capture().to_string());
            }
        }
        signal::panicked();
    }));
}

/// Whether any thread of this program has panicked.
pub fn has_panicked() -> bool {
    PANICKED.load(Ordering::SeqCst)
}

/// Runs a part of this program that others wait for; `None` if it panics, which the hook has reported. What `work` borrowed may
/// then be inconsistent.
pub fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Runs a library call that may panic on an unexpected file; the panic message is the error. What `work` borrowed must not be
/// used after an error.
pub fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CONTAINED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    outcome.map_err(|payload| message(&*payload).replace('\n', " "))
}

fn message(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<String>() {
        Some(text) => text,
        None => payload.downcast_ref::<&str>().unwrap_or(&"a panic without words"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use super::*;

    /// In a child process, since the hook and its flag are global.
    #[test]
    fn a_panic_is_one_line_and_ends_the_run() {
        let name = "sys::panic::tests::in_a_child_process";
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        let text = String::from_utf8(child.stderr).unwrap();
        assert!(child.status.success(), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.starts_with("lmcache-bench: internal error at src/sys/panic.rs:"),
            "{text}"
        );
        assert!(text.contains(": first of two (please report"), "{text}");
    }

    #[test]
    #[ignore = "run by the test above"]
    fn in_a_child_process() {
        install(|line| eprintln!("{line}"));
        assert_eq!(contained(|| 1), Ok(1));
        let library = contained(|| -> () { panic!("of a library:\n{}", 7) });
        assert_eq!(library, Err("of a library: 7".to_owned()));
        assert!(!has_panicked() && signal::received().is_none());
        assert!(thread::spawn(|| panic!("first\nof two")).join().is_err());
        assert_eq!(caught(|| -> () { panic!("second") }), None);
        assert!(has_panicked());
        assert_eq!(signal::received().map(signal::name), Some("a panic"));
    }
}
