"""Runs one of LMCache's own L2 adapters on the benchmark's buffers. Started by lmcache-bench with `python -c`.

Standard input is a socket to the benchmark, standard output the file behind its L1 buffers; both are put elsewhere before
anything is imported that could write to them. Frames are described in docs/formats.md ("Bridge to LMCache's adapters").
One thread does everything, as in LMCache's own bench: it submits, waits for the adapter's event fds, and answers.
"""

import os
import sys

# `python -c` puts the working directory first; a file that happens to be called torch.py there must not be imported.
if sys.path and sys.path[0] == "":
    del sys.path[0]

import ctypes
import json
import select
import signal
import socket
import struct
import time

PROTOCOL = 1
FRAME_BYTES_MAX = 16 << 20
MESSAGE_CHARS_MAX = 2000
# From the benchmark.
HELLO, SUBMIT, UNLOCK, CLOSE = 1, 2, 3, 4
# To the benchmark.
READY, COMPLETED, TASK_FAILED, FAILED, CLOSED, IMPORTED = 1, 2, 3, 4, 5, 6
STORE, LOOKUP, LOAD = 0, 1, 2
LENGTH = struct.Struct("<I")
# kind, adapter, operation, padding, task, keys, bytes per object, group, lengths of hash, model and salt
SUBMIT_HEAD = struct.Struct("<BBBxIIQIHHH")
# kind, operation, success, padding, task, bytes stored, nanoseconds in the adapter
COMPLETED_HEAD = struct.Struct("<BBBxIQQ")
# The adapter that is measured, and LMCache's mock, which shows what this bridge itself costs.
MEASURED, MOCK = 0, 1
MOCK_SPEC = {"type": "mock", "max_size_gb": 0.001, "mock_bandwidth_gb": 1000000}
PAGE_BYTES = 4096


class Refused(Exception):
    """Why there is no adapter: the stage that failed and the cause."""

    def __init__(self, stage, error):
        super().__init__(str(error) or type(error).__name__)
        self.stage = stage
        self.module = getattr(error, "name", None) if isinstance(error, ImportError) else None


def end_with_parent(parent):
    """Asks the kernel to kill this process when the benchmark is gone; the closed socket is the second way."""
    set_parent_death_signal = 1
    ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def map_buffers(memory, mapped_bytes, start, used_bytes, align):
    """The L1 buffers as a ctypes array whose first byte has the alignment that the benchmark's has."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    prot_none, read_write = 0, 3
    shared, private, fixed, anonymous, populate = 0x01, 0x02, 0x10, 0x20, 0x8000
    failed = ctypes.c_void_p(-1).value
    if used_bytes == 0:
        # A lookup alone has no buffers, but adapters that register memory (NIXL's) want some.
        length = max(align, PAGE_BYTES)
        place = libc.mmap(None, length + align, read_write, private | anonymous, -1, 0)
        if place == failed:
            raise OSError(ctypes.get_errno(), "could not map memory")
        return (ctypes.c_uint8 * length).from_address(place + -place % align)
    place = libc.mmap(None, mapped_bytes + align, prot_none, private | anonymous, -1, 0)
    if place == failed:
        raise OSError(ctypes.get_errno(), "could not reserve addresses for the L1 buffers")
    place += -(place + start) % align
    # Populated, so that no page of it is touched for the first time while the benchmark's clock runs.
    base = libc.mmap(place, mapped_bytes, read_write, shared | fixed | populate, memory, 0)
    if base == failed:
        raise OSError(ctypes.get_errno(), "could not map the L1 buffers")
    return (ctypes.c_uint8 * used_bytes).from_address(base + start)


class LMCache:
    """What is needed of the lmcache package, imported once."""

    def __init__(self):
        os.environ.setdefault("LMCACHE_LOG_LEVEL", "WARNING")
        os.environ.setdefault("LMCACHE_DISABLE_BANNER", "1")
        import argparse
        import warnings

        warnings.simplefilter("ignore")
        import torch
        from lmcache.v1.distributed.api import MemoryLayoutDesc, ObjectKey
        from lmcache.v1.distributed.internal_api import L1MemoryDesc
        from lmcache.v1.distributed.l2_adapters import config, create_l2_adapter
        from lmcache.v1.memory_management import MemoryFormat, MemoryObjMetadata, TensorMemoryObj
        from lmcache.v1.platform import consume_fd

        self.torch = torch
        self.key = ObjectKey
        self.layouts = {0: MemoryLayoutDesc(shapes=[], dtypes=[])}
        self.memory_desc = L1MemoryDesc
        self.object = TensorMemoryObj
        self.metadata = MemoryObjMetadata
        self.format = MemoryFormat.KV_2LTD
        self.consume_fd = consume_fd
        self._namespace = argparse.Namespace
        self._parse = config.parse_args_to_l2_adapters_config
        self._create = create_l2_adapter

    def version(self):
        from importlib import metadata

        try:
            return metadata.version("lmcache")
        except metadata.PackageNotFoundError:
            return "unknown"

    def adapter(self, spec, memory):
        """The adapter that a spec describes, checked and made as `lmcache bench l2` does it."""
        try:
            parsed = self._parse(self._namespace(l2_adapter=[spec]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused("spec", error) from error
        except ImportError as error:
            raise Refused("create", error) from error
        try:
            return self._create(parsed.adapters[0], l1_memory_desc=memory)
        except Exception as error:
            raise Refused("create", error) from error


class Lane:
    """One adapter with its unfinished tasks."""

    def __init__(self, lmcache, adapter, poller):
        self.lmcache, self.adapter = lmcache, adapter
        self.events = {
            adapter.get_store_event_fd(): STORE,
            adapter.get_lookup_and_lock_event_fd(): LOOKUP,
            adapter.get_load_event_fd(): LOAD,
        }
        # By operation: the adapter's task id -> (our task id, keys, when the submit began).
        self.pending = ({}, {}, {})
        for event in self.events:
            poller.register(event, select.EPOLLIN)

    def submit(self, operation, task, keys, objects):
        began = time.perf_counter_ns()
        if operation == STORE:
            theirs = self.adapter.submit_store_task(keys, objects)
        elif operation == LOOKUP:
            theirs = self.adapter.submit_lookup_and_lock_task(keys, self.lmcache.layouts)
        else:
            theirs = self.adapter.submit_load_task(keys, objects)
        self.pending[operation][theirs] = (task, len(keys), began)

    def harvest(self, event):
        """Answers for the tasks that ended since."""
        self.lmcache.consume_fd(event)
        operation = self.events[event]
        pending = self.pending[operation]
        answers = []
        if operation == STORE:
            for theirs, result in self.adapter.pop_completed_store_tasks().items():
                if theirs in pending:
                    success = result.is_successful()
                    answers.append(self.answer(operation, theirs, success, result.bytes_transferred(), b""))
            return answers
        query = self.adapter.query_lookup_and_lock_result if operation == LOOKUP else self.adapter.query_load_result
        for theirs in list(pending):
            bitmap = query(theirs)
            if bitmap is not None:
                bits = bytearray((pending[theirs][1] + 7) // 8)
                for index in bitmap.get_indices_list():
                    bits[index >> 3] |= 1 << (index & 7)
                answers.append(self.answer(operation, theirs, True, 0, bits))
        return answers

    def answer(self, operation, theirs, success, stored_bytes, bits):
        task, _, began = self.pending[operation].pop(theirs)
        spent = time.perf_counter_ns() - began
        return COMPLETED_HEAD.pack(COMPLETED, operation, success, task, stored_bytes, spent) + bytes(bits)


class Helper:
    def __init__(self, control, memory):
        self.control, self.memory = control, memory
        self.poller = select.epoll()
        self.lanes = {}
        self.objects = {}

    def send(self, body):
        self.control.sendall(LENGTH.pack(len(body)) + body)

    def send_json(self, kind, value):
        self.send(bytes((kind,)) + json.dumps(value).encode())

    def receive(self):
        """The next frame's body; None when the benchmark is gone."""
        head = self.read(LENGTH.size)
        if head is None:
            return None
        (length,) = LENGTH.unpack(head)
        if length > FRAME_BYTES_MAX:
            raise ValueError(f"a frame of {length} bytes")
        return self.read(length)

    def read(self, length):
        parts = bytearray()
        while len(parts) < length:
            part = self.control.recv(length - len(parts))
            if not part:
                return None
            parts += part
        return bytes(parts)

    def open(self, hello):
        if hello["protocol"] != PROTOCOL:
            raise Refused("create", ValueError("the benchmark speaks another version of the bridge's protocol"))
        try:
            self.lmcache = LMCache()
        except Exception as error:
            raise Refused("import", error) from error
        self.send(bytes((IMPORTED,)))
        array = map_buffers(self.memory, hello["mapped_bytes"], hello["start"], hello["used_bytes"], hello["align"])
        self.address = ctypes.addressof(array)
        torch = self.lmcache.torch
        self.buffer = torch.frombuffer(array, dtype=torch.uint8)
        self.desc = self.lmcache.memory_desc(ptr=self.address, size=len(array), align_bytes=hello["align_bytes"])
        self.lane(MEASURED, hello["spec"])

    def lane(self, which, spec):
        if which not in self.lanes:
            self.lanes[which] = Lane(self.lmcache, self.lmcache.adapter(spec, self.desc), self.poller)
        return self.lanes[which]

    def memory_object(self, offset, size):
        """The view of one buffer, made once."""
        known = self.objects.get((offset, size))
        if known is None:
            shape, dtype = self.lmcache.torch.Size([size]), self.lmcache.torch.uint8
            # LMCache's own bench leaves the two lists out, and its dax adapter then fails every store.
            metadata = self.lmcache.metadata(
                shape=shape,
                dtype=dtype,
                address=offset,
                phy_size=size,
                fmt=self.lmcache.format,
                ref_count=1,
                shapes=[shape],
                dtypes=[dtype],
            )
            view = self.buffer[offset : offset + size]
            known = self.lmcache.object(raw_data=view, metadata=metadata, parent_allocator=None)
            self.objects[(offset, size)] = known
        return known

    def submit(self, body):
        _, which, operation, task, count, size, group, hash_len, model_len, salt_len = SUBMIT_HEAD.unpack_from(body)
        try:
            at = SUBMIT_HEAD.size
            model = body[at : at + model_len].decode()
            salt = body[at + model_len : at + model_len + salt_len].decode()
            at += model_len + salt_len
            key = self.lmcache.key
            records = struct.iter_unpack(f"<{hash_len}sQQ", body[at:])
            if operation == LOOKUP:
                keys, objects = [key(digest, model, rank, group, salt) for digest, rank, _ in records], None
            else:
                keys, objects = [], []
                for digest, rank, offset in records:
                    keys.append(key(digest, model, rank, group, salt))
                    objects.append(self.memory_object(offset, size))
            if len(keys) != count:
                raise ValueError(f"{count} keys were announced but {len(keys)} came")
            self.lane(which, json.dumps(MOCK_SPEC)).submit(operation, task, keys, objects)
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"[:MESSAGE_CHARS_MAX]
            self.send(struct.pack("<BxxxI", TASK_FAILED, task) + cause.encode())

    def unlock(self, body):
        _, which, _, _, _, _, group, hash_len, model_len, salt_len = SUBMIT_HEAD.unpack_from(body)
        at = SUBMIT_HEAD.size
        model = body[at : at + model_len].decode()
        salt = body[at + model_len : at + model_len + salt_len].decode()
        records = struct.iter_unpack(f"<{hash_len}sQQ", body[at + model_len + salt_len :])
        self.lanes[which].adapter.submit_unlock(
            [self.lmcache.key(digest, model, rank, group, salt) for digest, rank, _ in records]
        )

    def close(self):
        for lane in self.lanes.values():
            lane.adapter.close()
        self.send(bytes((CLOSED,)))

    def serve(self):
        """Until the benchmark says close or is gone."""
        self.poller.register(self.control, select.EPOLLIN)
        control = self.control.fileno()
        while True:
            for descriptor, _ in self.poller.poll():
                if descriptor != control:
                    lane = next(lane for lane in self.lanes.values() if descriptor in lane.events)
                    for answer in lane.harvest(descriptor):
                        self.send(answer)
                    continue
                body = self.receive()
                if body is None:
                    return
                if body[0] == SUBMIT:
                    self.submit(body)
                elif body[0] == UNLOCK:
                    self.unlock(body)
                elif body[0] == CLOSE:
                    self.close()
                    return
                else:
                    raise ValueError(f"an unknown kind of frame: {body[0]}")


def main():
    control, memory = socket.socket(fileno=os.dup(0)), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    helper = Helper(control, memory)
    hello = helper.receive()
    if hello is None or hello[0] != HELLO:
        os._exit(1)
    hello = json.loads(hello[1:])
    end_with_parent(hello["parent"])
    try:
        helper.open(hello)
    except Refused as refused:
        cause = str(refused)[:MESSAGE_CHARS_MAX]
        helper.send_json(FAILED, {"stage": refused.stage, "message": cause, "module": refused.module})
        os._exit(0)
    adapter = helper.lanes[MEASURED].adapter
    versions = {"python": sys.version.split()[0], "lmcache": helper.lmcache.version()}
    helper.send_json(READY, {"protocol": PROTOCOL, "class": type(adapter).__name__, **versions})
    helper.serve()
    sys.stderr.flush()
    # Threads that an adapter left running must not keep this process.
    os._exit(0)


main()
