//! Shared by unit tests.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A path in the temporary folder that no other test uses. Nothing is there. It ends with the name.
pub fn temporary_path(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("lmcache-bench-{}-{number}-{name}", std::process::id()))
}
