#!/usr/bin/env bash
# Starts a NATS server and three cowchat servers on loopback, logs in a cow on each, and shows them talking. Then it stops all.
# It needs nats-server and nc, and builds cowchat if need be.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/sbin # where Debian has nats-server

for program in nats-server nc; do
    command -v "$program" >/dev/null || { echo "install $program" && exit 1; }
done
cargo build --release --locked --features cluster --bin cowchat
readonly program=${CARGO_TARGET_DIR:-target}/release/cowchat
scratch=$(mktemp -d)
started=()
clean_up() {
    [ "${#started[@]}" -eq 0 ] || kill "${started[@]}" 2>/dev/null || true
    wait
    rm -r "$scratch"
}
trap clean_up EXIT

# $1: a file; $2: what it must hold, within 10 s. Prints the last line that does.
wait_for() {
    for _ in {1..100}; do
        ! grep -e "$2" "$1" 2>/dev/null | tail -1 | grep . || return 0
        sleep 0.1
    done
    echo "no '$2' in: $(cat "$1")" >&2
    exit 1
}

nats-server -js -a 127.0.0.1 -p -1 -sd "$scratch/store" --ports_file_dir "$scratch" 2>/dev/null &
started+=($!)
for _ in {1..100}; do
    ! compgen -G "$scratch/*.ports" >/dev/null || break
    sleep 0.1
done
url=$(grep -o 'nats://[0-9.:]*' "$scratch"/*.ports | head -1)

# $1: a node. Starts it, and sets `ports`.
declare -A ports clients
node() {
    "$program" serve --listen 127.0.0.1:0 --cores 1 --art small --cluster "$url" --node "$1" \
        >"$scratch/$1.out" 2>"$scratch/$1.log" </dev/null &
    started+=($!)
    ports[$1]=$(wait_for "$scratch/$1.out" '^listening on' | grep -o '127.0.0.1:[0-9]*' | cut -d: -f2)
    wait_for "$scratch/$1.log" 'event=cluster_reached' >/dev/null
}

# $1: a node; $2: a cow. Logs it in there.
user() {
    mkfifo "$scratch/$2.in"
    nc 127.0.0.1 "${ports[$1]}" <"$scratch/$2.in" >"$scratch/$2.seen" &
    started+=($!)
    exec {fd}>"$scratch/$2.in"
    clients[$2]=$fd
    line "$1" "$2" "login $2" '^Logged in'
}

# $1: a node; $2: a cow; $3: its line; $4: what its reply holds.
line() {
    printf '%s, on node %s> %s\n' "$2" "$1" "$3"
    printf '%s\n' "$3" >&"${clients[$2]}"
    wait_for "$scratch/$2.seen" "$4"
}

for node in a b c; do node $node; done
user a tux
user b clefairy
user c togepi
for cow in tux clefairy togepi; do wait_for "$scratch/$cow.seen" . >/dev/null; done
until printf 'who\n' | nc -q 1 127.0.0.1 "${ports[a]}" | grep -q 'clefairy, togepi, tux'; do sleep 0.1; done
line a tux who '^Registered'
line a tux 'say clefairy hi from another machine' '^Sent'
wait_for "$scratch/clefairy.seen" '^tux says' >/dev/null
printf 'clefairy, on node b, sees:\n'
tail -n 9 "$scratch/clefairy.seen"
line c togepi 'yield hello, both of you' '^Sent'
wait_for "$scratch/tux.seen" '^togepi says' >/dev/null
printf 'tux, on node a, sees:\n'
sed -n '/^togepi says/,$p' "$scratch/tux.seen"
