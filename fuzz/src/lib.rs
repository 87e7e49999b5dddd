//! Shared by all targets: limits on the memory (counted at each allocation) and the time of one input. Some inputs are also
//! stretched by repeating a piece, which shows costs that grow faster than the input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Once, OnceLock};
use std::time::Instant;
use std::{env, fs, process};

/// The memory limit of docs/formats.md: `FACTOR` bytes for each byte of a message plus `ROOM`.
pub const FACTOR: usize = 10;
pub const ROOM: usize = 1 << 20;
/// The factor for typed text: messages repeat it with control characters escaped as six bytes, in strings that double.
pub const TYPED_FACTOR: usize = 32;
/// Length of a stretched input in bytes, enough for quadratic costs to show.
const STRETCHED_BYTES: usize = 128 << 10;
/// One in this many inputs is also stretched, unless the environment says otherwise.
const STRETCHED_EVERY: u64 = 4096;
/// Names another number. An input that failed fails again only with the same number or a divisor of it.
const STRETCHED_EVERY_VARIABLE: &str = "STRETCH_EVERY";
/// CPU time limit of a stretched input; parsers take some milliseconds.
const STRETCHED_CPU_NS: u64 = 1_000_000_000;
/// How often an input is timed before it is too slow: a pause of the whole machine may count as time of the thread.
const STRETCHED_TRIES: usize = 3;

/// Bytes in use since the start of the input, their maximum, and their limit.
struct Counted {
    live: Cell<isize>,
    peak: Cell<isize>,
    limit: Cell<isize>,
}

thread_local! {
    static COUNTED: Counted = const {
        Counted { live: Cell::new(0), peak: Cell::new(0), limit: Cell::new(isize::MAX) }
    };
}

static INPUTS: AtomicU64 = AtomicU64::new(0);
static STRETCHED: AtomicU64 = AtomicU64::new(0);
static SLOWEST_NS: AtomicU64 = AtomicU64::new(0);
static PEAK_BYTES: AtomicU64 = AtomicU64::new(0);
/// The largest share of its limit that an input used, in thousandths.
static PEAK_SHARE: AtomicU64 = AtomicU64::new(0);
static AT_EXIT: Once = Once::new();

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(change: isize) {
    // The counters of a thread that is ending are gone.
    let over = COUNTED.try_with(|counted| {
        let live = counted.live.get() + change;
        counted.live.set(live);
        if live > counted.peak.get() {
            counted.peak.set(live);
        }
        live > counted.limit.get()
    });
    if over == Ok(true) {
        refuse(change);
    }
}

/// Ends the process at the allocation that exceeds the limit, so that the backtrace shows it.
fn refuse(change: isize) {
    let (live, limit) = COUNTED.with(|counted| (counted.live.get(), counted.limit.replace(isize::MAX)));
    eprintln!(
        "memory: an allocation of {change} bytes makes {live} bytes live where the input may cost {limit}\n{}",
        Backtrace::force_capture()
    );
    process::abort();
}

// SAFETY: every call is forwarded unchanged to the system's allocator; only counters are added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes as isize - layout.size() as isize);
        unsafe { System.realloc(block, layout, bytes) }
    }
}

/// Runs `read` on an input within the memory limit, and sometimes on a stretched one. Returns the result for the input.
pub fn bounded<T>(data: &[u8], read: impl Fn(&[u8]) -> T) -> T {
    bounded_by(FACTOR, ROOM, data, read)
}

/// The same with another limit, which the target must explain.
pub fn bounded_by<T>(factor: usize, room: usize, data: &[u8], read: impl Fn(&[u8]) -> T) -> T {
    AT_EXIT.call_once(report_at_exit);
    INPUTS.fetch_add(1, Ordering::Relaxed);
    let hash = hash(data);
    if hash % stretched_every() == 0 && !data.is_empty() {
        let (long, piece) = stretched(data, hash >> 12);
        STRETCHED.fetch_add(1, Ordering::Relaxed);
        let explain = || {
            eprintln!(
                "the input was stretched: its bytes {piece:?} repeated until it had {} bytes",
                long.len()
            );
        };
        let timed = || {
            let begun = cpu_ns();
            measured(factor, room, &long, &read, explain);
            cpu_ns() - begun
        };
        let mut spent = timed();
        for _ in 1..STRETCHED_TRIES {
            if spent < STRETCHED_CPU_NS {
                break;
            }
            spent = spent.min(timed());
        }
        assert!(
            spent < STRETCHED_CPU_NS,
            "slow: {} ms for {} bytes, which are the input with its bytes {piece:?} repeated",
            spent / 1_000_000,
            long.len()
        );
    }
    let begun = Instant::now();
    let result = measured(factor, room, data, &read, || {});
    let spent = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    SLOWEST_NS.fetch_max(spent, Ordering::Relaxed);
    result
}

fn measured<T>(factor: usize, room: usize, data: &[u8], read: &impl Fn(&[u8]) -> T, explain: impl Fn()) -> T {
    let limit = factor * data.len() + room;
    let _explained = Explained(&explain);
    COUNTED.with(|counted| {
        counted.live.set(0);
        counted.peak.set(0);
        counted.limit.set(limit as isize);
    });
    let result = read(data);
    let peak = COUNTED.with(|counted| {
        counted.limit.set(isize::MAX);
        counted.peak.get().max(0) as u64
    });
    std::mem::forget(_explained);
    PEAK_BYTES.fetch_max(peak, Ordering::Relaxed);
    PEAK_SHARE.fetch_max(peak * 1000 / limit as u64, Ordering::Relaxed);
    result
}

struct Explained<'a, F: Fn()>(&'a F);

impl<F: Fn()> Drop for Explained<'_, F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// For parsers that catch panics of a library: those panics print nothing; one that is not caught ends the process.
pub fn surviving<T>(run: impl FnOnce() -> T) -> T {
    static QUIET: Once = Once::new();
    // libFuzzer's hook would end the process before the panic could be caught.
    QUIET.call_once(|| {
        drop(std::panic::take_hook());
        std::panic::set_hook(Box::new(|_| {}));
    });
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        eprintln!("a panic got through: {}", text.unwrap_or("not a text"));
        process::abort()
    })
}

fn stretched_every() -> u64 {
    static EVERY: OnceLock<u64> = OnceLock::new();
    *EVERY.get_or_init(|| {
        let given = env::var(STRETCHED_EVERY_VARIABLE).ok().filter(|text| !text.is_empty());
        let every = given.map(|text| text.parse().ok().filter(|every| *every > 0));
        every.map_or(STRETCHED_EVERY, |every| {
            every.unwrap_or_else(|| panic!("{STRETCHED_EVERY_VARIABLE} is not a whole number from 1 on"))
        })
    })
}

/// The input with a piece of it, usually short, repeated up to `STRETCHED_BYTES`.
fn stretched(data: &[u8], seed: u64) -> (Vec<u8>, std::ops::Range<usize>) {
    let at = seed as usize % data.len();
    let most = if (seed >> 32) % 4 == 0 { data.len() } else { 16 };
    let width = 1 + (seed >> 34) as usize % most.min(data.len() - at);
    let piece = at..at + width;
    let repeats = STRETCHED_BYTES.saturating_sub(data.len()) / width;
    let mut long = Vec::with_capacity(data.len() + repeats * width);
    long.extend_from_slice(&data[..at]);
    for _ in 0..repeats {
        long.extend_from_slice(&data[piece.clone()]);
    }
    long.extend_from_slice(&data[at..]);
    (long, piece)
}

/// Depends only on the input, so that artifacts are reproducible.
pub fn hash(data: &[u8]) -> u64 {
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let mut words = data.chunks_exact(8);
    let mut hash = data.len() as u64;
    for word in &mut words {
        hash = step(hash, u64::from_le_bytes(word.try_into().expect("eight bytes")));
    }
    for byte in words.remainder() {
        hash = step(hash, u64::from(*byte));
    }
    // The low bits decide on stretching, so every bit must affect them.
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// The input in pieces of different sizes, as from a socket.
pub fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut state = hash(data);
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let most = if (state >> 62) == 0 { 64 } else { 4 };
        let (piece, after) = rest.split_at((1 + (state >> 33) as usize % most).min(rest.len()));
        rest = after;
        Some(piece)
    })
}

/// An in-memory file for parsers that open a path.
pub struct Scratch {
    file: File,
    path: PathBuf,
}

impl Scratch {
    /// The file of this thread.
    pub fn with<T>(data: &[u8], read: impl FnOnce(&Path) -> T) -> T {
        thread_local! {
            static SCRATCH: Scratch = Scratch::new();
        }
        SCRATCH.with(|scratch| {
            scratch.file.set_len(0).expect("a file in memory");
            scratch.file.write_all_at(data, 0).expect("a file in memory");
            read(&scratch.path)
        })
    }

    fn new() -> Scratch {
        // SAFETY: the name is a C string, and the new descriptor has no other owner.
        let file = unsafe {
            let descriptor = libc::memfd_create(c"fuzz".as_ptr(), libc::MFD_CLOEXEC);
            assert!(descriptor >= 0, "the kernel has files in memory");
            File::from_raw_fd(descriptor)
        };
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Scratch { file, path }
    }
}

fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is valid for writes, and this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Writes the statistics for the table of scripts/fuzz.sh to the file that `FUZZ_STATS` names.
fn report_at_exit() {
    extern "C" fn report() {
        let Some(path) = env::var_os("FUZZ_STATS") else { return };
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let text = format!(
            "inputs={} stretched={} slowest_us={} peak_bytes={} peak_share={}\n",
            load(&INPUTS),
            load(&STRETCHED),
            load(&SLOWEST_NS) / 1000,
            load(&PEAK_BYTES),
            load(&PEAK_SHARE)
        );
        // The table then lacks a row, which the script reports.
        let _ = fs::write(path, text);
    }
    // SAFETY: the function uses nothing that is destroyed before exit handlers run.
    unsafe { libc::atexit(report) };
}
