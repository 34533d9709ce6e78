"""A thing done by one process at a time: whoever vanishes with its host or its network does not keep it for long."""

from __future__ import annotations

import os
import socket
import time

import pytest
from django.db import connection, connections

from versions.alone import _key, alone, is_held

pytestmark = pytest.mark.django_db(transaction=True)

# From linux/tcp.h: a socket closed in this state sends nothing.
TCP_REPAIR = 19


def vanish(session) -> None:
    """Take the network away from a connection: its other end hears nothing, no goodbye and no reset."""
    raw = session.connection
    with socket.socket(fileno=os.dup(raw.fileno())) as ours:
        try:
            ours.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        except PermissionError:
            pytest.skip("only who administers the network takes a connection away without a word")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, raw.fileno())
    os.close(nothing)


@pytest.mark.parametrize("alias", ["default", "platform"])
def test_postgresql_asks_whether_we_are_still_there_and_we_ask_whether_it_is(alias):
    with connections[alias].cursor() as cursor:
        shown = []
        for name in ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"):
            cursor.execute(f"SHOW {name}")
            shown += cursor.fetchone()
    assert shown == ["60", "20", "3", "120000"]
    with socket.socket(fileno=os.dup(connections[alias].connection.fileno())) as ours:
        ours_too = [
            ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            *(
                ours.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            ),
        ]
    assert ours_too == [1, 60, 20, 3, 120_000]


def test_what_a_vanished_process_kept_to_itself_is_free_again():
    other = connection.copy()
    # The last word counts: as in production, with seconds for minutes.
    told = other.settings_dict["OPTIONS"]["options"] + " -c tcp_keepalives_idle=1 -c tcp_keepalives_interval=1"
    other.settings_dict["OPTIONS"] = {**other.settings_dict["OPTIONS"], "options": told}
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", _key("save", 7))
    vanish(other)
    assert is_held("save", 7)
    begun = time.monotonic()
    while is_held("save", 7) and time.monotonic() - begun < 30:
        time.sleep(0.1)
    with alone("save", 7) as mine:
        assert mine
    other.close()
