#!/bin/sh
# Runs the tests under their guard, which ends what they leave; arguments go to jest. The last line is
# "N passed, N failed, N skipped".
set -eu
cd "$(dirname "$0")/.."
NODE_OPTIONS='--experimental-vm-modules --no-warnings' exec python3 test/support/guard.py --counts node_modules/.bin/jest "$@"
