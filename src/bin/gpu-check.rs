//! `gpu-check`, which scripts/gpu-check.sh runs on a GPU node: compares the kernels with the CPU implementations, measures the
//! checksum beside a plain read and a copy on the device, and shares an allocation with another process. `make install` leaves
//! it out.

use std::io::Read;
use std::process::ExitCode;
use std::time::Instant;

use lmcache_bench::cuda::driver::Driver;
use lmcache_bench::cuda::kernel::{Kernels, Plane, Planes, RawSums};
use lmcache_bench::cuda::memory::DeviceMemory;
use lmcache_bench::cuda::plain_read::PlainRead;
use lmcache_bench::cuda::stream::{Event, Stream};
use lmcache_bench::cuda::{Context, CudaError};
use lmcache_bench::report::output::write_stdout;
use lmcache_bench::server::checksum::fast::{FastHasher, Sums};
use lmcache_bench::units::MIB;

/// (planes, blocks, bytes per block, blocks per chunk): small and odd shapes, and those of real models.
const SHAPES: [(u64, u64, u64, u64); 8] = [
    (1, 4, 8, 1),
    (2, 8, 24, 2),
    (2, 8, 40, 4),
    (2, 16, 512, 4),
    (3, 16, 1000, 8),
    (8, 64, 2304, 16),
    (16, 64, 32 << 10, 16),
    (64, 64, 32 << 10, 16),
];
/// The shape of the speed test: 32 layers of K and V, blocks of 32 KiB, chunks of 256 tokens.
const SPEED_PLANES: u64 = 64;
const SPEED_BLOCK_BYTES: u64 = 32 << 10;
const SPEED_CHUNK_BLOCKS: u64 = 16;
const SPEED_SIZES_MIB: [u64; 4] = [16, 64, 256, 1024];
/// Size of the working set of the speed test: more than the cache of any device.
const SPEED_BYTES_MIN: u64 = 512 * MIB;
/// Blocks beyond the first 4 GiB of a plane, to check that the kernels compute addresses in 64 bits.
const FAR_BLOCK_BYTES: u64 = 32 << 10;
const FAR_FIRST: u64 = (5 << 30) / FAR_BLOCK_BYTES;
const FAR_BLOCKS: u64 = 16;
const SLICES: usize = 21;
const REPEATS: u32 = 10;
/// The least share of a plain read's bandwidth, from `BAR_FROM_MIB` on.
const BAR_SHARE: f64 = 0.85;
const BAR_FROM_MIB: u64 = 64;

struct Gpu {
    context: std::sync::Arc<Context>,
    stream: Stream,
    kernels: Kernels,
}

fn main() -> ExitCode {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let outcome = match mode.as_str() {
        "twin" => with_gpu(twin),
        "speed" => with_gpu(speed),
        "export" => with_gpu(export),
        "start" => start(),
        _ => Err(
            "usage: gpu-check twin|speed [CHECKSUM.ptx]|export|start; scripts/gpu-check.sh runs them all".to_owned(),
        ),
    };
    match outcome.and_then(|text| write_stdout(&text).map_err(|error| error.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            // If standard output is closed, the exit code still shows the failure.
            let _ = write_stdout(format!("FAILED: {sentence}\n"));
            ExitCode::FAILURE
        }
    }
}

fn with_gpu(work: impl FnOnce(&Gpu) -> Result<String, String>) -> Result<String, String> {
    let driver = Driver::load()?;
    let context = Context::open(&driver, 0)?;
    let refused = |error: CudaError| error.to_string();
    let gpu = Gpu {
        stream: Stream::new(&context).map_err(refused)?,
        kernels: Kernels::load(&context).map_err(refused)?,
        context,
    };
    let facts = gpu.context.facts();
    let (name, capability, version) = (&facts.name, facts.capability, facts.driver_version);
    let head = format!(
        "device: {name}, compute {}.{}, driver for CUDA {version}\n",
        capability.0, capability.1
    );
    work(&gpu).map(|text| head + &text)
}

/// Describes planes that are consecutive in one allocation.
fn planes(memory: &DeviceMemory, (planes, blocks, block_bytes, chunk_blocks): (u64, u64, u64, u64)) -> Vec<Plane> {
    let plane = |index: u64| Plane {
        base: memory.address() + index * blocks * block_bytes,
        block_bytes,
        first_word: index * chunk_blocks * block_bytes / 8,
        key: index * 1_000_003 + 17,
        mask: 0xbfff_bfff_bfff_bfff,
    };
    (0..planes).map(plane).collect()
}

/// All block ids, not in ascending order.
fn shuffled(blocks: u64) -> Vec<u32> {
    (0..blocks).map(|index| ((index * 5 + 3) % blocks) as u32).collect()
}

/// Compares each word of the fill kernel, and the digest of each chunk, with the CPU's.
fn twin(gpu: &Gpu) -> Result<String, String> {
    let mut out = String::new();
    for shape in SHAPES {
        let chunks = check_shape(gpu, shape).map_err(|error| error.to_string())??;
        let (planes, blocks, block_bytes, _) = shape;
        out.push_str(&format!(
            "twin: {planes} planes x {blocks} blocks x {block_bytes} bytes: fill and {chunks} digests equal\n"
        ));
    }
    out.push_str(&far(gpu).map_err(|error| error.to_string())??);
    Ok(out)
}

/// The same for the last blocks of a plane of more than 4 GiB.
fn far(gpu: &Gpu) -> Result<Result<String, String>, CudaError> {
    let bytes = (FAR_FIRST + FAR_BLOCKS) * FAR_BLOCK_BYTES;
    if gpu.context.memory_bytes()?.0 < bytes + SPEED_BYTES_MIN {
        return Ok(Ok("twin: a plane of 5 GiB does not fit here\n".to_owned()));
    }
    let memory = DeviceMemory::allocate(&gpu.context, bytes as usize)?;
    let described = planes(&memory, (1, FAR_FIRST + FAR_BLOCKS, FAR_BLOCK_BYTES, FAR_BLOCKS));
    let on_device = Planes::new(&gpu.context, &gpu.stream, &described)?;
    gpu.kernels
        .fill(&gpu.stream, &on_device, FAR_FIRST as u32, FAR_BLOCKS as u32)?;
    let ids: Vec<u32> = (FAR_FIRST..FAR_FIRST + FAR_BLOCKS).map(|id| id as u32).collect();
    let sums = gpu.kernels.checksum(&gpu.stream, &on_device, &ids, FAR_BLOCKS as u32)?;
    let mut host = vec![0; (FAR_BLOCKS * FAR_BLOCK_BYTES) as usize];
    memory.read(&gpu.stream, (FAR_FIRST * FAR_BLOCK_BYTES) as usize, &mut host)?;
    let as_filled = (1u64..).zip(host.chunks_exact(8)).all(|(at, word)| {
        u64::from_le_bytes(word.try_into().expect("eight bytes")) == pattern(described[0].key, at) & described[0].mask
    });
    let mut hasher = FastHasher::new();
    hasher.update(&host);
    if !as_filled || digest(sums[0], host.len() as u64) != hasher.finish() {
        return Ok(Err(
            "blocks beyond 4 GiB of a plane are filled or digested wrongly".to_owned()
        ));
    }
    Ok(Ok(
        "twin: blocks beyond 4 GiB of a plane: fill and digest equal\n".to_owned()
    ))
}

fn digest(sums: RawSums, bytes: u64) -> [u8; 16] {
    let RawSums { a, b, c } = sums;
    Sums { a, b, c }.digest(bytes)
}

fn check_shape(gpu: &Gpu, shape: (u64, u64, u64, u64)) -> Result<Result<usize, String>, CudaError> {
    let (count, blocks, block_bytes, chunk_blocks) = shape;
    let memory = DeviceMemory::allocate(&gpu.context, (count * blocks * block_bytes) as usize)?;
    let described = planes(&memory, shape);
    let on_device = Planes::new(&gpu.context, &gpu.stream, &described)?;
    gpu.kernels.fill(&gpu.stream, &on_device, 0, blocks as u32)?;
    let ids: Vec<u32> = shuffled(blocks)
        .into_iter()
        .take((blocks / chunk_blocks * chunk_blocks) as usize)
        .collect();
    let sums = gpu
        .kernels
        .checksum(&gpu.stream, &on_device, &ids, chunk_blocks as u32)?;
    let mut host = vec![0; memory.bytes()];
    memory.read(&gpu.stream, 0, &mut host)?;
    for (index, plane) in described.iter().enumerate() {
        let bytes = &host[index * (blocks * block_bytes) as usize..][..(blocks * block_bytes) as usize];
        for (at, word) in (1u64..).zip(bytes.chunks_exact(8)) {
            let found = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            if found != pattern(plane.key, at) & plane.mask {
                return Ok(Err(format!("word {at} of plane {index} of {shape:?} is {found:#x}")));
            }
        }
    }
    for (number, (ids, sums)) in ids.chunks(chunk_blocks as usize).zip(&sums).enumerate() {
        let mut hasher = FastHasher::new();
        for plane in 0..count {
            for id in ids {
                let at = (plane * blocks + u64::from(*id)) * block_bytes;
                hasher.update(&host[at as usize..][..block_bytes as usize]);
            }
        }
        let bytes = count * chunk_blocks * block_bytes;
        if digest(*sums, bytes) != hasher.finish() {
            return Ok(Err(format!(
                "chunk {number} of {shape:?} has another digest on the CPU"
            )));
        }
    }
    Ok(Ok(sums.len()))
}

/// Word `place` (from 1) of the SplitMix64 pattern, as in src/server/memory/mod.rs and cuda/checksum.cu.
fn pattern(key: u64, place: u64) -> u64 {
    let mut x = key.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Medians of the checksum, of a plain read and of a copy on the device, measured in turn. A copy reads and writes, so it counts
/// twice its bytes. Another version of the kernels can be named on the command line.
fn speed(gpu: &Gpu) -> Result<String, String> {
    let mut out = String::from(
        "| request MiB | checksum GB/s | plain read GB/s | copy GB/s, read + write | share of the read | bar |\n\
         |---|---|---|---|---|---|\n",
    );
    let kernels = match std::env::args().nth(2) {
        Some(path) => {
            let text = std::fs::read_to_string(&path).map_err(|error| format!("could not read {path}: {error}"))?;
            Kernels::from_ptx(&gpu.context, &text)
        }
        None => Kernels::load(&gpu.context),
    };
    let kernels = kernels.map_err(|error| error.to_string())?;
    for size_mib in SPEED_SIZES_MIB {
        let [checksum, read, copy] = speeds(gpu, &kernels, size_mib * MIB).map_err(|error| error.to_string())?;
        let share = checksum / read;
        let bar = match size_mib >= BAR_FROM_MIB {
            true if share >= BAR_SHARE => "met",
            true => "missed",
            false => "",
        };
        out.push_str(&format!(
            "| {size_mib} | {checksum:.0} | {read:.0} | {copy:.0} | {share:.2} | {bar} |\n"
        ));
    }
    Ok(out)
}

/// The memory of one request, and the destination of its copy.
struct Buffers {
    memory: DeviceMemory,
    planes: Planes,
    copy: DeviceMemory,
}

/// Bytes per nanosecond of the three.
fn speeds(gpu: &Gpu, kernels: &Kernels, bytes: u64) -> Result<[f64; 3], CudaError> {
    let blocks = bytes / SPEED_PLANES / SPEED_BLOCK_BYTES;
    let chunk_blocks = SPEED_CHUNK_BLOCKS.min(blocks);
    let shape = (SPEED_PLANES, blocks, SPEED_BLOCK_BYTES, chunk_blocks);
    // Used in turn, so that no repetition finds its bytes in the cache.
    let buffers = (0..SPEED_BYTES_MIN.div_ceil(bytes)).map(|_| {
        let memory = DeviceMemory::allocate(&gpu.context, bytes as usize)?;
        let planes = Planes::new(&gpu.context, &gpu.stream, &planes(&memory, shape))?;
        gpu.kernels.fill(&gpu.stream, &planes, 0, blocks as u32)?;
        let copy = DeviceMemory::allocate(&gpu.context, bytes as usize)?;
        Ok(Buffers { memory, planes, copy })
    });
    let buffers: Vec<Buffers> = buffers.collect::<Result<_, CudaError>>()?;
    let ids: Vec<u8> = shuffled(blocks).iter().flat_map(|id| id.to_ne_bytes()).collect();
    let id_memory = DeviceMemory::allocate(&gpu.context, ids.len())?;
    id_memory.write(&gpu.stream, 0, &ids)?;
    let sums = DeviceMemory::allocate(&gpu.context, (blocks / chunk_blocks) as usize * size_of::<RawSums>())?;
    let mut turns = (0..buffers.len()).cycle();
    let mut next = || &buffers[turns.next().expect("a cycle has no end")];
    let plain = PlainRead::load(&gpu.context)?;
    let mut rates: [Vec<f64>; 3] = Default::default();
    for _ in 0..SLICES {
        let seconds = timed(gpu, || {
            kernels.checksum_queued(&gpu.stream, &next().planes, &id_memory, chunk_blocks as u32, &sums)
        })?;
        rates[0].push(bytes as f64 / seconds / 1e9);
        let seconds = timed(gpu, || plain.queued(&gpu.stream, &next().memory))?;
        rates[1].push(bytes as f64 / seconds / 1e9);
        let seconds = timed(gpu, || {
            let buffers = next();
            buffers.copy.copy_from(&gpu.stream, &buffers.memory, bytes as usize)
        })?;
        rates[2].push(2.0 * bytes as f64 / seconds / 1e9);
    }
    Ok(rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[SLICES / 2]
    }))
}

/// Mean device time of `REPEATS` repetitions, in seconds.
fn timed(gpu: &Gpu, mut work: impl FnMut() -> Result<(), CudaError>) -> Result<f64, CudaError> {
    let (begin, end) = (Event::timing(&gpu.context)?, Event::timing(&gpu.context)?);
    work()?;
    begin.record(&gpu.stream)?;
    (0..REPEATS).try_for_each(|_| work())?;
    end.record(&gpu.stream)?;
    end.synchronize()?;
    Ok(end.elapsed_since(&begin)?.as_secs_f64() / f64::from(REPEATS))
}

/// The start-up time of a process: driver, context and kernels, in whole milliseconds as the last word.
fn start() -> Result<String, String> {
    let begun = Instant::now();
    with_gpu(|_| {
        Ok(format!(
            "driver, context and kernels in ms: {}\n",
            begun.elapsed().as_millis()
        ))
    })
}

/// Shares an allocation that is filled with a pattern: prints its IPC handle, waits for the end of standard input, and checks
/// that another process has added 1 to every byte.
fn export(gpu: &Gpu) -> Result<String, String> {
    const BYTES: usize = 4 << 20;
    let refused = |error: CudaError| error.to_string();
    let memory = DeviceMemory::allocate(&gpu.context, BYTES).map_err(refused)?;
    let pattern: Vec<u8> = (0..BYTES).map(|index| (index % 251) as u8).collect();
    memory.write(&gpu.stream, 0, &pattern).map_err(refused)?;
    let handle = memory.ipc_handle().map_err(refused)?;
    let hex: String = handle.iter().map(|byte| format!("{byte:02x}")).collect();
    let uuid = &gpu.context.facts().uuid;
    write_stdout(format!("{hex} {uuid} {BYTES}\n")).map_err(|error| error.to_string())?;
    let mut rest = Vec::new();
    std::io::stdin()
        .take(1 << 10)
        .read_to_end(&mut rest)
        .map_err(|error| format!("could not wait for the other process: {error}"))?;
    let mut found = vec![0; BYTES];
    memory.read(&gpu.stream, 0, &mut found).map_err(refused)?;
    let changed = found.iter().zip(&pattern).all(|(found, was)| *found == was + 1);
    match changed {
        true => Ok("ipc: another process read and changed the allocation\n".to_owned()),
        false => Err("the other process did not change the allocation as agreed".to_owned()),
    }
}
