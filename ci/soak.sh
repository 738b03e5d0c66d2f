#!/usr/bin/env bash
# The long forms of the tests, for before a release: more seeds, schedules and cases, and the whole suite many
# times in a row, which must not fail once. Stops at the first failure.
# COWCHAT_SOAK_RUNS: how often the suite runs (default 20).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

readonly seeds=1000
readonly steps=10000
readonly schedules=100000
readonly cases=100000
readonly endless=1024
readonly runs=${COWCHAT_SOAK_RUNS:-20}
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

whole_suite() {
    local run
    for ((run = 1; run <= runs; run++)); do
        printf '\n== run %s of %s\n' "$run" "$runs"
        cargo test --locked || { printf 'run %s of %s failed\n' "$run" "$runs" >&2; return 1; }
    done
}

soak "simulation, seeds of $steps steps" "$seeds" env COWCHAT_SIM_SEEDS="$seeds" COWCHAT_SIM_STEPS="$steps" \
    cargo test --locked --release --test simulation
soak "claims, schedules of each kind" "$schedules" env COWCHAT_CLAIMS_SCHEDULES="$schedules" \
    cargo test --locked --release --features shuttle --test claims
soak "protocol properties, cases each" "$cases" env PROPTEST_CASES="$cases" cargo test --locked --release --lib --test framing
soak "a line without an end, MB" "$endless" env COWCHAT_ENDLESS_MB="$endless" cargo test --locked --release --test faults \
    after_every_fault
soak "no faults on purpose in a release" 1 cargo test --locked --release --test own_faults
soak "whole suite, runs" "$runs" whole_suite
