#!/usr/bin/env bash
# Makes ci/conversation.svg: a conversation of two clients over a real server, as a colour terminal shows it.
# The same server gives the same bytes, so a difference is a change in what users see.
# Needs python3 3.10 or later, and bash for its /dev/tcp.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

readonly picture=ci/conversation.svg
readonly line_seconds_max=10 # a line takes milliseconds

fail() {
    printf 'picture: %s\n' "$*" >&2
    exit 1
}

# $1: a descriptor. Prints the next line that arrives on it.
next_line() {
    local line
    IFS= read -r -t "$line_seconds_max" -u "$1" line || fail "nothing came for $line_seconds_max seconds"
    printf '%s\n' "$line"
}

# $1: a client; the rest: its command, which is not shown. Fails when the reply is an error.
ask() {
    local client=$1 reply
    printf '%s\n' "${*:2}" >&"$client"
    reply=$(next_line "$client")
    [[ $reply != error:* ]] || fail "${*:2}: $reply"
}

# Typed text is bold, so that it differs from output.
show_typed() {
    printf '\e[1m%s\e[22m\n' "$*"
}

# $1: a client; the rest: its command, which is shown with its reply of one line.
type_in() {
    show_typed "${@:2}"
    printf '%s\n' "${*:2}" >&"$1"
    next_line "$1"
}

# Prints the screen of client `guest`.
conversation() {
    local line
    # The default port, not the one of this run.
    show_typed '$ nc 127.0.0.1 1337'
    ask "$host" login ferris
    type_in "$guest" login clefairy
    type_in "$guest" who
    type_in "$guest" say ferris "are you a cow?"
    next_line "$host" >/dev/null
    ask "$host" say clefairy "in here, everybody is"
    # A message is queued whole: after its first line the rest precedes the next reply.
    next_line "$guest"
    printf 'quit\n' >&"$guest"
    line=$(next_line "$guest")
    while [ "$line" != Goodbye. ]; do
        printf '%s\n' "$line"
        line=$(next_line "$guest")
    done
    show_typed quit
    printf '%s\n' "$line"
}

cargo build --release --locked
# With an empty environment: a COWCHAT_ variable would change the picture.
exec {server_says}< <(exec env -i target/release/cowchat serve --listen 127.0.0.1:0 --log warn)
server=$!
trap 'kill "$server" 2>/dev/null && wait "$server" || true' EXIT
listening=$(next_line "$server_says")
[[ $listening =~ ^listening\ on\ 127\.0\.0\.1:([0-9]+)\  ]] || fail "the server said: $listening"
port=${BASH_REMATCH[1]}
exec {host}<>"/dev/tcp/127.0.0.1/$port" {guest}<>"/dev/tcp/127.0.0.1/$port"

screen=$(conversation)
# Written only when the drawing is complete.
drawing=$(ci/ansi2svg.py "A conversation in cowchat" <<<"$screen")
printf '%s\n' "$drawing" >"$picture"
printf '%s: %s bytes\n' "$picture" "$(stat -c %s "$picture")"
