#!/usr/bin/env python3
"""Opens a CUDA allocation of another process by its handle, as the cache server does, checks its pattern and adds 1 to each byte.

Usage: gpu-ipc-peer.py HANDLE UUID BYTES. Uses cupy, or the driver through ctypes where cupy is missing or does not work.
LMCACHE_BENCH_LIBCUDA names another driver, as for lmcache-bench.
"""
import ctypes
import os
import sys


def by_cupy(handle, size):
    import cupy
    pointer = cupy.cuda.runtime.ipcOpenMemHandle(handle)
    memory = cupy.cuda.UnownedMemory(pointer, size, None)
    array = cupy.ndarray((size,), dtype=cupy.uint8, memptr=cupy.cuda.MemoryPointer(memory, 0))
    good = bool((array == (cupy.arange(size) % 251).astype(cupy.uint8)).all())
    array += 1
    cupy.cuda.runtime.deviceSynchronize()
    cupy.cuda.runtime.ipcCloseMemHandle(pointer)
    return good


def by_driver(handle, size):
    cuda = ctypes.CDLL(os.environ.get("LMCACHE_BENCH_LIBCUDA") or "libcuda.so.1")

    class Handle(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_char * 64)]

    def call(name, *arguments):
        code = getattr(cuda, name)(*arguments)
        if code:
            sys.exit(f"{name} failed with {code}")

    context, pointer = ctypes.c_void_p(), ctypes.c_uint64()
    value = Handle()
    ctypes.memmove(ctypes.byref(value), handle, 64)
    call("cuInit", 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
    call("cuCtxSetCurrent", context)
    call("cuIpcOpenMemHandle_v2", ctypes.byref(pointer), value, 1)
    buffer = ctypes.create_string_buffer(size)
    call("cuMemcpyDtoHAsync_v2", buffer, pointer, ctypes.c_size_t(size), None)
    call("cuStreamSynchronize", None)
    found = bytearray(buffer.raw)
    good = found == bytearray(index % 251 for index in range(size))
    call("cuMemcpyHtoDAsync_v2", pointer, bytes(byte + 1 for byte in found), ctypes.c_size_t(size), None)
    call("cuStreamSynchronize", None)
    call("cuIpcCloseMemHandle", pointer)
    return good


def main():
    handle, size = bytes.fromhex(sys.argv[1]), int(sys.argv[3])
    good = None
    if "LMCACHE_BENCH_LIBCUDA" not in os.environ:
        try:
            good = by_cupy(handle, size)
        except ImportError:
            pass
        except Exception as error:  # cupy compiles its kernels, which needs headers that a node may lack
            print(f"cupy: {error}; the driver is used instead", file=sys.stderr)
    if good is None:
        good = by_driver(handle, size)
    sys.exit(0 if good else "the allocation does not hold the pattern that was agreed")


if __name__ == "__main__":
    main()
