"""The platform's database as the embedded default has it: two tables, an owner, and a role that may only read."""

from __future__ import annotations

import psycopg
from psycopg import sql

READER = "labeler_reader"

TABLES = """
CREATE TABLE IF NOT EXISTS datasets (id text PRIMARY KEY, name text NOT NULL, num_items integer);
CREATE TABLE IF NOT EXISTS users (id text PRIMARY KEY, name text, email text);
"""


def create_database(server_url: str, name: str) -> None:
    """Make a database unless it is there."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def create_platform(owner_url: str, reader_password: str) -> None:
    """Tables and the reading role, which PostgreSQL itself keeps from writing."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute(TABLES)
        known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [READER]).fetchone()
        verb = "ALTER" if known else "CREATE"
        role, password = sql.Identifier(READER), sql.Literal(reader_password)
        connection.execute(sql.SQL(verb + " ROLE {} LOGIN PASSWORD {}").format(role, password))
        connection.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(role))
        connection.execute(sql.SQL("GRANT SELECT ON datasets, users TO {}").format(role))


def put_rows(owner_url: str, *, datasets: list[tuple], users: list[tuple]) -> None:
    """Write datasets ``(id, name, num_items)`` and users ``(id, name, email)``, replacing those of the same id."""
    with psycopg.connect(owner_url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO datasets VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE"
            " SET name = excluded.name, num_items = excluded.num_items",
            datasets,
        )
        cursor.executemany(
            "INSERT INTO users VALUES (%s, %s, %s) ON CONFLICT (id) DO UPDATE"
            " SET name = excluded.name, email = excluded.email",
            users,
        )
