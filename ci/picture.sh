#!/usr/bin/env bash
# Makes ci/conversation.svg: what a colour terminal shows of a conversation, held by two clients with a
# real server. The same server gives the same bytes, so a difference is a change in what users see.
# Needs python3 3.10 or later, and bash for its /dev/tcp.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

readonly picture=ci/conversation.svg
readonly patience=10 # seconds for any one line, which takes milliseconds

fail() {
    printf 'picture: %s\n' "$*" >&2
    exit 1
}

# $1: a descriptor. Prints the next line that arrives on it.
hear() {
    local line
    IFS= read -r -t "$patience" -u "$1" line || fail "nothing came for $patience seconds"
    printf '%s\n' "$line"
}

# $1: a client; the rest: its command, unseen. Fails when the reply is an error.
ask() {
    local client=$1 reply
    printf '%s\n' "${*:2}" >&"$client"
    reply=$(hear "$client")
    [[ $reply != error:* ]] || fail "${*:2}: $reply"
}

# What was typed is bold, so that a reader can tell it from what came.
show_typed() {
    printf '\e[1m%s\e[22m\n' "$*"
}

# $1: a client; the rest: its command, which is shown with its one line of reply.
type_in() {
    show_typed "${@:2}"
    printf '%s\n' "${*:2}" >&"$1"
    hear "$1"
}

# Prints the screen of the client `guest`.
conversation() {
    local line
    # The usual port, whichever it was this time.
    show_typed '$ nc 127.0.0.1 1337'
    ask "$host" login ferris
    type_in "$guest" login clefairy
    type_in "$guest" who
    type_in "$guest" say ferris "are you a cow?"
    hear "$host" >/dev/null
    ask "$host" say clefairy "in here, everybody is"
    # A message is queued whole: once its first line is here, all of it comes before the next reply.
    hear "$guest"
    printf 'quit\n' >&"$guest"
    line=$(hear "$guest")
    while [ "$line" != Goodbye. ]; do
        printf '%s\n' "$line"
        line=$(hear "$guest")
    done
    show_typed quit
    printf '%s\n' "$line"
}

cargo build --release --locked
# Without the environment: a COWCHAT_ variable would change the picture.
exec {server_says}< <(exec env -i target/release/cowchat serve --listen 127.0.0.1:0 --log warn)
server=$!
trap 'kill "$server" 2>/dev/null && wait "$server" || true' EXIT
listening=$(hear "$server_says")
[[ $listening =~ ^listening\ on\ 127\.0\.0\.1:([0-9]+)\  ]] || fail "the server said: $listening"
port=${BASH_REMATCH[1]}
exec {host}<>"/dev/tcp/127.0.0.1/$port" {guest}<>"/dev/tcp/127.0.0.1/$port"

screen=$(conversation)
# Written only when it is complete.
drawing=$(ci/ansi2svg.py "A conversation in cowchat" <<<"$screen")
printf '%s\n' "$drawing" >"$picture"
printf '%s: %s bytes\n' "$picture" "$(stat -c %s "$picture")"
