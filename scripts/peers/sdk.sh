# Sourced by peers.sh: what LMCache's own adapters need beside its wheel, each in a folder of its own beside the environment
# of LMCache, which stays as it is. Every function prints a folder to put first on PYTHONPATH.

NIXL_VERSION=1.5.1
MOONCAKE_VERSION=0.3.13.post1
GLIDE_VERSION=2.6.0
# Where NIXL keeps its headers; the pip package has the libraries only.
NIXL_SOURCE=https://github.com/ai-dynamo/nixl

# Installs wheels without their dependencies: what they need (torch, numpy, protobuf) is LMCache's too.
wheels_into() {
    local dir=$1
    shift
    rm -rf -- "$dir.new"
    "$venv/bin/python" -m pip install -q --no-deps --only-binary :all: --disable-pip-version-check --target "$dir.new" "$@" \
        >&2 9>&- || { rm -rf -- "$dir.new"; fail "pip could not install $*: see its message above"; }
    rm -rf -- "$dir"
    mv "$dir.new" "$dir"
}

# LMCache's valkey adapter imports it.
install_glide() {
    install_lmcache >/dev/null
    local dir=$peers/glide-$GLIDE_VERSION
    [ -d "$dir/glide_sync" ] || wheels_into "$dir" "valkey-glide-sync==$GLIDE_VERSION"
    printf '%s\n' "$dir"
}

install_nixl() {
    install_lmcache >/dev/null
    local dir=$peers/nixl-$NIXL_VERSION
    [ -d "$dir/nixl" ] || wheels_into "$dir" "nixl==$NIXL_VERSION" "nixl-cu13==$NIXL_VERSION"
    printf '%s\n' "$dir"
}

install_mooncake() {
    install_lmcache >/dev/null
    local dir=$peers/mooncake-$MOONCAKE_VERSION
    [ -d "$dir/mooncake" ] || wheels_into "$dir" "mooncake-transfer-engine-non-cuda==$MOONCAKE_VERSION"
    chmod +x "$dir/mooncake/mooncake_master"
    # The wheel's programs are linked to the system's RDMA library, also where only TCP is used.
    ! ldd "$dir/mooncake/mooncake_master" | grep -q 'libibverbs.* not found' || from_distribution libibverbs1
    printf '%s\n' "$dir"
}

# The source distribution has what the wheel lacks: the Rust extension and the connectors in C++.
lmcache_source() {
    local dir=$peers/lmcache-source-$LMCACHE_VERSION tmp
    if [ ! -d "$dir/csrc" ]; then
        say "fetching the source distribution of LMCache $LMCACHE_VERSION"
        tmp=$(mktemp -d "$peers/source.XXXXXX")
        # Its metadata is made by its own setup; nothing is compiled.
        NO_NATIVE_EXT=1 "$venv/bin/python" -m pip download -q --no-deps --no-binary lmcache --no-build-isolation \
            --disable-pip-version-check --dest "$tmp" "lmcache==$LMCACHE_VERSION" >&2 9>&- \
            || { rm -rf -- "$tmp"; fail "pip could not download the source distribution of LMCache: see above"; }
        tar -C "$tmp" -xf "$tmp"/lmcache-*.tar.gz
        rm -rf -- "$dir"
        mv "$tmp/lmcache-$LMCACHE_VERSION" "$dir"
        rm -rf -- "$tmp"
    fi
    printf '%s\n' "$dir"
}

# LMCache's raw_block does its I/O in a Rust extension that is built apart.
install_raw_block() {
    install_lmcache >/dev/null
    local dir=$peers/raw-block-$LMCACHE_VERSION source
    if [ ! -e "$dir/lmcache_rust_raw_block_io.so" ]; then
        source=$(lmcache_source)
        say "building LMCache's raw_block extension (a minute, once)"
        PYO3_PYTHON=$venv/bin/python cargo build -q --release --manifest-path "$source/rust/raw_block/Cargo.toml" \
            --target-dir "$dir.build" >&2 9>&- || fail "cargo could not build LMCache's raw_block extension: see above"
        mkdir -p "$dir"
        mv "$dir.build/release/liblmcache_rust_raw_block_io.so" "$dir/lmcache_rust_raw_block_io.so"
        rm -rf -- "$dir.build"
    fi
    printf '%s\n' "$dir"
}

# A package `lmcache` of links to the installed one, with one more extension in it.
connector_into() {
    local dir=$1 name=$2 site include
    shift 2
    command -v g++ >/dev/null || fail "building LMCache's $name connector needs g++: install it and run this again"
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    include=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
    [ -e "$include/Python.h" ] || fail "building LMCache's $name connector needs $include/Python.h: install Python's headers"
    rm -rf -- "$dir"
    mkdir -p "$dir/lmcache"
    ln -s "$site"/lmcache/* "$dir/lmcache/"
    say "building LMCache's $name connector (a minute, once)"
    # pybind11's headers come with torch.
    g++ -shared -fPIC -O3 -std=c++20 "-DTORCH_EXTENSION_NAME=lmcache_$name" -I"$site/torch/include" -I"$include" "$@" \
        -o "$dir/lmcache/lmcache_$name.so" >&2 9>&- \
        || { rm -rf -- "$dir"; fail "g++ could not build LMCache's $name connector: see above"; }
}

install_nixl_native() {
    local nixl dir source headers
    install_nixl >/dev/null
    nixl=$peers/nixl-$NIXL_VERSION
    dir=$peers/nixl-native-$LMCACHE_VERSION
    if [ ! -e "$dir/lmcache/lmcache_nixl.so" ]; then
        headers=${NIXL_INCLUDE_DIR:-}
        if [ -z "$headers" ]; then
            headers=$peers/nixl-source-$NIXL_VERSION/src/api/cpp
            [ -e "$headers/nixl.h" ] || timeout 120 git clone -q --depth 1 --branch "v$NIXL_VERSION" "$NIXL_SOURCE" \
                "$peers/nixl-source-$NIXL_VERSION" >&2 9>&- || true
        fi
        [ -e "$headers/nixl.h" ] || fail "LMCache's nixl_native connector needs NIXL's headers, which no pip package has:" \
            "clone $NIXL_SOURCE and name its folder src/api/cpp in NIXL_INCLUDE_DIR"
        source=$(lmcache_source)/csrc/storage_backends
        connector_into "$dir" nixl -I"$source" -I"$source/nixl" -I"$headers" "$source"/nixl/{pybind,connector,storage}.cpp \
            -L"$nixl/.nixl_cu13.mesonpy.libs" -lnixl "-Wl,-rpath,$nixl/.nixl_cu13.mesonpy.libs"
    fi
    printf '%s\n' "$dir"
}

# Against the library of the pip package, through declarations of our own (mooncake-headers).
install_mooncake_native() {
    local mooncake dir source library
    install_mooncake >/dev/null
    mooncake=$peers/mooncake-$MOONCAKE_VERSION
    dir=$peers/mooncake-native-$LMCACHE_VERSION
    if [ ! -e "$dir/lmcache/lmcache_mooncake.so" ]; then
        source=$(lmcache_source)/csrc/storage_backends
        library=$mooncake/mooncake/store.so
        connector_into "$dir" mooncake -I"$source" -I"$source/mooncake" -I"$here/mooncake-headers" \
            "$source"/mooncake/{pybind,connector}.cpp -Wl,--no-as-needed "$library" "-Wl,-rpath,$mooncake/mooncake"
    fi
    printf '%s\n' "$dir"
}

# Google's emulator, a program of its own: the cloud SDK's distribution package has it.
install_bigtable() {
    local found=/usr/lib/google-cloud-sdk/platform/bigtable-emulator/cbtemulator
    if [ ! -x "$found" ]; then
        apt-cache show google-cloud-cli-bigtable-emulator >/dev/null 2>&1 \
            || fail "the distribution has no package google-cloud-cli-bigtable-emulator: add Google's package source"
        from_distribution google-cloud-cli-bigtable-emulator
    fi
    [ -x "$found" ] || fail "google-cloud-cli-bigtable-emulator was installed but $found is not there"
    printf '%s\n' "$found"
}
