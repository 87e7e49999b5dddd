# Sourced by scripts/interop/*.sh, which scripts/interop.sh runs from the root of the checkout.
export PYTHONPATH=$PWD/scripts

# need NAME TARGET [ARGUMENT...]: sets NAME to what scripts/peers/peers.sh installed for TARGET. Without it the part ends here:
# skipped, or failed with MUST_RUN=1.
need() {
    local name=$1 found
    shift
    if found=$(scripts/peers/peers.sh "$@"); then
        printf -v "$name" %s "$(tail -n 1 <<<"$found")"
    elif [ "${MUST_RUN:-}" = 1 ]; then
        echo "FAIL  MUST_RUN=1 and the peer '$*' is missing: see above"
        echo "0 passed, 1 failed"
        exit 1
    else
        echo "skip  the peer '$*' is missing: see above"
        echo "0 passed, 0 failed, 1 skipped"
        exit 0
    fi
}
