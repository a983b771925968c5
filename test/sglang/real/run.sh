#!/bin/sh
# Runs the tests against SGLang's own engines on CPU, as root where Docker Engine is: `npm run test:sglang`,
# or those of some files: `npm run test:sglang -- FILES`. TANDEM_SGLANG=0.5.10.post1 runs one version of them alone.
set -eu
cd "$(dirname "$0")/../../.."
for version in ${TANDEM_SGLANG:-0.5.10.post1 0.5.23}; do
  folder=$(sh scripts/sglang/environment.sh "$version")
  TANDEM_SGLANG_ENV=${TANDEM_SGLANG_ENV:+$TANDEM_SGLANG_ENV }$version=$folder
done
export TANDEM_SGLANG_ENV
[ $# -gt 0 ] || set -- test/sglang
exec sh scripts/test.sh --runInBand --verbose "$@"
