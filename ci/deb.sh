#!/usr/bin/env bash
# Builds the Debian package into target/debian/, by cargo-deb 3 (`cargo install cargo-deb`), and has lintian look at it.
# Exit code 77: cargo-deb is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly built=${CARGO_TARGET_DIR:-target}/release/cowchat
readonly staged=target/deb # Cargo.toml, [package.metadata.deb], names it

command -v cargo-deb >/dev/null || { echo 'not built: install cargo-deb: cargo install cargo-deb' && exit 77; }

cargo build --release --locked --features cluster --bin cowchat
rm -rf "$staged"
mkdir -p "$staged/man" "$staged/completions" target/debian
"$built" generate man "$staged/man"
"$built" generate completions bash >"$staged/completions/cowchat"
"$built" generate completions zsh >"$staged/completions/_cowchat"
"$built" generate completions fish >"$staged/completions/cowchat.fish"
# Programs of packages are not in /usr/local.
sed 's|^ExecStart=/usr/local/bin/|ExecStart=/usr/bin/|' ci/cowchat.service >"$staged/cowchat.service"

rm -f target/debian/cowchat_*.deb
cargo deb --no-build --locked --strip --output target/debian/
package=$(echo target/debian/cowchat_*.deb)
if command -v lintian >/dev/null; then
    # As another user: it warns of root.
    lintian --allow-root --fail-on error "$package"
else
    echo 'lintian is missing: the package is not checked'
fi
printf '%s\n' "$package"
