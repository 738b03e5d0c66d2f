#!/usr/bin/env bash
# What a change to the cluster must pass: lints of its code, and the tests of promises C1 to C9 with a real NATS server, one for
# each test. As root on Debian it installs nats-server and openssl. Exit code 77: one of them is lacking.
# The first nats-server of PATH is used, so put the folder of another version in front.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

export PATH=$PATH:/usr/sbin # where Debian has it
lacking() {
    ! command -v nats-server >/dev/null || ! command -v openssl >/dev/null
}
if lacking && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update || true
    # It must not start as a service: each test has one of its own.
    policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] && policy= || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; }
    apt-get -q install -y --no-install-recommends nats-server openssl || true
    [ -z "$policy" ] || rm "$policy"
fi
! lacking || { echo 'not done: install nats-server and openssl' && exit 77; }

# The tests open thousands of connections.
ulimit -Sn "$(ulimit -Hn)"
cargo clippy --workspace --all-targets --locked --features cluster -- -D warnings
cargo test --locked --features cluster --lib -- cluster:: bridge::
cargo test --locked --features cluster --test suite -- cluster:: cluster_security::
