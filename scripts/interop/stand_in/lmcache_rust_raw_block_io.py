"""Stands in for LMCache's separately built Rust extension, so that the rest of its raw_block adapter (layout, index, checkpoints,
recovery: all Python) can run and be compared. Plain system calls, as the extension's posix engine makes them without O_DIRECT."""

import os


class RawBlockDevice:
    def __init__(self, path, writable, use_odirect, alignment, io_engine, iouring_queue_depth, use_uring_cmd):
        if use_odirect or io_engine != "posix":
            raise ValueError("this stand-in is buffered and posix only")
        self._descriptor = os.open(path, os.O_RDWR)

    def size_bytes(self):
        return os.lseek(self._descriptor, 0, os.SEEK_END)

    def pwrite_from_buffer(self, offset, buffer, payload_len, total_len):
        data = bytes(memoryview(buffer).cast("B")[:payload_len])
        data += bytes(total_len - len(data))
        assert os.pwrite(self._descriptor, data, offset) == total_len

    def pread_into(self, offset, buffer, payload_len, total_len):
        data = os.pread(self._descriptor, total_len, offset)
        assert len(data) == total_len
        memoryview(buffer).cast("B")[:payload_len] = data[:payload_len]

    def fixed_buffer_status(self):
        return False, 0

    def close(self):
        os.close(self._descriptor)
