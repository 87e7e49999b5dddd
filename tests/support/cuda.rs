//! The stand-in for the CUDA driver, built once.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of the stand-in library.
pub fn stand_in() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/libcuda_standin.c");
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("libcuda_standin.so");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&library)
            .args([source, "-lrt", "-pthread"])
            .status()
            .expect("a C compiler is needed by the build as well");
        assert!(built.success(), "the stand-in does not compile");
        library
    })
}
