//! The `cuda` module with a stand-in driver: the right calls with the right arguments, on any machine. No test here uses a GPU.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::sync::Arc;

use lmcache_bench::cuda::driver::Driver;
use lmcache_bench::cuda::kernel::{Kernels, Plane, Planes};
use lmcache_bench::cuda::memory::{DeviceMemory, PinnedMemory};
use lmcache_bench::cuda::stream::{Event, Stream};
use lmcache_bench::cuda::{Context, CudaError};
use lmcache_bench::server::checksum::Kind;
use lmcache_bench::server::checksum::fast::{FastHasher, Sums};
use lmcache_bench::server::device::{DeviceTensors, Gpu};
use lmcache_bench::server::memory::{KvTensors, Layout, Source};
use lmcache_bench::server::shape::Shape;

use crate::support::cuda::stand_in;
use crate::support::{stderr, stdout};

fn driver() -> Arc<Driver> {
    let path = CString::new(stand_in().as_os_str().as_bytes()).unwrap();
    Driver::load_from(&path).unwrap()
}

#[test]
fn a_missing_driver_is_reported_with_advice() {
    let text = Driver::load_from(c"libcuda-is-not-here.so.1").err().unwrap();
    assert!(
        text.starts_with("could not load the CUDA driver: ") && text.contains("--mode cpu"),
        "{text}"
    );
    // A library that is not a driver: the error names the first missing function.
    let text = Driver::load_from(c"libc.so.6").err().unwrap();
    assert!(text.contains("has no function cuInit"), "{text}");
}

#[test]
fn a_device_is_opened_by_number() {
    let driver = driver();
    let context = Context::open(&driver, 1).unwrap();
    assert_eq!(context.facts().name, "stand-in 1");
    assert_eq!(context.facts().uuid, "11111111-1111-1111-1111-111111111111");
    assert_eq!(context.facts().capability, (9, 0));
    for wrong in [-1, 2, i64::MAX] {
        let text = Context::open(&driver, wrong).err().unwrap();
        assert!(
            text.starts_with(&format!("--device {wrong}: there are 2 CUDA devices")),
            "{text}"
        );
    }
}

#[test]
fn errors_have_the_drivers_name_and_text() {
    let driver = driver();
    let context = Context::open(&driver, 0).unwrap();
    let error = DeviceMemory::allocate(&context, usize::MAX >> 1).err().unwrap();
    let expected = CudaError {
        call: "cuMemAlloc",
        code: 2,
        name: "CUDA_ERROR_OUT_OF_MEMORY".into(),
        text: "out of memory".into(),
    };
    assert_eq!(error, expected);
    assert_eq!(
        error.to_string(),
        "cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY (out of memory), code 2"
    );
}

/// A launch over the K and V planes of two layers with different block sizes gives the digests that the CPU computes over the
/// same bytes in the same order.
#[test]
fn kernel_digests_equal_those_of_the_cpu() {
    const BLOCKS: u64 = 8;
    let context = Context::open(&driver(), 0).unwrap();
    let stream = Stream::new(&context).unwrap();
    let kernels = Kernels::load(&context).unwrap();
    let (block_bytes, per_chunk) = ([48u64, 24], 2u64);
    let memory: Vec<DeviceMemory> = block_bytes
        .iter()
        .map(|bytes| DeviceMemory::allocate(&context, (2 * BLOCKS * bytes) as usize).unwrap())
        .collect();
    let mut planes = Vec::new();
    let mut first_word = 0;
    for (layer, memory) in memory.iter().enumerate() {
        for plane in 0..2 {
            let bytes = block_bytes[layer];
            planes.push(Plane {
                base: memory.address() + plane * BLOCKS * bytes,
                block_bytes: bytes,
                first_word,
                key: 7 + plane + 2 * layer as u64,
                mask: u64::MAX,
            });
            first_word += per_chunk * bytes / 8;
        }
    }
    let on_device = Planes::new(&context, &stream, &planes).unwrap();
    kernels.fill(&stream, &on_device, 0, BLOCKS as u32).unwrap();
    let ids = [5u32, 1, 2, 7];
    let sums = kernels.checksum(&stream, &on_device, &ids, per_chunk as u32).unwrap();
    assert_eq!(sums.len(), 2);
    for (chunk, sums) in ids.chunks(2).zip(sums) {
        let mut hasher = FastHasher::new();
        for (layer, memory) in memory.iter().enumerate() {
            for plane in 0..2 {
                for id in chunk {
                    let mut bytes = vec![0; block_bytes[layer] as usize];
                    let at = (plane * BLOCKS + u64::from(*id)) * block_bytes[layer];
                    memory.read(&stream, at as usize, &mut bytes).unwrap();
                    assert!(bytes.iter().any(|byte| *byte != 0), "nothing was filled");
                    hasher.update(&bytes);
                }
            }
        }
        let (a, b, c) = (sums.a, sums.b, sums.c);
        assert_eq!(Sums { a, b, c }.digest(first_word * 8), hasher.finish());
    }
}

/// The pattern goes on from block to block, wherever the blocks are, and is that of host memory.
#[test]
fn blocks_that_are_apart_have_the_contents_of_consecutive_ones() {
    let gpu = Gpu::on(Context::open(&driver(), 0).unwrap()).unwrap();
    let layout = Layout::new(&Shape::parse("(2,8,4,3,8):float16:2").unwrap());
    let source = Source {
        seed: 1,
        rank: 2,
        sequence: 3,
    };
    let device = DeviceTensors::allocate(&gpu, layout.clone()).unwrap();
    let mut host = KvTensors::private(layout).unwrap();
    host.fill(&[0, 1, 2, 3], source).unwrap();
    for kind in [Kind::Fast, Kind::Md5] {
        let expected = host.digests(&[0, 1, 2, 3], 2, kind, false);
        for blocks in [[0, 1, 2, 3], [5, 6, 1, 7], [7, 4, 2, 1]] {
            device.fill(&blocks, source).unwrap();
            let found = device.digests(&blocks, 2, kind, false).unwrap();
            assert_eq!(found, expected, "{kind:?} {blocks:?}");
        }
        let kept = device.digests(&[1, 2], 1, kind, false).unwrap();
        device.poison(&[4, 7]).unwrap();
        assert_eq!(device.digests(&[1, 2], 1, kind, false).unwrap(), kept);
        let overwritten = device.digests(&[7, 4], 1, kind, false).unwrap();
        assert_eq!(overwritten[0], overwritten[1], "both have one constant byte");
    }
}

#[test]
fn memory_and_events_are_shared_by_handle() {
    let context = Context::open(&driver(), 0).unwrap();
    let stream = Stream::new(&context).unwrap();
    let memory = DeviceMemory::allocate(&context, 4096).unwrap();
    memory.write(&stream, 100, b"shared").unwrap();
    let again = DeviceMemory::open(&context, memory.ipc_handle().unwrap(), 4096).unwrap();
    let mut read = [0; 6];
    again.read(&stream, 100, &mut read).unwrap();
    assert_eq!(&read, b"shared");
    let event = Event::interprocess(&context).unwrap();
    event.record(&stream).unwrap();
    let theirs = Event::open(&context, event.ipc_handle().unwrap()).unwrap();
    stream.wait_for(&theirs).unwrap();
    theirs.synchronize().unwrap();
    let error = Event::open(&context, [0; 64]).err().unwrap();
    assert_eq!(error.call, "cuIpcOpenEventHandle");
}

#[test]
fn page_locked_memory_is_copied_to_and_from_the_device() {
    let context = Context::open(&driver(), 0).unwrap();
    let stream = Stream::new(&context).unwrap();
    let memory = DeviceMemory::allocate(&context, 64).unwrap();
    let mut pinned = PinnedMemory::allocate(&context, 64).unwrap();
    pinned.bytes(&stream).unwrap()[8..16].copy_from_slice(b"12345678");
    memory.write_queued(&stream, 32, &mut pinned, 8, 8).unwrap();
    memory.read_queued(&stream, 32, &mut pinned, 0, 8).unwrap();
    assert_eq!(&pinned.bytes(&stream).unwrap()[..8], b"12345678");
}

/// Skipped without nvcc, also with MUST_RUN=1: `scripts/interop.sh ptx` installs it and checks the same.
#[test]
fn the_ptx_in_the_repository_is_built_from_the_source() {
    let nvcc = std::env::var("NVCC").unwrap_or_else(|_| "nvcc".into());
    if Command::new(&nvcc).arg("--version").output().is_err() {
        println!("skipped: {nvcc} is missing; name one in NVCC, or run `scripts/interop.sh ptx`, which installs it");
        return;
    }
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ptx.sh"))
        .arg("--check")
        .env("NVCC", &nvcc)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
}
