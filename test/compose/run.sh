#!/bin/sh
# Runs the parts of docker-compose.yml as one, as root where Go and PostgreSQL's programs are: `npm run test:compose`.
set -eu
cd "$(dirname "$0")/../.."
TANDEM_TEMPORAL_BUILD=$(sh test/compose/build.sh)
export TANDEM_TEMPORAL_BUILD
exec sh scripts/test.sh --runInBand --verbose test/compose
