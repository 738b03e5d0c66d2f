#!/usr/bin/env bash
# Installs the package that ci/deb.sh has built, tries it, removes and purges it: as root, where dpkg may run.
# The server runs as its unit says, but for its port. tests/suite/service_unit.rs starts the installed program under the
# unit's filter of system calls. It asks no systemd: where one runs, the package starts its service, too.
# Exit code 77: it cannot be done here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly unit=/usr/lib/systemd/system/cowchat.service
readonly config=/etc/cowchat/cowchat.toml

skip() {
    printf 'not done: %s\n' "$1"
    exit 77
}

fail() {
    printf 'FAILED: %s\n' "$1" >&2
    exit 1
}

# $1: a file; $2: what a line of it must hold within 10 s.
wait_for() {
    for _ in {1..100}; do
        ! grep -qF "$2" "$1" || return 0
        sleep 0.1
    done
    fail "no '$2' in: $(cat "$1")"
}

package=$(ls target/debian/cowchat_*.deb 2>/dev/null) || skip "no package: ci/deb.sh builds it"
[ "$(id -u)" -eq 0 ] || skip "it needs root"
command -v dpkg >/dev/null || skip "no dpkg here"
# An operator's server must not be purged.
for present in "$unit" "$config" /usr/bin/cowchat /etc/systemd/system/cowchat.service; do
    [ ! -e "$present" ] || skip "$present is here already"
done

scratch=$(mktemp -d)
server=
clean_up() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    dpkg --purge cowchat >/dev/null 2>&1 || true
    rm -r "$scratch"
}
trap clean_up EXIT

dpkg -i "$package"
mapfile -t files < <(dpkg-deb --fsys-tarfile "$package" | tar -t | sed -n 's|^\./\(.*[^/]\)$|/\1|p')
[ "${#files[@]}" -gt 15 ] || fail "the package has too few files"

printf '== what it has\n'
# Some images tell dpkg to leave out pages and documents.
for file in "${files[@]}"; do
    case $file in
    /usr/share/man/* | /usr/share/doc/*) ;;
    *) [ -e "$file" ] || fail "no $file" ;;
    esac
done
[ "$(dpkg-query -W -f '${Conffiles}' cowchat | awk '{ print $1 }')" = "$config" ] || fail "$config is no conffile"
cowchat config --check "$config"
bash -c '. /usr/share/bash-completion/completions/cowchat && complete -p cowchat'

printf '== a server as the unit starts it\n'
read -ra start < <(sed -n 's/^ExecStart=//p' "$unit")
[ "${start[0]}" = /usr/bin/cowchat ] || fail "the unit starts ${start[0]}"
# systemd would make the directory.
readonly control=$scratch/control.sock
COWCHAT_LISTEN=127.0.0.1:0 COWCHAT_CONTROL=$control setsid "${start[@]}" >"$scratch/out" 2>"$scratch/log" </dev/null &
server=$!
wait_for "$scratch/out" 'listening on 127.0.0.1:'
printf '\nflood-burst = 20\n' >>"$config"
kill -HUP "$server"
wait_for "$scratch/log" 'event=reloaded'
cowchat ctl --control "$control" stats | grep -q '^connections_open' || fail "ctl shows no counters"
kill -TERM "$server"
wait "$server" || fail "the server ends with exit code $?"
server=

printf '== under the filter of the unit\n'
COWCHAT_TEST_PROGRAM=/usr/bin/cowchat cargo test --locked --test suite service_unit::

printf '== remove, purge\n'
dpkg --remove cowchat
[ ! -e /usr/bin/cowchat ] && [ ! -e "$unit" ] || fail "it is still there"
grep -q '^flood-burst' "$config" || fail "a removal must keep a changed $config"
dpkg --purge cowchat
for file in "${files[@]}" /etc/cowchat /etc/systemd/system/multi-user.target.wants/cowchat.service; do
    [ ! -e "$file" ] && [ ! -L "$file" ] || fail "$file is left"
done
# dpkg and systemd's helper keep notes of their own.
left=$(find /etc /usr /var/lib/dpkg/info /var/lib/systemd -xdev -name '*cowchat*' -not -path "$PWD/*" || true)
[ -z "$left" ] || fail "left: $left"
printf 'installed, tried, removed, purged: %s\n' "$package"
