"""LMCache's own aesgcm serde on whole objects in files. Imported with the LMCache environment's Python."""

import pathlib
import time

import torch
from lmcache.v1.distributed.api import ObjectKey
from lmcache.v1.distributed.serde.aesgcm import AesGcmDeserializer, AesGcmSerializer
from lmcache.v1.distributed.serde.key_provider import HkdfKeyProvider
from lmcache.v1.memory_management import MemoryFormat, MemoryObjMetadata, TensorMemoryObj

OVERHEAD_BYTES = 29
# What LMCache's factory for this serde gives its key provider.
INFO_PREFIX = b"lmcache-l2-aesgcm-v1"


def memory_object(size: int) -> TensorMemoryObj:
    shape = torch.Size([size])
    metadata = MemoryObjMetadata(shape=shape, dtype=torch.uint8, address=0, phy_size=size, fmt=MemoryFormat.KV_2LTD,
                                 ref_count=1, shapes=[shape], dtypes=[torch.uint8])
    return TensorMemoryObj(raw_data=torch.zeros(size, dtype=torch.uint8), metadata=metadata, parent_allocator=None)


class Serde:
    """Seals and opens objects of one size; `seconds` has the time of each call into LMCache."""

    def __init__(self, master_key: bytes, aes_bits: int, object_bytes: int):
        keys = HkdfKeyProvider(master_key, key_len=aes_bits // 8, info_prefix=INFO_PREFIX)
        self.serializer, self.deserializer = AesGcmSerializer(keys), AesGcmDeserializer(keys)
        self.plain, self.frame = memory_object(object_bytes), memory_object(object_bytes + OVERHEAD_BYTES)
        # Of the key only the salt counts, and the benchmark's keys have none.
        self.key = ObjectKey(bytes(16), "bench-model", 0)
        self.seconds: list[float] = []

    def seal(self, plain: bytes) -> bytes:
        memoryview(self.plain.byte_array).cast("B")[:] = plain
        begin = time.perf_counter()
        length = self.serializer.serialize(self.plain, self.frame, self.key)
        self.seconds.append(time.perf_counter() - begin)
        return bytes(self.frame.byte_array)[:length]

    def open(self, frame: bytes) -> bytes:
        memoryview(self.frame.byte_array).cast("B")[:] = frame
        begin = time.perf_counter()
        self.deserializer.deserialize(self.frame, self.plain, self.key)
        self.seconds.append(time.perf_counter() - begin)
        return bytes(self.plain.byte_array)


def translate(source: pathlib.Path, target: pathlib.Path, one) -> int:
    """Every object of one directory, passed through `one`, under the same name in another."""
    target.mkdir()
    objects = [path for path in source.iterdir() if path.suffix == ".data"]
    for path in objects:
        (target / path.name).write_bytes(one(path.read_bytes()))
    return len(objects)
