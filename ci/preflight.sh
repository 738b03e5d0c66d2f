#!/usr/bin/env bash
# What this machine lacks to run, build and test cowchat: one line a fact, in three parts. Changes nothing.
#   ci/preflight.sh run      what a server needs
#   ci/preflight.sh build    what `cargo build` needs
#   ci/preflight.sh          both, and what the tests need
# "without" marks what is optional; the line says what does not work without it.
# Exit code 0: nothing is lacking. 1: something is, and its line says what to do. 2: no such part.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

readonly descriptors_to_start=96    # limits::DESCRIPTORS_MIN
readonly descriptors_to_test=2500   # several tests at a time open up to a thousand connections each
readonly memlock_to_start=512       # KiB: glommio refuses to start with less
readonly memlock_per_core=512       # limits::MEMLOCK_PER_CORE in KiB, needed without CAP_IPC_LOCK
readonly kernel_least=5.13          # has io_uring's multishot poll
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

# Sets up a ring of 8 entries by perl or python3 (system call 425 on every architecture).
# Prints 0, the errno, or nothing if there is neither.
io_uring_setup_errno() {
    if command -v perl >/dev/null; then
        perl -e 'my $params = "\0" x 120; print syscall(425, 8, $params) < 0 ? $! + 0 : 0' && return
    fi
    if command -v python3 >/dev/null; then
        python3 -c '
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(ctypes.get_errno() if libc.syscall(425, 8, ctypes.create_string_buffer(120)) < 0 else 0)'
    fi
}

check_io_uring() {
    local errno sysctl
    errno=$(io_uring_setup_errno 2>/dev/null)
    # From Linux 6.6 on: 0 allows all users, 1 a group and the privileged, 2 none.
    sysctl=$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo none)
    case $errno in
    0) ok "io_uring: a ring can be set up" ;;
    1 | 13)
        if [ "$sysctl" = 1 ] || [ "$sysctl" = 2 ]; then
            lacks "io_uring: forbidden by the sysctl kernel.io_uring_disabled=$sysctl; set it to 0"
        else
            lacks "io_uring: forbidden, most likely by a container's seccomp profile; allow io_uring_setup," \
                "io_uring_enter and io_uring_register (docker run --security-opt seccomp=unconfined allows all)"
        fi
        ;;
    38) lacks "io_uring: this kernel, or what stands in for one, does not have it; use Linux $kernel_least or later" ;;
    12) lacks "io_uring: not enough lockable memory; end other users of io_uring or raise ulimit -l" ;;
    '')
        if [ "$sysctl" = 1 ] || [ "$sysctl" = 2 ]; then
            lacks "io_uring: kernel.io_uring_disabled=$sysctl; set it to 0"
        else
            ok "io_uring: nothing forbids it (kernel.io_uring_disabled: $sysctl), not tried: no perl, no python3"
        fi
        ;;
    *) lacks "io_uring: io_uring_setup fails with errno $errno" ;;
    esac
}

check_kernel() {
    local release
    release=$(uname -r)
    if [ "$(uname -s)" != Linux ]; then
        lacks "kernel: $(uname -s) has no io_uring; use Linux $kernel_least or later"
    elif at_least "${release%%-*}" "$kernel_least"; then
        ok "kernel: $release"
    else
        lacks "kernel: $release; use $kernel_least or later"
    fi
}

# $1: -H or -S, for the hard or the soft limit; $2: how many are needed; $3: what needs them.
check_descriptors() {
    local limit
    limit=$(ulimit "$1n")
    if [ "$limit" = unlimited ] || [ "$limit" -ge "$2" ]; then
        ok "descriptors: $limit"
    else
        lacks "descriptors: $limit, $3 $2; run ulimit -n $2 (the hard limit is $(ulimit -Hn))"
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

# The server raises its soft limits to the hard ones. If memory does not suffice for all cores it starts fewer.
check_memlock_to_run() {
    local limit wanted=$memlock_to_start
    limit=$(ulimit -Hl)
    may_lock_all || wanted=$(($(nproc) * memlock_per_core))
    if [ "$limit" = unlimited ] || [ "$limit" -ge "$wanted" ]; then
        ok "lockable memory: $limit KiB"
    elif [ "$limit" -ge "$memlock_to_start" ]; then
        without "$wanted KiB of lockable memory there may be fewer cores than CPUs: the hard limit is $limit KiB"
    else
        lacks "lockable memory: $limit KiB, a server needs $memlock_to_start; raise the hard limit (LimitMEMLOCK)"
    fi
}

# The kernel counts all servers of a user together: each test thread has up to two, with two cores each.
check_memlock_to_test() {
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

to_run() {
    printf '\nto run:\n'
    check_kernel
    check_io_uring
    check_descriptors -H "$descriptors_to_start" "a server needs"
    check_memlock_to_run
}

to_build() {
    printf '\nto build:\n'
    check_cargo
    check_program cc "glommio's build compiles C" "install gcc and libc6-dev"
    check_program git "glommio's build runs it" "install git"
}

to_test() {
    printf '\nto test:\n'
    check_descriptors -S "$descriptors_to_test" "the tests need"
    check_memlock_to_test
    check_ipv6
    check_nc
    check_program telnet "tests talk through it" "install telnet"
    check_program script "tests run telnet in a terminal of its own" "install bsdutils"
    check_cowsay
    check_systemd
}

case ${1:-all} in
run) to_run ;;
build) to_build ;;
all)
    to_run
    to_build
    to_test
    ;;
*)
    printf 'usage: ci/preflight.sh [run|build]\n' >&2
    exit 2
    ;;
esac
exit "$lacking"
