#!/bin/sh
# Run by the image of PostgreSQL when it makes the database: the API's role, which can only read.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$(cat "$READER_PASSWORD_FILE")" -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
CREATE ROLE npp_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
SQL
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f /etc/npp-read-model/reader.sql
