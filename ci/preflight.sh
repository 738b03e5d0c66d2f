#!/usr/bin/env bash
# What this machine lacks to build and test cowchat: one line a fact. Changes nothing. `cowchat doctor` says what it lacks
# to run a server.
#   ci/preflight.sh build    what `cargo build` needs
#   ci/preflight.sh          that, and what the tests need
# "without" marks what is optional; the line says what does not work without it.
# Exit code 0: nothing is lacking. 1: something is, and its line says what to do. 2: no such part.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

readonly descriptors_to_test=2500 # several tests at a time open up to a thousand connections each
readonly memlock_to_start=512     # KiB: glommio refuses to start with less
readonly memlock_per_core=512     # limits::MEMLOCK_PER_CORE in KiB, needed without CAP_IPC_LOCK
lacking=0

ok() {
    printf 'ok      %s\n' "$*"
}

lacks() {
    printf 'LACKS   %s\n' "$*"
    lacking=1
}

without() {
    printf 'without %s\n' "$*"
}

# Whether version $1 is $2 or later.
at_least() {
    printf '%s\n%s\n' "$2" "$1" | sort -V -C
}

check_descriptors() {
    local limit
    limit=$(ulimit -Sn)
    if [ "$limit" = unlimited ] || [ "$limit" -ge "$descriptors_to_test" ]; then
        ok "descriptors: $limit"
    else
        lacks "descriptors: $limit; run ulimit -n $descriptors_to_test (the hard limit is $(ulimit -Hn))"
    fi
}

# Whether this user has CAP_IPC_LOCK outside of user namespaces. Then the kernel has no limit on locked memory, and only
# glommio's minimum applies.
may_lock_all() {
    local capabilities first=0 count=0
    capabilities=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
    read -r first _ count </proc/self/uid_map
    ((0x${capabilities:-0} >> 14 & 1 && first == 0 && count == 4294967295))
}

# The kernel counts all servers of a user together: each test thread has up to two, with two cores each.
check_memlock() {
    local limit threads wanted=$memlock_to_start fewer=
    limit=$(ulimit -Sl)
    threads=${RUST_TEST_THREADS:-$(nproc)}
    if ! may_lock_all; then
        wanted=$((threads * 4 * memlock_per_core))
        fewer=", or give the tests fewer threads by RUST_TEST_THREADS"
    fi
    if [ "$limit" = unlimited ] || [ "$limit" -ge "$wanted" ]; then
        ok "lockable memory: $limit KiB"
    else
        lacks "lockable memory: $limit KiB; run ulimit -l $wanted (the hard limit is $(ulimit -Hl))$fewer"
    fi
}

check_ipv6() {
    if grep -q '^0\{31\}1 .* lo$' /proc/net/if_inet6 2>/dev/null; then
        ok "IPv6: ::1 is there"
    else
        lacks "IPv6: no ::1, which a test serves on; set the sysctl net.ipv6.conf.lo.disable_ipv6=0"
    fi
}

# $1: a program; $2: what needs it; $3: how to get it.
check_program() {
    if command -v "$1" >/dev/null; then
        ok "$1: $(command -v "$1")"
    else
        lacks "$1: $2; $3"
    fi
}

check_nc() {
    local help
    help=$(nc -h 2>&1)
    if ! command -v nc >/dev/null; then
        lacks "nc: the tests talk through it; install netcat-openbsd"
    elif grep -Eq '^[[:space:]]+-N[[:space:]]' <<<"$help"; then
        ok "nc: $(command -v nc)"
    else
        lacks "nc: $(command -v nc) does not know -N, so it is not OpenBSD's; install netcat-openbsd"
    fi
}

check_cowsay() {
    if [ -x /usr/games/cowsay ] && [ -d /usr/share/cowsay/cows ]; then
        ok "cowsay: /usr/games/cowsay"
    else
        lacks "cowsay: a test compares pictures with those of Debian's; install cowsay"
    fi
}

check_systemd() {
    local said
    if said=$(ci/unit.sh --can); then
        ok "systemd-analyze: $(command -v systemd-analyze)"
    else
        without "systemd-analyze ci/cowchat.service is $said"
    fi
}

check_cargo() {
    local least version
    least=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    if ! version=$(cargo --version 2>/dev/null); then
        lacks "cargo: there is none, or it has no toolchain; install Rust $least or later (rustup.rs)"
        return
    fi
    version=${version#cargo }
    version=${version%% *}
    if at_least "${version%%-*}" "$least"; then
        ok "cargo: $version"
    else
        lacks "cargo: $version; use Rust $least or later (rustup update stable)"
    fi
}

to_build() {
    printf 'to build:\n'
    check_cargo
    check_program cc "glommio's build compiles C" "install gcc and libc6-dev"
    check_program git "glommio's build runs it" "install git"
}

to_test() {
    printf '\nto test:\n'
    check_descriptors
    check_memlock
    check_ipv6
    check_nc
    check_program telnet "tests talk through it" "install telnet"
    check_program script "tests run telnet in a terminal of its own" "install bsdutils"
    check_cowsay
    check_systemd
}

case ${1:-all} in
build) to_build ;;
all)
    to_build
    to_test
    ;;
*)
    printf 'usage: ci/preflight.sh [build]\n' >&2
    exit 2
    ;;
esac
exit "$lacking"
