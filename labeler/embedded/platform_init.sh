#!/bin/sh
# Runs once in a new PostgreSQL container: the platform's database and the role that may only read it. In production
# these are the platform's own; then PLATFORM_DATABASE_URL names its server and this is not needed.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres --command "CREATE DATABASE platform"
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname platform --set password="$PLATFORM_READER_PASSWORD" <<'SQL'
CREATE TABLE datasets (id text PRIMARY KEY, name text NOT NULL, num_items integer);
CREATE TABLE users (id text PRIMARY KEY, name text, email text);
CREATE ROLE labeler_reader LOGIN PASSWORD :'password';
ALTER ROLE labeler_reader SET default_transaction_read_only = on;
GRANT SELECT ON datasets, users TO labeler_reader;
SQL
