#!/usr/bin/env bash
# Everything that a change must pass: format, lints, documentation, tests, the systemd unit.
# As root on Debian it installs missing packages; ci/preflight.sh lists what is needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# There may be no stdin, and nothing here may wait for it.
exec </dev/null

readonly descriptors_wanted=2500 # as ci/preflight.sh
times=()

# $1: a name; the rest: the command. Prints both, and records how long it takes. Exit code 77 of the command means that
# it cannot be done here and has said why.
step() {
    local name=$1 began=$SECONDS code=0
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" || code=$?
    case $code in
    0) times+=("$((SECONDS - began)) s  $name") ;;
    77) times+=("NOT DONE  $name") ;;
    *)
        printf '\nFAILED: %s\n' "$name" >&2
        exit 1
        ;;
    esac
}

# What a fresh Debian image lacks. Elsewhere, or without root, preflight says what to install.
install_missing() {
    local packages=() nc_help package
    nc_help=$(nc -h 2>&1 || true)
    command -v cc >/dev/null || packages+=(gcc libc6-dev)
    command -v git >/dev/null || packages+=(git)
    grep -Eq '^[[:space:]]+-N[[:space:]]' <<<"$nc_help" || packages+=(netcat-openbsd)
    command -v telnet >/dev/null || packages+=(telnet)
    command -v script >/dev/null || packages+=(bsdutils)
    [ -x /usr/games/cowsay ] || packages+=(cowsay)
    command -v systemd-analyze >/dev/null || packages+=(systemd)
    if [ "${#packages[@]}" -eq 0 ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        return 0
    fi
    printf 'installing %s\n' "${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update || true
    # One by one, since some are optional: preflight says what does not work without them.
    for package in "${packages[@]}"; do
        apt-get -q install -y --no-install-recommends "$package" || printf 'cannot install %s\n' "$package" >&2
    done
}

# The soft limit of a shell is often 1024 where the hard one allows more.
raise_descriptors() {
    local limit
    limit=$(ulimit -Sn)
    if [ "$limit" != unlimited ] && [ "$limit" -lt "$descriptors_wanted" ]; then
        ulimit -Sn "$descriptors_wanted" 2>/dev/null || true
    fi
}

dependencies() {
    command -v cargo-deny >/dev/null || { echo 'not checked: cargo install cargo-deny' && return 77; }
    cargo deny --offline check licenses bans sources
}

install_missing
raise_descriptors
step "preflight" ci/preflight.sh
step "format" cargo fmt --all -- --check
step "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked
step "dependencies" dependencies
step "unit" ci/unit.sh
step "schedules of claims" cargo test --locked -p claims
# What a server needs, io_uring above all: one line here instead of many failed tests.
step "machine" cargo run --quiet --locked -- doctor --connections 1000
step "tests" cargo test --locked
# Tests of what cores do to each other, with more than two of them.
step "tests on four cores" env COWCHAT_TEST_CORES=4 cargo test --locked --test suite -- crowd:: delivery:: herds:: \
    notices:: server_faults:: ownership:: readers:: shutdown::

printf '\nall passed\n'
printf '%s\n' "${times[@]}"
