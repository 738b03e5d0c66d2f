#!/usr/bin/env bash
# The long forms of the tests, before a release: more seeds, schedules and cases; the whole suite many times in a row,
# without one failure; and the figures of the promises in tests/RELIABILITY.md, of which times and percentiles are shown
# and fail nothing. Stops at the first failure.
# On two cores the figures take eleven minutes with the build, and everything two and a half hours, two of them for the whole
# suite twenty times; the table at the end has the time of each step. A test run that takes longer than 30 minutes fails.
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
readonly only=${COWCHAT_SOAK_ONLY:-}
readonly step_max=30m
readonly descriptors_needed=5000 # 2,000 racers, each with two in the test, and some more
readonly racers=2000
readonly releases=100
readonly talkers=64
readonly numbers=10000
readonly full_queues=1000
readonly cluster_messages=100000
readonly cluster_races=1000
readonly stalls=5
readonly stall_messages=2000
readonly cow_files=2000
readonly burst_lines=40

# $*: what to change first.
refuse() {
    printf '%s\n' "$*" >&2
    exit 2
}

[[ $runs =~ ^[1-9][0-9]*$ ]] || refuse "COWCHAT_SOAK_RUNS=$runs: use a whole number from 1"
[[ $only =~ ^(figures)?$ ]] || refuse "COWCHAT_SOAK_ONLY=$only: use figures, or leave it out"
# A client is one descriptor of the server and two of the test, which has some more.
ulimit -n "$(ulimit -Hn)"
descriptors=$(ulimit -n)
[ "$descriptors" != unlimited ] || descriptors=1048576
[ "$descriptors" -ge "$descriptors_needed" ] ||
    refuse "$descriptors file descriptors are too few: allow $descriptors_needed or more (ulimit -Hn, LimitNOFILE)"
readonly idle=$((descriptors > 20000 ? 19000 : descriptors - 1000))
readonly drained=$((descriptors > 11000 ? 5000 : (descriptors - 1000) / 2))
rows=()

# Prints what is done so far, also when a step fails.
report() {
    printf '\n%-34s %8s  %s\n' what "how many" result
    [ "${#rows[@]}" -eq 0 ] || printf '%s\n' "${rows[@]}"
}
trap report EXIT

row() {
    rows+=("$(printf '%-34s %8s  %s' "$1" "$2" "$3")")
}

# $1: a name; $2: how many; the rest: the command.
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

# $1: a name; $2: how many; $3: an extended regular expression for the lines of the output that are figures; the rest: the
# command, which must print at least one of them.
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

# VARIABLE=value ...; the rest: the command that gets them.
with() {
    while [[ $1 == *=* ]]; do
        local -x "$1"
        shift
    done
    "$@"
}

# cargo test, but it fails when no test has the name: cargo does not.
# shellcheck disable=SC2120 # with() passes arguments
cargo_test() {
    local output code=0
    output=$(mktemp)
    timeout "$step_max" cargo test --locked "$@" 2>&1 | tee "$output" || code=$?
    if [ "$code" -eq 0 ] && ! grep -Eq '^test result: ok\. [1-9]' "$output"; then
        printf 'no test ran: cargo test %s\n' "$*" >&2
        code=1
    fi
    rm -f "$output"
    return "$code"
}

# $1: a name; $2: how many; $3: the file of tests; $4: the beginning of the names of the tests that print the figure; the
# rest: variables for them. As a release, except for the deliberate faults, which a release does not have.
figure_of_tests() {
    local what=$1 count=$2 file=$3 names=$4 release=(--release)
    shift 4
    [ "$file" != server_faults ] || release=()
    figure "$what" "$count" 'figure: ' with "$@" cargo_test "${release[@]}" --test suite -- --nocapture "$file::$names"
}

stampede() {
    timeout "$step_max" cargo bench --locked --bench stampede -- "$@"
}

figures() {
    figure_of_tests "forty racers for each cow (I1)" "$racers" ownership one_winner_for_each_cow COWCHAT_RACERS="$racers"
    figure_of_tests "cows are free again (I3)" "$((4 * releases))" ownership a_cow_is_free_again COWCHAT_RELEASES="$releases"
    figure_of_tests "numbered messages (I4 to I6)" "$talkers" delivery numbered_messages \
        COWCHAT_TALKERS="$talkers" COWCHAT_NUMBERS="$numbers"
    figure "one of them never reads (I7)" 1000 '^cut after|counted:' stampede slow --receivers 1000
    figure "idle connections (I12, I21)" "$idle" ' a connection$| and core$' stampede idle --clients "$idle"
    figure_of_tests "full queues (I12)" "$full_queues" limits however_many_queues COWCHAT_FULL_QUEUES="$full_queues"
    figure_of_tests "faults that end the process (I14)" 8 server_faults armed::a_panic
    figure_of_tests "drained in a flood of yields (I15)" "$drained" shutdown a_drain_under_load \
        COWCHAT_DRAIN_CLIENTS="$drained"
    figure_of_tests "out of descriptors (I17)" 1 client_faults out_of_descriptors
    figure_of_tests "a stalled core (I18)" "$stalls" server_faults armed::sessions_apart \
        COWCHAT_STALLS="$stalls" COWCHAT_STALL_MESSAGES="$stall_messages"
    figure_of_tests "one address beside readers (I24)" "$burst_lines" readers what_one_address \
        COWCHAT_BURST_LINES="$burst_lines"
    figure "one floods beside talkers (I19)" 100 '^p50 of the talkers|counted:' stampede flood
    for kind in reconnect expensive many burst all; do
        figure "one address floods: $kind (I23, I24)" 10 '^p50 of the talkers|counted:' stampede flood --kind "$kind" \
            --pairs-of-cows 5 --pairs 3
    done
}

properties() {
    with PROPTEST_CASES="$cases" cargo_test --release --lib &&
        with PROPTEST_CASES="$cases" cargo_test --release --test suite framing::
}

any_chunks() {
    with PROPTEST_CASES="$chunkings" cargo_test --release --lib any_split_gives_the_same &&
        with PROPTEST_CASES="$chunkings" cargo_test --release --test suite framing::any_bytes_in_any_chunks
}

# shellcheck disable=SC2119 # no arguments: all tests
whole_suite() {
    local run
    for ((run = 1; run <= runs; run++)); do
        printf '\n== run %s of %s\n' "$run" "$runs"
        cargo_test || { printf 'run %s of %s failed\n' "$run" "$runs" >&2; return 1; }
    done
}

# C1 to C8, with many more messages and races, five times.
cluster() {
    local run
    export PATH=$PATH:/usr/sbin # where Debian has nats-server
    command -v nats-server >/dev/null || { echo 'install nats-server' >&2 && return 1; }
    for ((run = 1; run <= 5; run++)); do
        with COWCHAT_CLUSTER_MESSAGES="$cluster_messages" COWCHAT_CLUSTER_RACES="$cluster_races" \
            cargo_test --release --features cluster --test suite cluster:: || return 1
    done
}

figures
[ -z "$only" ] || exit 0
soak "simulation, seeds of $steps steps" "$seeds" with COWCHAT_SIM_SEEDS="$seeds" COWCHAT_SIM_STEPS="$steps" \
    cargo_test --release --test simulation
soak "several servers (C1 to C8), messages" "$cluster_messages" cluster
soak "claims, schedules of each kind" "$schedules" with COWCHAT_CLAIMS_SCHEDULES="$schedules" \
    cargo_test --release -p claims
soak "protocol properties, cases each" "$cases" properties
soak "input in any chunks (I13), cases" "$chunkings" any_chunks
soak "a line without an end, MB" "$endless" with COWCHAT_ENDLESS_MB="$endless" cargo_test --release --test suite \
    framing::a_line_without_an_end
soak "cow files, generated" "$cow_files" with COWCHAT_COW_FILES="$cow_files" cargo_test --release --test suite \
    cow_files::generated_cow_files
soak "no faults on purpose in a release" 1 cargo_test --release --test suite server_faults::
soak "whole suite, runs" "$runs" whole_suite
