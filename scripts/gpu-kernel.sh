#!/usr/bin/env bash
# The checksum kernel on a GPU node: what Nsight Compute counts of it and of the plain read, and the speed of other versions of
# cuda/checksum.cu. BIN names the folder with gpu-check (default target/release). Needs ncu and nvcc.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=${BIN:-target/release}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
found() {
    command -v "$1" || find /usr/local/cuda*/bin /opt/nvidia -maxdepth 3 -name "$1" -type f 2>/dev/null | sort | tail -n 1 | grep .
}

echo "== as it is"
"$bin/gpu-check" speed

if nvcc=$(found nvcc); then
    # NAME SED_SCRIPT: the speed of the kernel after a change of its source.
    version() {
        sed "$2" cuda/checksum.cu >"$scratch/version.cu"
        cmp -s cuda/checksum.cu "$scratch/version.cu" && { echo "gpu-kernel: $2 changes nothing" >&2; return 1; }
        echo "== $1"
        "$nvcc" -ptx -arch=compute_75 -O3 -o "$scratch/version.ptx" "$scratch/version.cu" && "$bin/gpu-check" speed "$scratch/version.ptx"
    }
    version "2 loads before the first is used" 's/BATCH = 4/BATCH = 2/'
    version "8 loads before the first is used" 's/BATCH = 4/BATCH = 8/'
    version "32 registers, for 8 blocks on a multiprocessor" 's/__launch_bounds__(THREADS)/__launch_bounds__(THREADS, 8)/'
    version "loads without the hint that each byte is read once" 's/__ldcs(/*(/'
else
    echo "gpu-kernel: nvcc is not here, so there are no other versions"
fi

if ncu=$(found ncu); then
    # `speed` starts 21 times 22 of these kernels for each size, 11 checksums before 11 reads: the last of the checksums that
    # begin a size and the read after it, for 64 MiB and 1 GiB. The device's clocks are left alone.
    for skip in $((462 + 10)) $((3 * 462 + 10)); do
        "$ncu" --clock-control none --kernel-name regex:'checksum_paged|plain_read' --launch-skip $skip --launch-count 2 \
            --section SpeedOfLight --section MemoryWorkloadAnalysis --section Occupancy --section LaunchStats \
            --section WarpStateStats "$bin/gpu-check" speed
    done
else
    echo "gpu-kernel: ncu is not here, so nothing is counted"
fi
