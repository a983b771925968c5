#!/bin/sh
# Runs the tests; arguments go to jest. The last line is "N passed, N failed, N skipped".
set -eu
cd "$(dirname "$0")/.."
# The reporters come last: their option takes every word that follows.
NODE_OPTIONS='--experimental-vm-modules --no-warnings' exec node_modules/.bin/jest "$@" \
  --reporters default ./test/support/summary-reporter.mjs
