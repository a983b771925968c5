#!/bin/sh
# Builds the programs of docker-compose.yml's images from the same releases, once, where no image can be pulled: prints
# the folder with temporal-server, temporal-sql-tool, temporal-ui-server, the schema of the one and the config of the other.
set -eu
server=v1.32.0 ui=v2.54.1
folder=${XDG_CACHE_HOME:-$HOME/.cache}/tandem/temporal-$server-$ui
if [ ! -e "$folder/.complete" ]; then
  command -v go >/dev/null || { echo "Go is needed to build Temporal's server" >&2; exit 1; }
  rm -rf "$folder"
  mkdir -p "$folder"
  sources=$(mktemp -d)
  trap 'chmod -R u+w "$sources"; rm -rf "$sources"' EXIT
  # A copy of a module's sources, since those in Go's cache cannot be built with their own replacements.
  sources_of() {
    (cd "$sources" && go mod download -json "$1") | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'
  }
  echo "Temporal $server and its UI $ui are built into $folder: some ten minutes …" >&2
  cp -R "$(sources_of "go.temporal.io/server@$server")" "$sources/server"
  cp -R "$(sources_of "github.com/temporalio/ui-server/v2@$ui")" "$sources/ui"
  chmod -R u+w "$sources"
  (cd "$sources/server" && go build -o "$folder/temporal-server" ./cmd/server)
  (cd "$sources/server" && go build -o "$folder/temporal-sql-tool" ./cmd/tools/sql)
  (cd "$sources/ui" && go build -o "$folder/temporal-ui-server" ./cmd/server)
  cp -R "$sources/server/schema/postgresql/v12" "$folder/schema"
  cp -R "$sources/ui/config" "$folder/config"
  : >"$folder/.complete"
fi
echo "$folder"
