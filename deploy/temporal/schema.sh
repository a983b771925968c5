#!/bin/sh
# Creates and migrates Temporal's two databases in PostgreSQL. Every step may be repeated.
# Reads POSTGRES_SEEDS, DB_PORT, POSTGRES_USER, SQL_PASSWORD, and TEMPORAL_SCHEMA where it is not at the image's place.
set -eu

migrate() { # DATABASE SCHEMA
  database=$1
  sql create
  sql setup-schema -v 0.0
  sql update-schema -d "${TEMPORAL_SCHEMA:-/etc/temporal/schema/postgresql/v12}/$2/versioned"
}
sql() {
  temporal-sql-tool --plugin postgres12 --ep "$POSTGRES_SEEDS" -p "$DB_PORT" -u "$POSTGRES_USER" --db "$database" "$@"
}

migrate temporal temporal
migrate temporal_visibility visibility
