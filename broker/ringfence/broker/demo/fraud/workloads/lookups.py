"""Connections to the feature store, kept open and opened anew after some use, or once when one has been closed."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from typing import Any

USES = 50  # of one connection: handshakes go on all the time, as they do where workloads come and go
TRIES = 3


class Lookups:
    """Rows of the feature store, for any number of threads."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        # The proxies speak TLS; on loopback there is none.
        self._dsn = f"host={host} port={port} user=scorer dbname=cards sslmode=disable connect_timeout=5"
        self._idle: queue.SimpleQueue[tuple[Any, int]] = queue.SimpleQueue()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows; a connection that was cut is replaced, since reading again changes nothing."""
        import psycopg

        for _ in range(TRIES - 1):
            try:
                return self._rows(sql, values)
            except psycopg.OperationalError:
                continue
        return self._rows(sql, values)

    def _rows(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        import psycopg

        try:
            connection, uses = self._idle.get_nowait()
        except queue.Empty:
            connection, uses = psycopg.connect(self._dsn, autocommit=True), USES
        try:
            found: list[tuple[Any, ...]] = connection.execute(sql, values).fetchall()
        except psycopg.Error:
            connection.close()
            raise
        if uses > 1:
            self._idle.put((connection, uses - 1))
        else:
            connection.close()
        return found
