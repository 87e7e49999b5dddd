/* A stand-in for libcuda.so.1: "device" memory is POSIX shared memory, every call is synchronous, and the two kernels of
 * cuda/checksum.cu are computed on the CPU. With it, tests check the order of calls, error paths and clean-up on a machine without
 * a GPU.
 *
 * STANDIN_LOG=FILE          appends a line for each call that creates, frees, orders or shares something
 * STANDIN_FAIL=CALL:N:CODE  the Nth call (from 1) of function CALL returns CODE
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef int status;
typedef uint64_t u64;
typedef uint32_t u32;
typedef struct { unsigned char bytes[64]; } handle64;
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, INVALID_HANDLE = 400 };
enum { ALLOCATIONS = 1024 };

struct allocation { char name[48]; void *at; size_t bytes; int opened; };
static struct allocation allocations[ALLOCATIONS];
static int next_name, live_events, live_streams;
/* As with the driver, each thread has a current context of its own. */
static __thread int current;

static void note(const char *format, ...) {
    const char *path = getenv("STANDIN_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(file, format, arguments);
    va_end(arguments);
    fputc('\n', file);
    fclose(file);
}

/* The scripted failure of this call, or 0. */
static status fails(const char *call) {
    static char wanted[64];
    static int at = -1, code, seen;
    if (at < 0) {
        const char *script = getenv("STANDIN_FAIL");
        at = 0;
        if (script && sscanf(script, "%63[^:]:%d:%d", wanted, &at, &code) != 3) at = 0;
    }
    if (at == 0 || strcmp(call, wanted) != 0 || ++seen != at) return OK;
    note("%s fails with %d", call, code);
    return code;
}

/* One call at a time; the lock is released when the function that began with BEGIN() returns. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int hold(void) { return pthread_mutex_lock(&lock); }
static void release(int *held) { (void)held; pthread_mutex_unlock(&lock); }
#define BEGIN() \
    __attribute__((cleanup(release))) int held = hold(); \
    do { (void)held; status scripted = fails(__func__); if (scripted) return scripted; } while (0)
#define NEED_CONTEXT() do { if (!current) return INVALID_CONTEXT; } while (0)

static struct allocation *slot_of(u64 pointer) {
    for (int i = 0; i < ALLOCATIONS; i++)
        if (allocations[i].at && (u64)allocations[i].at == pointer) return &allocations[i];
    return NULL;
}

/* Whether a range is inside one allocation; a device would fault otherwise. */
static int inside(u64 pointer, size_t bytes) {
    for (int i = 0; i < ALLOCATIONS; i++) {
        u64 begin = (u64)allocations[i].at;
        if (begin && pointer >= begin && pointer + bytes <= begin + allocations[i].bytes) return 1;
    }
    return 0;
}

static status map(const char *name, size_t bytes, int create, u64 *out) {
    for (int i = 0; i < ALLOCATIONS; i++) {
        if (allocations[i].at) continue;
        int fd = shm_open(name, create ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
        if (fd < 0) return INVALID_HANDLE;
        if (create && ftruncate(fd, (off_t)bytes) != 0) { close(fd); shm_unlink(name); return OUT_OF_MEMORY; }
        void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (at == MAP_FAILED) { if (create) shm_unlink(name); return OUT_OF_MEMORY; }
        snprintf(allocations[i].name, sizeof allocations[i].name, "%s", name);
        allocations[i].at = at;
        allocations[i].bytes = bytes;
        allocations[i].opened = !create;
        *out = (u64)at;
        return OK;
    }
    return OUT_OF_MEMORY;
}

/* Like the driver, frees everything at exit, and logs it as a leak. */
__attribute__((destructor)) static void leave(void) {
    for (int i = 0; i < ALLOCATIONS; i++) {
        if (!allocations[i].at) continue;
        note("leaked %s", allocations[i].opened ? "opened memory" : "memory");
        if (!allocations[i].opened) shm_unlink(allocations[i].name);
    }
    if (live_events) note("leaked %d events", live_events);
    if (live_streams) note("leaked %d streams", live_streams);
}

status cuInit(unsigned flags) { BEGIN(); return flags ? INVALID_VALUE : OK; }
status cuDriverGetVersion(int *version) { BEGIN(); *version = 13000; return OK; }
status cuGetErrorName(int code, const char **name) {
    *name = code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : code == INVALID_CONTEXT ? "CUDA_ERROR_INVALID_CONTEXT"
        : code == INVALID_HANDLE ? "CUDA_ERROR_INVALID_HANDLE" : code == INVALID_VALUE ? "CUDA_ERROR_INVALID_VALUE" : NULL;
    return *name ? OK : INVALID_VALUE;
}
status cuGetErrorString(int code, const char **text) {
    *text = code == OUT_OF_MEMORY ? "out of memory" : code == INVALID_VALUE ? "invalid argument" : "stand-in error";
    return OK;
}
status cuDeviceGetCount(int *count) { BEGIN(); *count = 2; return OK; }
status cuDeviceGet(int *device, int ordinal) { BEGIN(); *device = ordinal; return OK; }
status cuDeviceGetName(char *name, int bytes, int device) { BEGIN(); snprintf(name, bytes, "stand-in %d", device); return OK; }
status cuDeviceGetUuid_v2(unsigned char *uuid, int device) { BEGIN(); memset(uuid, 0x10 + device, 16); return OK; }
status cuDeviceGetAttribute(int *value, int which, int device) { BEGIN(); (void)device; *value = which == 75 ? 9 : 0; return OK; }
status cuDevicePrimaryCtxRetain(void **context, int device) {
    BEGIN(); (void)device; *context = &next_name; note("context retained"); return OK;
}
status cuDevicePrimaryCtxRelease_v2(int device) { BEGIN(); (void)device; note("context released"); return OK; }
status cuCtxSetCurrent(void *context) { BEGIN(); current = context != NULL; return OK; }
status cuMemGetInfo_v2(size_t *free, size_t *total) { BEGIN(); NEED_CONTEXT(); *free = 1ull << 30; *total = 2ull << 30; return OK; }

status cuMemAlloc_v2(u64 *pointer, size_t bytes) {
    BEGIN();
    NEED_CONTEXT();
    char name[48];
    snprintf(name, sizeof name, "/cuda-standin-%d-%d", (int)getpid(), next_name++);
    status made = map(name, bytes, 1, pointer);
    note("memory %s", made ? "refused" : "allocated");
    return made;
}
status cuMemFree_v2(u64 pointer) {
    BEGIN();
    struct allocation *slot = slot_of(pointer);
    if (!slot || slot->opened) return INVALID_VALUE;
    munmap(slot->at, slot->bytes);
    shm_unlink(slot->name);
    slot->at = NULL;
    note("memory freed");
    return OK;
}
status cuMemHostAlloc(void **at, size_t bytes, unsigned flags) {
    BEGIN(); (void)flags; *at = malloc(bytes); note("host memory allocated"); return *at ? OK : OUT_OF_MEMORY;
}
status cuMemFreeHost(void *at) { BEGIN(); free(at); note("host memory freed"); return OK; }
status cuMemHostRegister_v2(void *at, size_t bytes, unsigned flags) {
    BEGIN(); NEED_CONTEXT(); (void)at; (void)flags; note("%zu bytes of host memory locked", bytes); return OK;
}
status cuMemHostUnregister(void *at) { BEGIN(); (void)at; note("host memory unlocked"); return OK; }
status cuMemcpyHtoDAsync_v2(u64 to, const void *from, size_t bytes, void *stream) {
    BEGIN(); (void)stream; if (!inside(to, bytes)) return INVALID_VALUE; memcpy((void *)to, from, bytes); return OK;
}
status cuMemcpyDtoHAsync_v2(void *to, u64 from, size_t bytes, void *stream) {
    BEGIN(); (void)stream; if (!inside(from, bytes)) return INVALID_VALUE; memcpy(to, (void *)from, bytes); return OK;
}
status cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, void *stream) {
    BEGIN(); (void)stream; if (!inside(to, bytes) || !inside(from, bytes)) return INVALID_VALUE;
    memmove((void *)to, (void *)from, bytes); return OK;
}
status cuMemsetD8Async(u64 to, unsigned char value, size_t bytes, void *stream) {
    BEGIN(); (void)stream; if (!inside(to, bytes)) return INVALID_VALUE; memset((void *)to, value, bytes); return OK;
}

status cuStreamCreate(void **stream, unsigned flags) { BEGIN(); (void)flags; *stream = malloc(1); live_streams++; return OK; }
status cuStreamDestroy_v2(void *stream) { BEGIN(); free(stream); live_streams--; return OK; }
status cuStreamSynchronize(void *stream) { BEGIN(); (void)stream; return OK; }
status cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
    BEGIN(); (void)stream; (void)event; (void)flags; note("stream waits for event"); return OK;
}
status cuEventCreate(void **event, unsigned flags) {
    BEGIN(); *(unsigned *)(*event = malloc(sizeof flags)) = flags; live_events++;
    note("event created with flags %u", flags); return OK;
}
status cuEventDestroy_v2(void *event) {
    BEGIN(); note("event with flags %u destroyed", *(unsigned *)event); free(event); live_events--; return OK;
}
status cuEventRecord(void *event, void *stream) { BEGIN(); (void)event; (void)stream; note("event recorded"); return OK; }
status cuEventSynchronize(void *event) { BEGIN(); (void)event; note("event reached"); return OK; }
status cuEventElapsedTime(float *ms, void *begin, void *end) { BEGIN(); (void)begin; (void)end; *ms = 1.5f; return OK; }

status cuIpcGetMemHandle(handle64 *handle, u64 pointer) {
    BEGIN();
    struct allocation *slot = slot_of(pointer);
    if (!slot) return INVALID_VALUE;
    memset(handle, 0, sizeof *handle);
    memcpy(handle->bytes, &slot->bytes, 8);
    memcpy(handle->bytes + 8, slot->name, sizeof slot->name);
    note("memory shared");
    return OK;
}
status cuIpcOpenMemHandle_v2(u64 *pointer, handle64 handle, unsigned flags) {
    BEGIN();
    (void)flags;
    size_t bytes;
    char name[48];
    memcpy(&bytes, handle.bytes, 8);
    memcpy(name, handle.bytes + 8, sizeof name);
    name[47] = 0;
    status opened = map(name, bytes, 0, pointer);
    note("memory %s", opened ? "not opened" : "opened");
    return opened;
}
status cuIpcCloseMemHandle(u64 pointer) {
    BEGIN();
    struct allocation *slot = slot_of(pointer);
    if (!slot || !slot->opened) return INVALID_VALUE;
    munmap(slot->at, slot->bytes);
    slot->at = NULL;
    note("opened memory closed");
    return OK;
}
status cuIpcGetEventHandle(handle64 *handle, void *event) {
    BEGIN(); (void)event; memset(handle, 'e', sizeof *handle); note("event shared"); return OK;
}
status cuIpcOpenEventHandle(void **event, handle64 handle) {
    BEGIN();
    if (handle.bytes[0] != 'e' || handle.bytes[63] != 'e') return INVALID_HANDLE;
    *(unsigned *)(*event = malloc(sizeof(unsigned))) = 0;
    live_events++;
    note("event opened");
    return OK;
}

/* ---- the two kernels ---- */

struct plane { u64 base, block_bytes, first_word, key, mask; };
static const u64 STEP = 0x9e3779b97f4a7c15ull, STRIDE = 0xd1b54a32d192ed03ull;

static u64 split_mix(u64 x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static status checksum_paged(unsigned x, unsigned y, void **arguments) {
    const struct plane *planes = *(struct plane **)arguments[0];
    const u32 *ids = *(u32 **)arguments[1], per_chunk = *(u32 *)arguments[2];
    u64 *sums = *(u64 **)arguments[3];
    for (unsigned chunk = 0; chunk < y; chunk++) {
        for (unsigned unit = 0; unit < x; unit++) {
            const struct plane *plane = &planes[unit / per_chunk];
            const u32 within = unit % per_chunk;
            const u64 words = plane->block_bytes / 8;
            const u64 at = plane->base + (u64)ids[chunk * per_chunk + within] * plane->block_bytes;
            if (!inside(at, plane->block_bytes)) return INVALID_VALUE;
            for (u64 i = 0; i < words; i++) {
                const u64 word = ((const u64 *)at)[i], place = plane->first_word + within * words + i + 1;
                const u64 u = word + place * STEP, v = word ^ place * STRIDE;
                sums[3 * chunk] += (u & 0xffffffff) * (u >> 32);
                sums[3 * chunk + 1] += (v & 0xffffffff) * (v >> 32);
                sums[3 * chunk + 2] += u;
            }
        }
    }
    return OK;
}

static status fill_paged(unsigned x, unsigned y, void **arguments) {
    const struct plane *planes = *(struct plane **)arguments[0];
    const u32 first = *(u32 *)arguments[1];
    for (unsigned index = 0; index < y; index++) {
        const struct plane *plane = &planes[index];
        const u64 words = plane->block_bytes / 8, at = plane->base + (u64)first * plane->block_bytes;
        if (!inside(at, x * plane->block_bytes)) return INVALID_VALUE;
        for (u64 i = 0; i < x * words; i++) ((u64 *)at)[i] = split_mix(plane->key + (i + 1) * STEP) & plane->mask;
    }
    return OK;
}

status cuCtxSynchronize(void) { BEGIN(); NEED_CONTEXT(); note("context synchronized"); return OK; }
status cuModuleLoadData(void **module, const void *image) {
    BEGIN();
    int checksum = strstr(image, ".entry checksum_paged") && strstr(image, ".entry fill_paged");
    if (!checksum && !strstr(image, ".entry plain_read")) return INVALID_VALUE;
    *module = malloc(1);
    note("module loaded");
    return OK;
}
/* Reads 32 KiB for each block, and has no result. */
static status plain_read(unsigned x, unsigned y, void **arguments) {
    const u64 *from = *(const u64 **)arguments[0];
    u64 sum = 0;
    (void)y;
    for (size_t at = 0; at < (size_t)x * 4096; at++) sum += from[at];
    return sum == 1 ? INVALID_VALUE : OK;
}

status cuModuleUnload(void *module) { BEGIN(); free(module); note("module unloaded"); return OK; }
status cuModuleGetFunction(void **function, void *module, const char *name) {
    BEGIN();
    (void)module;
    if (strcmp(name, "checksum_paged") == 0) *function = (void *)checksum_paged;
    else if (strcmp(name, "fill_paged") == 0) *function = (void *)fill_paged;
    else if (strcmp(name, "plain_read") == 0) *function = (void *)plain_read;
    else return INVALID_VALUE;
    return OK;
}
status cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                      void *stream, void **arguments, void **extra) {
    BEGIN();
    NEED_CONTEXT();
    (void)shared; (void)stream; (void)extra;
    if (z != 1 || by != 1 || bz != 1 || bx % 32 || bx > 256) return INVALID_VALUE;
    return ((status (*)(unsigned, unsigned, void **))function)(x, y, arguments);
}
