"""PostgreSQL with a synchronous standby, each in a folder of the benchmark's own.

A commit is answered when both have it on disk and the standby shows it (`remote_apply`): what
Bazar promises too. Durability is on at both; nothing else is tuned but what costs nothing.
"""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from bench.books import STOCK, Book
from bench.children import run, running
from bench.machine import program
from bench.ports import free_port
from tests.support.wait import wait_until

SERVER = "postgres"  # the system's user of that name: PostgreSQL refuses to be root
READY_S = 30

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = on
synchronous_commit = remote_apply
synchronous_standby_names = '*'
max_connections = 200
shared_buffers = 256MB
jit = off
"""

SCHEMA = """
CREATE TABLE books (
    id bigint PRIMARY KEY, sku text UNIQUE, title text NOT NULL, authors text[] NOT NULL,
    topics text[] NOT NULL, price_cents int NOT NULL, quantity int NOT NULL CHECK (quantity >= 0)
);
CREATE TABLE topics (topic text PRIMARY KEY, name text NOT NULL, books int NOT NULL);
CREATE TABLE book_topics (topic text, book_id bigint, PRIMARY KEY (topic, book_id));
CREATE TABLE orders (
    order_id text PRIMARY KEY, key text NOT NULL UNIQUE, book_id bigint NOT NULL,
    title text NOT NULL, quantity int NOT NULL, price_cents int NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
"""


@contextmanager
def postgres(folder: Path, books: list[Book]) -> Iterator[str]:
    """Run both servers with a catalogue in them; yield the primary's connection string."""
    port, standby_port = free_port(), free_port()
    user = _user()
    primary, standby = folder / "primary", folder / "standby"
    for place in (primary, standby):
        place.mkdir(mode=0o700)
        if user:
            os.chown(place, user["user"], user["group"])
    run([program("initdb"), "--no-sync", "-A", "trust", "-U", "bench", "-E", "UTF8", "--locale=C",
         "-D", str(primary)], **user)  # fmt: skip
    with (primary / "postgresql.conf").open("a", encoding="ascii") as file:
        file.write(SETTINGS)
    dsn = f"host=127.0.0.1 port={port} user=bench dbname=postgres"
    # The standby comes last and ends first: the primary does not wait for it when it ends fast.
    with _server(primary, port, folder / "primary.log", user):
        _wait(dsn, "SELECT 1")
        run([program("pg_basebackup"), "--no-sync", "-R", "-c", "fast", "-h", "127.0.0.1",
             "-p", str(port), "-U", "bench", "-D", str(standby)], **user)  # fmt: skip
        with _server(standby, standby_port, folder / "standby.log", user):
            _wait(dsn, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
            _fill(dsn, books)
            yield dsn


def _server(folder: Path, port: int, log: Path, user: dict[str, Any]) -> Any:
    command = [program("postgres"), "-D", str(folder), "-p", str(port)]
    return running(command, log, end=signal.SIGINT, user=user)  # SIGINT: its fast shutdown


def _user() -> dict[str, Any]:
    """Return as whom to run it, for Popen; nothing unless this is root."""
    if os.geteuid() != 0:
        return {}
    found = pwd.getpwnam(SERVER)
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}


def _wait(dsn: str, question: str) -> None:
    def answered() -> bool:
        try:
            with psycopg.connect(dsn, connect_timeout=2) as connection:
                return connection.execute(question).fetchone() is not None
        except psycopg.OperationalError:
            return False

    wait_until(answered, READY_S, f"PostgreSQL: {question}")


def _fill(dsn: str, books: list[Book]) -> None:
    names = sorted({topic for book in books for topic in book.topics})
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        with cursor.copy("COPY books FROM STDIN") as copy:
            for book in books:
                copy.write_row((
                    book.id, book.sku, book.title, list(book.authors), list(book.topics),
                    book.price_cents, STOCK,
                ))  # fmt: skip
        with cursor.copy("COPY book_topics FROM STDIN") as copy:
            for book in books:
                for topic in book.topics:
                    copy.write_row((topic.casefold(), book.id))
        for name in names:
            count = sum(name in book.topics for book in books)
            cursor.execute("INSERT INTO topics VALUES (%s, %s, %s)", (name.casefold(), name, count))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
