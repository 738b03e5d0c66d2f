#!/usr/bin/env bash
# Whether systemd understands every word of ci/cowchat.service, and how exposed it finds the service.
# Needs neither root nor a running systemd. Exit code 77: there is no systemd-analyze.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly systemd_least=250      # the first that checks a file
readonly exposure_tenths_max=15 # of 100; a service that forbids nothing has 96

version=$(systemd-analyze --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p' || true)
if [ "${version:-0}" -lt "$systemd_least" ]; then
    printf 'not checked: systemd-analyze is %s; install systemd %s or later\n' "${version:-missing}" "$systemd_least"
    exit 77
fi
[ "${1:-}" != --can ] || exit 0

scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
unit=$scratch/cowchat.service
# The program must exist.
sed 's|^ExecStart=/[^ ]*|ExecStart=/bin/true|' ci/cowchat.service >"$unit"

# It reports an unknown word, and exits 0. It may report other units, too.
said=$(systemd-analyze verify --man=no "$unit" 2>&1) || { printf '%s\n' "$said" >&2 && exit 1; }
if grep -F cowchat.service <<<"$said" >&2; then
    exit 1
fi
judged=$(systemd-analyze security --offline=true --threshold="$exposure_tenths_max" --no-pager "$unit" 2>&1) || {
    printf '%s\n' "$judged" >&2
    exit 1
}
tail -n 1 <<<"$judged"
