#!/bin/sh
# Runs the quick tiers (pure rooms, views, command lines) on the other supported releases of Node.js, beside the one that
# is installed: `npm run test:node`. Their binaries come from npm; nothing of it gets into package.json.
set -eu
cd "$(dirname "$0")/.."

RELEASES='22.23.3 24.21.0'
QUICK='test/spec test/plan test/facts test/checks test/sglang test/cli test/codec test/client'

for release in $RELEASES; do
  at=node_modules/.cache/tandem/node-$release
  # The package `node` is only a script that installs the one of this machine: its binary is asked for directly.
  package=node-linux-$(node -p process.arch)
  binary=$at/node_modules/$package/bin/node
  [ -x "$binary" ] || npm install --silent --no-save --no-package-lock --prefix "$at" "$package@$release" >&2
  printf 'Node.js %s\n' "$("$binary" --version)" >&2
  # shellcheck disable=SC2086 # Folders, each a word.
  NODE_OPTIONS='--experimental-vm-modules --no-warnings' "$binary" node_modules/.bin/jest $QUICK \
    --reporters default ./test/support/summary-reporter.mjs
done
