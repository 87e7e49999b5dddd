"""The driver functions and constants of src/cuda against NVIDIA's own header: every signature of the table in driver.rs, the
sizes of what crosses by value, and every flag. Compiles only, no GPU. Usage: python -m interop.cuda_abi FOLDER_WITH_cuda.h SCRATCH."""

import pathlib
import re
import subprocess
import sys

CUDA = pathlib.Path(__file__).resolve().parents[2] / "src" / "cuda"
# `IpcHandle` is two types in C; the name of the function says which.
TYPES = {
    "c_uint": "unsigned int",
    "c_int": "int",
    "c_char": "char",
    "c_void": "void",
    "u8": "unsigned char",
    "u32": "unsigned int",
    "f32": "float",
    "usize": "size_t",
    "Device": "CUdevice",
    "DevicePointer": "CUdeviceptr",
    "ContextHandle": "CUcontext",
    "StreamHandle": "CUstream",
    "EventHandle": "CUevent",
    "ModuleHandle": "CUmodule",
    "FunctionHandle": "CUfunction",
    "Uuid": "CUuuid",
}
# In C these parameters are enums, which cross as integers of the same size.
ENUMS = {"cuGetErrorName": {0: "CUresult"}, "cuGetErrorString": {0: "CUresult"}, "cuDeviceGetAttribute": {1: "CUdevice_attribute"}}
# Constants of ours and their names in the header.
CONSTANTS = {
    "context.rs": {
        "CAPABILITY_MAJOR": "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR",
        "CAPABILITY_MINOR": "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR",
    },
    "memory.rs": {"LAZY_PEER_ACCESS": "CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS"},
    "stream.rs": {
        "NON_BLOCKING": "CU_STREAM_NON_BLOCKING",
        "BLOCKING_SYNC": "CU_EVENT_BLOCKING_SYNC",
        "DISABLE_TIMING": "CU_EVENT_DISABLE_TIMING",
        "INTERPROCESS": "CU_EVENT_INTERPROCESS",
    },
}


def c_type(rust: str, function: str) -> str:
    rust = rust.strip()
    if rust.startswith("*mut "):
        return c_type(rust[5:], function) + " *"
    if rust.startswith("*const "):
        inner = c_type(rust[7:], function)
        return f"{inner}const *" if inner.endswith("*") else f"const {inner} *"
    if rust == "IpcHandle":
        return "CUipcEventHandle" if "Event" in function else "CUipcMemHandle"
    return TYPES[rust]


def table() -> list[tuple[str, list[str]]]:
    text = (CUDA / "driver.rs").read_text()
    text = text[text.index("\nfunctions! {") :]
    found = re.findall(r'= "(cu\w+)" \(([^)]*)\);', text[: text.index("\n}\n")])
    return [(name, [part for part in arguments.split(",") if part.strip()]) for name, arguments in found]


def program() -> tuple[str, int, int]:
    lines = ["#define __CUDA_API_VERSION_INTERNAL", "#include <cuda.h>", "#include <stddef.h>"]
    functions = table()
    for name, arguments in functions:
        kinds = [ENUMS.get(name, {}).get(at) or c_type(rust, name) for at, rust in enumerate(arguments)]
        lines.append(f"CUresult (CUDAAPI *check_{name})({', '.join(kinds)}) = {name};")
    constants = 0
    for file, names in CONSTANTS.items():
        text = (CUDA / file).read_text()
        for ours, theirs in names.items():
            value = re.search(rf"^const {ours}: \w+ = (\d+);", text, re.M)[1]
            lines.append(f'_Static_assert({theirs} == {value}, "{ours}");')
            constants += 1
    for kind, size in (("CUipcMemHandle", 64), ("CUipcEventHandle", 64), ("CUuuid", 16), ("CUresult", 4), ("CUdeviceptr", 8)):
        lines.append(f'_Static_assert(sizeof({kind}) == {size}, "size of {kind}");')
    for kind in ("CUipcMemHandle", "CUipcEventHandle", "CUuuid"):
        lines.append(f'_Static_assert(_Alignof({kind}) == 1, "alignment of {kind}");')
    return "\n".join(lines) + "\n", len(functions), constants


def main() -> int:
    include, scratch = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    source = scratch / "abi.c"
    text, functions, constants = program()
    if functions < 30:
        print(f"only {functions} functions were found in driver.rs")
        return 1
    source.write_text(text)
    command = ["cc", "-std=c11", "-fsyntax-only", "-Wall", "-Werror", "-Wno-deprecated-declarations", f"-I{include}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr)
        return 1
    print(f"{functions} driver functions and {constants} constants are those of {include / 'cuda.h'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
