// Runs the source of cuda/checksum.cu on the CPU: one thread for each thread of a block, shuffles and barriers by hand, and
// compares fill and checksum with loops that are written from their definition. It shows that the source computes the right
// thing for every shape below, not that a device does. Usage: kernel_on_cpu (no arguments).
#include <barrier>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

struct Index { unsigned x, y, z; };
struct ulonglong2 { unsigned long long x, y; };
static thread_local Index threadIdx;
static Index blockIdx, blockDim;
static std::unique_ptr<std::barrier<>> block_barrier;
static std::vector<std::unique_ptr<std::barrier<>>> warp_barriers;
static unsigned long long exchanged[1024];
static std::mutex atomic;

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static

static unsigned long long __shfl_down_sync(unsigned, unsigned long long value, int distance) {
    std::barrier<> &warp = *warp_barriers[threadIdx.x / 32];
    exchanged[threadIdx.x] = value;
    warp.arrive_and_wait();
    // Beyond the warp a lane keeps its own value.
    const bool inside = threadIdx.x % 32 + distance < 32;
    const unsigned long long found = inside ? exchanged[threadIdx.x + distance] : value;
    warp.arrive_and_wait();
    return found;
}
static void __syncthreads() { block_barrier->arrive_and_wait(); }
static void atomicAdd(unsigned long long *at, unsigned long long value) {
    const std::lock_guard<std::mutex> lock(atomic);
    *at += value;
}
static ulonglong2 __ldcs(const ulonglong2 *from) {
    if ((uintptr_t)from % 16) { std::puts("FAIL  a load of 16 bytes is not aligned"); std::exit(1); }
    return *from;
}

#include "../../cuda/checksum.cu"

template <typename Kernel> static void launch(unsigned grid_x, unsigned grid_y, unsigned threads, Kernel kernel) {
    blockDim = {threads, 1, 1};
    block_barrier = std::make_unique<std::barrier<>>(threads);
    warp_barriers.clear();
    for (unsigned warp = 0; warp < threads / 32; warp++) warp_barriers.push_back(std::make_unique<std::barrier<>>(32));
    for (unsigned y = 0; y < grid_y; y++) {
        for (unsigned x = 0; x < grid_x; x++) {
            blockIdx = {x, y, 0};
            std::vector<std::thread> running;
            for (unsigned index = 0; index < threads; index++) {
                running.emplace_back([=] { threadIdx = {index, 0, 0}; kernel(); });
            }
            for (std::thread &thread : running) thread.join();
        }
    }
}

static u64 defined_fill(u64 key, u64 mask, u64 place) { return split_mix(key + place * STEP) & mask; }

// Planes of `blocks` blocks, chunks of `chunk_blocks`; `shift` moves the planes off a 16-byte boundary.
static bool check(u64 planes, u64 blocks, u64 block_bytes, u64 chunk_blocks, unsigned threads, u64 shift) {
    const u64 words = block_bytes / 8, plane_words = blocks * words;
    std::vector<u64> memory(planes * plane_words + 4);
    u64 *base = (u64 *)(((uintptr_t)memory.data() + 15) / 16 * 16 + shift);
    std::vector<Plane> described;
    for (u64 index = 0; index < planes; index++) {
        described.push_back({(u64)(base + index * plane_words), block_bytes, index * chunk_blocks * words, index * 77 + 5, ~0ull >> index});
    }
    launch(blocks, planes, threads, [&] { fill_paged(described.data(), 0); });
    for (u64 index = 0; index < planes; index++) {
        for (u64 word = 0; word < plane_words; word++) {
            if (base[index * plane_words + word] != defined_fill(described[index].key, described[index].mask, word + 1)) return false;
        }
    }
    std::vector<u32> ids;
    for (u64 index = 0; index < blocks / chunk_blocks * chunk_blocks; index++) ids.push_back((index * 5 + 3) % blocks);
    const u64 chunks = ids.size() / chunk_blocks;
    std::vector<u64> sums(3 * chunks);
    launch(planes * chunk_blocks, chunks, threads,
           [&] { checksum_paged(described.data(), ids.data(), (u32)chunk_blocks, sums.data()); });
    for (u64 chunk = 0; chunk < chunks; chunk++) {
        u64 place = 0, a = 0, b = 0, c = 0;
        for (u64 index = 0; index < planes; index++) {
            for (u64 at = 0; at < chunk_blocks; at++) {
                for (u64 word = 0; word < words; word++) {
                    place++;
                    const u64 value = base[index * plane_words + ids[chunk * chunk_blocks + at] * words + word];
                    const u64 u = value + place * STEP, v = value ^ (place * STRIDE);
                    a += (u & 0xffffffff) * (u >> 32), b += (v & 0xffffffff) * (v >> 32), c += u;
                }
            }
        }
        if (sums[3 * chunk] != a || sums[3 * chunk + 1] != b || sums[3 * chunk + 2] != c) return false;
    }
    return true;
}

int main() {
    unsigned checked = 0;
    for (unsigned threads : {32, 64, 96}) {
        // Around one batch of every thread, one more and one fewer pair, and words that make no pair.
        for (u64 block_bytes : {8, 24, 512, 520, 2032, 2048, 2064, 4096, 6144, 8200}) {
            for (u64 shift : {0, 8}) {
                if (!check(2, 4, block_bytes, 2, threads, shift)) {
                    std::printf("FAIL  blocks of %llu bytes, %u threads, shifted by %llu\n", block_bytes, threads, shift);
                    return 1;
                }
                checked++;
            }
        }
    }
    std::printf("cuda/checksum.cu, run on the CPU, gives what its definition says for %u shapes\n", checked);
}
