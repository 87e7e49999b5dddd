// The two kernels of `--mode gpu`: the fast 128-bit checksum over paged KV blocks, and the pattern that fills them.
//
// Both give the same bits as CPU code: the sums of src/server/checksum/fast.rs and the words of src/server/memory/mod.rs.
// `make ptx` compiles them to PTX; src/cuda/kernel.rs launches them and has the layout of `Plane`.

typedef unsigned int u32;
typedef unsigned long long u64;

static const u64 STEP = 0x9e3779b97f4a7c15ull;
static const u64 STRIDE = 0xd1b54a32d192ed03ull;

// One plane (K or V, or the only one of MLA) of one layer: `[blocks, block_bytes]` at `base`.
struct Plane {
    u64 base;
    u64 block_bytes;
    // Position of the plane's first word in a chunk: the number of words of all planes before it.
    u64 first_word;
    // Key and mask of the plane's pattern.
    u64 key;
    u64 mask;
};

struct Sums {
    u64 a, b, c;
};

// Most threads per block; src/cuda/kernel.rs uses fewer for small KV blocks.
static const u32 THREADS = 256;
// Loads of 16 bytes that a thread starts before it uses the first. With fewer, memory latency limits the kernel.
static const u32 BATCH = 4;

__device__ __forceinline__ void add_word(Sums &sums, u64 word, u64 step, u64 stride) {
    const u64 u = word + step;
    const u64 v = word ^ stride;
    sums.a += (u64)(u32)u * (u32)(u >> 32);
    sums.b += (u64)(u32)v * (u32)(v >> 32);
    sums.c += u;
}

__device__ __forceinline__ u64 over_warp(u64 value) {
    for (int distance = 16; distance > 0; distance >>= 1) {
        value += __shfl_down_sync(0xffffffffu, value, distance);
    }
    return value;
}

// Adds the sums of all threads to the three words of one chunk. All threads of the block must call it.
__device__ void deliver(Sums sums, u64 *chunk) {
    __shared__ Sums parts[THREADS / 32];
    sums.a = over_warp(sums.a);
    sums.b = over_warp(sums.b);
    sums.c = over_warp(sums.c);
    const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    if (lane == 0) {
        parts[warp] = sums;
    }
    __syncthreads();
    if (warp == 0) {
        const Sums none = {0, 0, 0};
        sums = lane < warps ? parts[lane] : none;
        sums.a = over_warp(sums.a);
        sums.b = over_warp(sums.b);
        sums.c = over_warp(sums.c);
        if (lane == 0) {
            atomicAdd(chunk, sums.a);
            atomicAdd(chunk + 1, sums.b);
            atomicAdd(chunk + 2, sums.c);
        }
    }
}

// Grid: x is planes x blocks per chunk, y is chunks. The number of threads is a multiple of 32, at most THREADS. `sums` has three
// words of zero for each chunk; `block_ids` has the blocks of the request in token order. `block_bytes` is a multiple of 8.
extern "C" __global__ void __launch_bounds__(THREADS)
checksum_paged(const Plane *planes, const u32 *block_ids, u32 blocks_per_chunk, u64 *sums) {
    const Plane plane = planes[blockIdx.x / blocks_per_chunk];
    const u32 within = blockIdx.x % blocks_per_chunk;
    const u32 chunk = blockIdx.y;
    const u64 id = block_ids[(u64)chunk * blocks_per_chunk + within];
    const u64 words = plane.block_bytes / 8;
    const u64 place = plane.first_word + within * words + 1;
    const u64 *data = (const u64 *)(plane.base + id * plane.block_bytes);
    Sums mine = {0, 0, 0};
    // Loads pairs of words if they are aligned: loads of 16 bytes saturate the memory with fewer instructions.
    const bool paired = ((plane.base | plane.block_bytes) & 15) == 0;
    if (paired) {
        const ulonglong2 *from = (const ulonglong2 *)data;
        const u64 pairs = words / 2;
        const u32 wide = blockDim.x;
        u64 at = place + 2 * threadIdx.x;
        u64 step = at * STEP, stride = at * STRIDE;
        const u64 step_on = 2 * wide * STEP, stride_on = 2 * wide * STRIDE;
        u64 pair = threadIdx.x;
        for (; pair + (BATCH - 1) * wide < pairs; pair += BATCH * wide) {
            ulonglong2 batch[BATCH];
#pragma unroll
            for (u32 i = 0; i < BATCH; i++) {
                batch[i] = __ldcs(from + pair + i * wide);
            }
#pragma unroll
            for (u32 i = 0; i < BATCH; i++) {
                add_word(mine, batch[i].x, step, stride);
                add_word(mine, batch[i].y, step + STEP, stride + STRIDE);
                step += step_on;
                stride += stride_on;
            }
        }
        for (; pair < pairs; pair += wide) {
            const ulonglong2 two = __ldcs(from + pair);
            add_word(mine, two.x, step, stride);
            add_word(mine, two.y, step + STEP, stride + STRIDE);
            step += step_on;
            stride += stride_on;
        }
    } else {
        for (u64 word = threadIdx.x; word < words; word += blockDim.x) {
            const u64 at = place + word;
            add_word(mine, data[word], at * STEP, at * STRIDE);
        }
    }
    deliver(mine, sums + 3 * (u64)chunk);
}

__device__ __forceinline__ u64 split_mix(u64 x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// Fills the blocks from `first` on, as many as x, of every plane. Grid: x is blocks, y is planes.
extern "C" __global__ void __launch_bounds__(THREADS)
fill_paged(const Plane *planes, u32 first) {
    const Plane plane = planes[blockIdx.y];
    const u64 words = plane.block_bytes / 8;
    u64 *data = (u64 *)(plane.base + (u64)(first + blockIdx.x) * plane.block_bytes);
    const u64 place = blockIdx.x * words + 1;
    for (u64 word = threadIdx.x; word < words; word += blockDim.x) {
        data[word] = split_mix(plane.key + (place + word) * STEP) & plane.mask;
    }
}
