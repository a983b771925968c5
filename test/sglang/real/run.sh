#!/bin/sh
# Runs the tests against SGLang's own engines on CPU, as root where Docker Engine is: `npm run test:sglang`,
# or those of some files: `npm run test:sglang -- FILES`.
set -eu
cd "$(dirname "$0")/../../.."
TANDEM_SGLANG_ENV=$(sh scripts/sglang/environment.sh)
export TANDEM_SGLANG_ENV
[ $# -gt 0 ] || set -- test/sglang
exec sh scripts/test.sh --runInBand --verbose "$@"
