#!/usr/bin/env bash
# Makes the pictures of README.md: ci/conversation.svg, what netcat shows of a conversation over a real server, and
# ci/client.svg, what `cowchat connect` shows of one. The same program gives the same bytes, so a difference is a change in
# what users see. Needs python3 3.10 or later, tmux 3.1 or later, and bash for its /dev/tcp.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

readonly line_seconds_max=10 # a line takes milliseconds
readonly looks_max=200       # at the client's screen, 50 ms apart

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

# Prints the screen of netcat, which `guest` stands for.
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

# A tmux of its own, without the user's settings.
terminal() {
    tmux -u -S "$scratch/tmux" -f /dev/null "$@"
}

# $1: a text. Waits until the client's screen has it.
wait_for() {
    local looks shown
    for ((looks = 0; looks < looks_max; looks++)); do
        shown=$(terminal capture-pane -p)
        [[ $shown != *"$1"* ]] || return 0
        sleep 0.05
    done
    fail "the client did not show $1"
}

# $1: what the client shows then; the rest: keys. A word that is no name of a key is typed.
press() {
    terminal send-keys "${@:2}"
    wait_for "$1"
}

# Chats in the client as clefairy. `host` is ferris, `friend` becomes togepi.
chat() {
    # With an empty environment, as the server; the time is no time, so that it stays.
    terminal new-session -d -x 80 -y 35 env -i TERM=tmux-256color LC_ALL=C.UTF-8 \
        target/release/cowchat connect "127.0.0.1:$port" --no-history --time 12:03
    wait_for "cows are free"
    press "chocobo  cirno  clefairy  cow" "login c" Tab
    press "login clefairy" l Tab
    press "Logged in as clefairy" Enter
    press "pictures: half" "art half" Enter
    ask "$friend" login togepi
    wait_for "togepi has joined"
    ask "$host" yield "is there room in the barn?"
    wait_for "in the barn?"
    ask "$friend" say clefairy "not a word about the hay!"
    wait_for "about the hay!"
    press "clefairy> at noon" "at noon"
    press "/r let us meet at noon" Home "/r let us meet "
}

# $1: the file; the rest: what ci/ansi2svg.py is given. Draws the screen on stdin. A file is written when it is complete.
draw() {
    local drawing
    drawing=$(ci/ansi2svg.py "${@:2}")
    printf '%s\n' "$drawing" >"$1"
    printf '%s: %s bytes\n' "$1" "$(stat -c %s "$1")"
}

cargo build --release --locked
scratch=$(mktemp -d)
# With an empty environment: a COWCHAT_ variable would change the picture.
exec {server_says}< <(exec env -i target/release/cowchat serve --listen 127.0.0.1:0 --log warn)
server=$!
end() {
    terminal kill-server 2>/dev/null || true
    kill "$server" 2>/dev/null && wait "$server" || true
    rm -r "$scratch"
}
trap end EXIT
listening=$(next_line "$server_says")
[[ $listening =~ ^listening\ on\ 127\.0\.0\.1:([0-9]+)\  ]] || fail "the server said: $listening"
port=${BASH_REMATCH[1]}
exec {host}<>"/dev/tcp/127.0.0.1/$port" {guest}<>"/dev/tcp/127.0.0.1/$port" {friend}<>"/dev/tcp/127.0.0.1/$port"

screen=$(conversation)
draw ci/conversation.svg "A conversation in cowchat" <<<"$screen"

chat
screen=$(terminal capture-pane -e -p -N)
read -r column row < <(terminal display-message -p '#{cursor_x} #{cursor_y}')
draw ci/client.svg "The client of cowchat at a terminal" "$column" "$row" <<<"${screen//127.0.0.1:$port/127.0.0.1:1337}"
