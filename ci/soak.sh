#!/usr/bin/env bash
# The long forms of the tests, for before a release: more seeds, schedules and cases, and the whole suite many
# times in a row, which must not fail once; and the figures that belong to the promises in tests/RELIABILITY.md.
# Times and percentiles among those are shown and fail nothing. Stops at the first failure.
# On two cores the figures take two minutes beside the building, and all of it 40; how long each step took is in
# the table at the end. A figure is given up after 20 minutes.
# COWCHAT_SOAK_RUNS: how often the suite runs (default 20).
# COWCHAT_SOAK_ONLY: figures, for these alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

readonly seeds=1000
readonly steps=10000
readonly schedules=100000
readonly cases=100000
readonly chunkings=1000000
readonly endless=1024
readonly runs=${COWCHAT_SOAK_RUNS:-20}
readonly racers=2000
readonly releases=100
readonly talkers=64
readonly numbers=10000
readonly full_queues=1000
readonly stalls=5
readonly stall_messages=2000
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
        line=${line#*figure: }
        rows+=("$(printf '%-34s %8s    %s' '' '' "${line# }")")
    done <<<"$found"
}

# $1: what; $2: how many; $3: the file of tests; $4: how its tests' names begin that print the figure; the rest:
# what they are told by their environment. As a release, but for the faults on purpose, which that does not have.
figure_of_tests() {
    local what=$1 count=$2 file=$3 names=$4 release=(--release)
    shift 4
    [ "$file" != own_faults ] || release=()
    figure "$what" "$count" 'figure: ' env "$@" \
        timeout 20m cargo test --locked "${release[@]}" --test "$file" -- --nocapture "$names"
}

stampede() {
    timeout 20m cargo bench --locked --bench stampede -- "$@"
}

figures() {
    figure_of_tests "forty racers for each cow (I1)" "$racers" ownership of_forty_clients COWCHAT_RACERS="$racers"
    figure_of_tests "cows are free again (I3)" "$((4 * releases))" ownership a_cow_is_given COWCHAT_RELEASES="$releases"
    figure_of_tests "numbered messages (I4 to I6)" "$talkers" delivery numbered_messages \
        COWCHAT_TALKERS="$talkers" COWCHAT_NUMBERS="$numbers"
    figure "one of them never reads (I7)" 1000 '^cut after|counted:' stampede slow --receivers 1000
    figure "idle connections (I12, I21)" "$idle" ' a connection$| and core$' stampede idle --clients "$idle"
    figure_of_tests "full queues (I12)" "$full_queues" limits however_many_queues COWCHAT_FULL_QUEUES="$full_queues"
    figure_of_tests "faults that end the process (I14)" 8 own_faults armed::a_panic
    figure_of_tests "drained in a flood of yields (I15)" "$drained" shutdown a_hundred_clients \
        COWCHAT_DRAIN_CLIENTS="$drained"
    figure_of_tests "out of descriptors (I17)" 1 faults out_of_descriptors
    figure_of_tests "a stalled core (I18)" "$stalls" own_faults armed::who_has_nothing \
        COWCHAT_STALLS="$stalls" COWCHAT_STALL_MESSAGES="$stall_messages"
    figure "one floods beside talkers (I19)" 100 '^p50 of the talkers|counted:' stampede flood
}

any_chunks() {
    env PROPTEST_CASES="$chunkings" cargo test --locked --release --lib any_split_of_any_bytes &&
        env PROPTEST_CASES="$chunkings" cargo test --locked --release --test framing any_bytes_in_any_chunks
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
soak "input in any chunks (I13), cases" "$chunkings" any_chunks
soak "a line without an end, MB" "$endless" env COWCHAT_ENDLESS_MB="$endless" cargo test --locked --release --test faults \
    after_every_fault
soak "no faults on purpose in a release" 1 cargo test --locked --release --test own_faults
soak "whole suite, runs" "$runs" whole_suite
