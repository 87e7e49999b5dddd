// A plain read of device memory, which is what the checksum of checksum.cu is compared with. Not part of `--mode gpu`.
//
// `make ptx` compiles it to PTX; src/cuda/plain_read.rs launches it.

typedef unsigned int u32;
typedef unsigned long long u64;

static const u32 THREADS = 256;
// Loads of 16 bytes of a thread, all of them started before the first is used: a block reads 32 KiB.
static const u32 LOADS = 8;
// No sum of the words of a block has this value for the pattern that fills the memory; the compiler does not know that and keeps the loads.
static const u64 NEVER = 0x5bd1e9955bd1e995ull;

// Grid: x is tiles of 32 KiB.
extern "C" __global__ void __launch_bounds__(THREADS)
plain_read(const ulonglong2 *from, u64 *sink) {
    const ulonglong2 *tile = from + (u64)blockIdx.x * (THREADS * LOADS) + threadIdx.x;
    ulonglong2 batch[LOADS];
#pragma unroll
    for (u32 i = 0; i < LOADS; i++) {
        batch[i] = __ldcs(tile + i * THREADS);
    }
    u64 sum = 0;
#pragma unroll
    for (u32 i = 0; i < LOADS; i++) {
        sum += batch[i].x + batch[i].y;
    }
    if (sum == NEVER) {
        *sink = sum;
    }
}
