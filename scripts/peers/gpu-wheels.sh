#!/usr/bin/env bash
# The wheels with which a GPU node without network runs LMCache beside its own PyTorch (scripts/gpu-bundle.sh packs them):
#
#   scripts/peers/gpu-wheels.sh DIR [TORCH]     for CPython 3.12 on x86-64 and PyTorch TORCH (default 2.11.0) for CUDA 13
#
# torch, cupy-cuda13x, cuda-bindings, numpy, transformers, aiohttp and numba are expected on the node. A CUDA extension only loads
# beside the PyTorch that it was built for, and LMCache's wheel is built for one version. So the extension is built here from
# LMCache's sources, for compute 9.0 (ARCH names another); that takes 5 minutes on two cores and 4 GiB of disk. Needs g++, and a
# python3.12 with headers in PYTHON.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
made=${1:?usage: gpu-wheels.sh DIR [TORCH]}
torch=${2:-2.11.0}
python=${PYTHON:-python3.12}
arch=${ARCH:-sm_90}
version=$(awk '$2 == "installed" { print $1 }' "$here/lmcache-releases")
mkdir -p "$made"
made=$(cd "$made" && pwd)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/gpu-wheels.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
say() { printf 'gpu-wheels: %s\n' "$*" >&2; }

# What LMCache imports when its server starts. OpenTelemetry and gRPC are pinned as LMCache pins them; importlib-metadata 9 and later
# need a package more.
packages=("lmcache==$version" aiofile caio blake3 awscrt cryptography cffi cufile-python fastapi starlette annotated-doc pydantic
    annotated-types typing-inspection msgspec nvtx pyzmq redis uvicorn httptools cachetools google-api-core google-auth
    google-cloud-bigtable googleapis-common-protos grpcio==1.78.0 grpcio-observability==1.78.0 "importlib-metadata<9"
    opentelemetry-{api,sdk,exporter-otlp,exporter-otlp-proto-common,exporter-otlp-proto-grpc,exporter-otlp-proto-http,proto}==1.40.0
    opentelemetry-{semantic-conventions,exporter-prometheus}==0.61b0)
platforms=()
for platform in manylinux_2_{34,28,27,24,17} manylinux2014 manylinux1; do
    platforms+=(--platform "${platform}_x86_64")
done
fetch() {
    "$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        "${platforms[@]}" -d "$made" "$@"
}
say "fetching wheels"
for package in "${packages[@]}"; do
    fetch "$package"
done
# pydantic works with one version of its core only.
core=$(unzip -p "$made"/pydantic-[0-9]*.whl '*/METADATA' | sed -n 's/^Requires-Dist: pydantic-core==\([^; ]*\).*/\1/p' | head -n 1)
fetch "pydantic-core==$core"

say "building the CUDA extension for PyTorch $torch and $arch"
nvcc=$("$here/peers.sh" nvcc | tail -n 1)
headers=$("$here/peers.sh" lmcache | tail -n 1)
headers=$(echo "$headers"/lib/python3*/site-packages/nvidia/cu13/include)
"$python" -m venv "$work/venv"
pip=("$work/venv/bin/python" -m pip --disable-pip-version-check)
"${pip[@]}" install -q --no-cache-dir --no-deps --target "$work/site" "torch==$torch" 'nvidia-curand==10.4.*' 'nvidia-cufft==12.0.*'
# pip would build the package to learn its metadata, so the archive is fetched from the index by its name.
"$work/venv/bin/python" - "$version" "$work/lmcache.tar.gz" <<'PY'
import os, re, subprocess, sys, urllib.parse, urllib.request
index = os.environ.get("PIP_INDEX_URL") or subprocess.run(
    [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True
).stdout.strip() or "https://pypi.org/simple"
page = index.rstrip("/") + "/lmcache/"
with urllib.request.urlopen(page) as reply:
    links = re.findall(r'href="([^"]+)"', reply.read().decode())
(link,) = [link for link in links if urllib.parse.urlparse(link).path.endswith(f"lmcache-{sys.argv[1]}.tar.gz")]
urllib.request.urlretrieve(urllib.parse.urljoin(page, link), sys.argv[2])
PY
tar -xzf "$work/lmcache.tar.gz" -C "$work"
export nvcc arch work
export sources=$work/lmcache-$version/csrc
python_headers=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
torch_headers=$work/site/torch/include
export flags="-std=c++17 -I$sources -I$sources/cuda -I$(dirname "$(dirname "$nvcc")")/include -I$headers/cccl -I$torch_headers
    -I$torch_headers/torch/csrc/api/include -I$python_headers -I$headers -I$work/site/nvidia/cu13/include
    -DTORCH_EXTENSION_NAME=cuda_ops -DTORCH_API_INCLUDE_EXTENSION_H -D_GLIBCXX_USE_CXX11_ABI=1"
compile() {
    local object
    object=$work/$(basename "$1").o
    # shellcheck disable=SC2086
    case $1 in
        *.cu) "$nvcc" -O3 "-arch=$arch" -Xcompiler -fPIC --expt-relaxed-constexpr --expt-extended-lambda $flags -c "$1" -o "$object" ;;
        *) g++ -O2 -fPIC $flags -c "$1" -o "$object" ;;
    esac
}
export -f compile
printf '%s\n' "$sources"/cuda/*.cu "$sources"/cuda/*.cpp | xargs -P "$(nproc)" -n 1 bash -euc 'compile "$1"' bash >"$work/log" 2>&1 \
    || { tail -n 20 "$work/log" >&2; exit 1; }
name=cuda_ops.cpython-312-x86_64-linux-gnu.so
g++ -shared -s -o "$work/$name" "$work"/*.o -L"$work/site/torch/lib" -lc10 -ltorch -ltorch_cpu -ltorch_python -lc10_cuda -ltorch_cuda \
    "$(dirname "$headers")/lib/libcudart.so.13"
"$python" - "$made"/lmcache-*.whl "$work/$name" <<'PY'
import os, sys, zipfile
wheel, extension = sys.argv[1:]
name = "lmcache/" + os.path.basename(extension)
with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(wheel + ".new", "w", zipfile.ZIP_DEFLATED) as new:
    for entry in old.infolist():
        data = open(extension, "rb").read() if entry.filename == name else old.read(entry)
        new.writestr(entry, data, compress_type=zipfile.ZIP_DEFLATED)
os.replace(wheel + ".new", wheel)
PY
du -ch "$made"/*.whl | tail -n 1
