"""Our CUDA descriptors (tests/golden/server/cuda-descriptors.json, held by a unit test) loaded by LMCache's own classes of the
release on PYTHONPATH, and what those classes then do with them, with the calls of the CUDA runtime and of cupy recorded instead
of made: there is no GPU. Run in the LMCache environment. Prints one line; usage: python -m interop.cuda_descriptors RELEASE."""

import json
import pathlib
import pickle
import sys
import types
import unittest.mock

import msgspec
import torch

from lib.lmcache import since

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "server" / "cuda-descriptors.json"
MAPPED = 0x7F00_0000_0000


def require(truth: bool, what: str) -> None:
    if not truth:
        raise SystemExit(f"FAIL  {what}")


def wrapper(release: str, data: bytes):
    """The object that the server of this release makes of our bytes."""
    if since(release, "0.5.6"):
        from lmcache.v1.platform.base import ipc_wire
        from lmcache.v1.platform.devices.cuda.ipc_wrapper import RawCudaIPCWrapper

        wire = msgspec.msgpack.decode(data, type=ipc_wire.RawCudaIPCData)
        return RawCudaIPCWrapper.from_wire(wire)
    from lmcache.v1.multiprocess import custom_types

    # As a field of a request: an extension that the release's own decoder turns into its wrapper.
    decoder = custom_types.get_customized_decoder(custom_types.KVCache)
    (loaded,) = decoder.decode(msgspec.msgpack.encode([msgspec.msgpack.Ext(1, data)]))
    return loaded


def opened(loaded, kind: type) -> dict:
    """What `to_tensor` asks of the runtime and of cupy, up to where memory would be touched."""
    module = sys.modules[kind.__module__]
    calls = {}

    class Stop(Exception):
        pass

    def open_handle(handle, flags):
        calls["handle"] = handle if isinstance(handle, bytes) else handle.reserved
        return 0, MAPPED

    def unowned(pointer, size, owner=None):
        calls["memory"] = (pointer, size)
        return (pointer, size)

    def array(count, dtype, memptr):
        calls["array"] = count
        raise Stop

    cupy = unittest.mock.MagicMock()
    cupy.cuda.UnownedMemory, cupy.cuda.MemoryPointer, cupy.ndarray = unowned, lambda memory, offset: (memory, offset), array
    runtime = unittest.mock.MagicMock()
    runtime.cudaIpcOpenMemHandle, runtime.cudaError_t.cudaSuccess = open_handle, 0
    # Releases before 0.5.5 fill a field of this structure, which newer cuda-bindings name otherwise.
    runtime.cudaIpcMemHandle_t = types.SimpleNamespace
    patches = [
        unittest.mock.patch.dict(sys.modules, {"cupy": cupy}),
        unittest.mock.patch.object(torch.cuda, "device", unittest.mock.MagicMock()),
        unittest.mock.patch.object(kind, "_get_device_index_from_uuid", classmethod(lambda cls, uuid: calls.update(uuid=uuid) or 0)),
    ]
    if hasattr(module, "cuda_ipc_handle_from_bytes"):
        patches.append(unittest.mock.patch.object(module, "_cuda", types.SimpleNamespace(runtime=runtime)))
        patches.append(unittest.mock.patch.object(module, "cuda_ipc_handle_from_bytes", lambda raw: raw))
    else:
        patches.append(unittest.mock.patch("cuda.bindings.runtime", runtime))
    for patch in patches:
        patch.start()
    try:
        loaded.to_tensor()
    except Stop:
        pass
    finally:
        for patch in reversed(patches):
            patch.stop()
    return calls


def main() -> None:
    release = sys.argv[1]
    golden = json.loads(GOLDEN.read_text())
    meta = golden["meta"]
    # MessagePack, which has not changed since, and pickles.
    name = "0.5.6" if since(release, "0.5.6") else release if release in golden else "0.5.1-0.5.4"
    loaded = wrapper(release, bytes.fromhex(golden[name]))
    kind = type(loaded)
    require(kind.__name__ == "RawCudaIPCWrapper", f"{release} made a {kind.__name__}")
    expected = {
        "_ipc_handle_reserved": bytes.fromhex(meta["ipc_handle"]),
        "_nbytes": meta["nbytes"],
        "handle": None,
        "dtype": getattr(torch, meta["dtype"]),
        "shape": tuple(meta["shape"]),
        "stride": tuple(meta["stride"]),
        "storage_offset": 0,
        "device_uuid": meta["device_uuid"],
    }
    if since(release, "0.5.5"):
        expected |= {"_alloc_offset": 0, "_opens": 0}
    found = dict(vars(loaded))
    require(found == expected, f"{release} has {found} where {expected} was meant")
    require(all(type(found[field]) is type(expected[field]) for field in expected), f"{release} has other types: {found}")
    # A pickled wrapper of LMCache's own brings back the same object.
    require(vars(pickle.loads(pickle.dumps(loaded))) == expected, f"{release}: another object after a round trip")
    calls = opened(loaded, kind)
    require(calls.get("handle") == expected["_ipc_handle_reserved"], f"{release} opened another handle")
    require(calls.get("uuid") == meta["device_uuid"], f"{release} looked for the device {calls.get('uuid')}")
    require(calls.get("array") == meta["nbytes"], f"{release} made an array of {calls.get('array')} bytes")
    require(calls.get("memory", (0, 0)) == (MAPPED, meta["nbytes"]), f"{release} wrapped {calls.get('memory')}")
    elements = 1
    for side in meta["shape"]:
        elements *= side
    require(elements * expected["dtype"].itemsize == meta["nbytes"], "the golden file's own numbers do not fit")
    print(f"pass  {release}: {len(found)} attributes as meant, opened with its {len(expected['_ipc_handle_reserved'])} bytes")


if __name__ == "__main__":
    main()
