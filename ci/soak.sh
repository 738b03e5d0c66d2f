#!/usr/bin/env bash
# The long forms of the tests, for before a release: more seeds, schedules and cases, and the whole suite many
# times in a row, which must not fail once; and the figures that belong to the promises in tests/RELIABILITY.md.
# Times and percentiles among those are shown and fail nothing. Stops at the first failure.
# On two cores the figures take a minute and a half beside the building; each of them is given up after 20 minutes.
# How long the rest takes is in the table at the end.
# COWCHAT_SOAK_RUNS: how often the suite runs (default 20).
# COWCHAT_SOAK_ONLY: figures, for these alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

readonly seeds=1000
readonly steps=10000
readonly schedules=100000
readonly cases=100000
readonly endless=1024
readonly runs=${COWCHAT_SOAK_RUNS:-20}
readonly full_queues=1000
# Each client is a descriptor of the server's and two of a test's, which has some more.
ulimit -n "$(ulimit -Hn)"
descriptors=$(ulimit -n)
[ "$descriptors" != unlimited ] || descriptors=1048576
readonly idle=$((descriptors > 20000 ? 19000 : descriptors - 1000))
readonly drained=$((descriptors > 11000 ? 5000 : (descriptors - 1000) / 2))
rows=()

# Prints what has been done so far, also when a step has failed.
report() {
    printf '\n%-34s %8s  %s\n' what "how many" result
    [ "${#rows[@]}" -eq 0 ] || printf '%s\n' "${rows[@]}"
}
trap report EXIT

row() {
    rows+=("$(printf '%-34s %8s  %s' "$1" "$2" "$3")")
}

# $1: what; $2: how many; the rest: the command.
soak() {
    local what=$1 count=$2 began=$SECONDS
    shift 2
    printf '\n== %s: %s\n' "$what" "$count"
    if "$@"; then
        row "$what" "$count" "passed in $((SECONDS - began)) s"
    else
        row "$what" "$count" "FAILED after $((SECONDS - began)) s"
        exit 1
    fi
}

# $1: what; $2: how many; $3: the lines of the output that are its figures, as an extended regular expression; the
# rest: the command, which must print at least one of these.
figure() {
    local what=$1 count=$2 lines=$3 output found line
    shift 3
    output=$(mktemp)
    show() {
        "$@" 2>&1 | tee "$output"
    }
    soak "$what" "$count" show "$@"
    found=$(grep -E "$lines" "$output" | tr -s ' ') || { printf 'no figure of %s\n' "$what" >&2; exit 1; }
    rm -f "$output"
    while IFS= read -r line; do
        rows+=("$(printf '%-34s %8s    %s' '' '' "${line# }")")
    done <<<"$found"
}

stampede() {
    timeout 20m cargo bench --locked --bench stampede -- "$@"
}

figures() {
    figure "one floods beside talkers (I19)" 100 '^p50 of the talkers|counted:' stampede flood
    figure "one of them never reads (I7)" 1000 '^cut after|counted:' stampede slow --receivers 1000
    figure "idle connections (I12, I21)" "$idle" ' a connection$| and core$' stampede idle --clients "$idle"
    figure "full queues (I12)" "$full_queues" ' full queues: [0-9]' env COWCHAT_FULL_QUEUES="$full_queues" \
        timeout 20m cargo test --locked --release --test limits -- --nocapture however_many_queues_are_full
    figure "drained in a flood of yields (I15)" "$drained" '^drain: ' env COWCHAT_DRAIN_CLIENTS="$drained" \
        timeout 20m cargo test --locked --release --test shutdown -- --nocapture a_hundred_clients_that_yield
}

whole_suite() {
    local run
    for ((run = 1; run <= runs; run++)); do
        printf '\n== run %s of %s\n' "$run" "$runs"
        cargo test --locked || { printf 'run %s of %s failed\n' "$run" "$runs" >&2; return 1; }
    done
}

figures
[ "${COWCHAT_SOAK_ONLY:-}" != figures ] || exit 0
soak "simulation, seeds of $steps steps" "$seeds" env COWCHAT_SIM_SEEDS="$seeds" COWCHAT_SIM_STEPS="$steps" \
    cargo test --locked --release --test simulation
soak "claims, schedules of each kind" "$schedules" env COWCHAT_CLAIMS_SCHEDULES="$schedules" \
    cargo test --locked --release --features shuttle --test claims
soak "protocol properties, cases each" "$cases" env PROPTEST_CASES="$cases" cargo test --locked --release --lib --test framing
soak "a line without an end, MB" "$endless" env COWCHAT_ENDLESS_MB="$endless" cargo test --locked --release --test faults \
    after_every_fault
soak "no faults on purpose in a release" 1 cargo test --locked --release --test own_faults
soak "whole suite, runs" "$runs" whole_suite
