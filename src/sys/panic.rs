//! Panics as what they are: a fault of this program is one line that asks for a report, and the run ends as after a signal,
//! with what was measured until then; a fault of a library that reads a file is an error with the library's own words.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::env;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::signal;

/// The exit code of Rust programs that panicked.
pub const EXIT_CODE: u8 = 101;

static NOTED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread is in a library whose panics are errors.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// From now on a panic says one line, through `say`, and asks all loops for an end. Further panics follow from the first and
/// are not said.
pub fn install(say: fn(&str)) {
    panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        if CONTAINED.get() {
            return;
        }
        if !NOTED.swap(true, Ordering::SeqCst) {
            let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
            let what = words(info.payload()).replace('\n', " ");
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

/// Whether this program has panicked, on any thread.
pub fn noted() -> bool {
    NOTED.load(Ordering::SeqCst)
}

/// Runs a part of this program that others wait for: nothing after a panic, which was said and noted already. What `work`
/// had borrowed must not be trusted then.
pub fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).ok()
}

/// Runs a library that panics on what it does not expect in a file: its words are the error. What `work` had borrowed must
/// not be used again after one.
pub fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CONTAINED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    outcome.map_err(|payload| words(&*payload).replace('\n', " "))
}

fn words(payload: &(dyn Any + Send)) -> &str {
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

    /// In a process of its own, since the hook and what it notes belong to the whole process.
    #[test]
    fn a_panic_is_one_line_and_ends_the_run() {
        let name = "sys::panic::tests::in_a_process_of_its_own";
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--ignored", "--nocapture"])
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        let said = String::from_utf8(child.stderr).unwrap();
        assert!(child.status.success(), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.starts_with("lmcache-bench: internal error at src/sys/panic.rs:"),
            "{said}"
        );
        assert!(said.contains(": first of two (please report"), "{said}");
    }

    #[test]
    #[ignore = "run by the test above"]
    fn in_a_process_of_its_own() {
        install(|line| eprintln!("{line}"));
        assert_eq!(contained(|| 1), Ok(1));
        let library = contained(|| -> () { panic!("of a library:\n{}", 7) });
        assert_eq!(library, Err("of a library: 7".to_owned()));
        assert!(!noted() && signal::received().is_none());
        assert!(thread::spawn(|| panic!("first\nof two")).join().is_err());
        assert_eq!(caught(|| -> () { panic!("second") }), None);
        assert!(noted());
        assert_eq!(signal::received().map(signal::name), Some("a panic"));
    }
}
