"""The tables of text: figures of processes, rates between two looks, and nothing for terminals."""

from __future__ import annotations

import copy
from typing import Any

from adwebsocket.monitoring.statistics import stats
from adwebsocket.monitoring.table import tables_of, write_text


def process(pid: int, **changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(stats()), "pid": pid, **changes}


def test_processes_stand_in_rows_and_who_is_silent_is_named() -> None:
    text = write_text(tables_of([process(7, uptime=3700), {"pid": 8, "error": "not answering"}]))
    title, columns, first, second = text.splitlines()
    assert title == "Server processes"
    assert columns.split()[:3] == ["pid", "up", "open"]
    assert first.split()[:3] == ["7", "1h01m", "0"]
    assert second.split() == ["8", "not", "answering"]


def test_rates_are_those_between_two_looks() -> None:
    before = process(7, uptime=10.0, messages={"in": 5, "out": 0}, bytes={"in": 0, "out": 0})
    after = process(7, uptime=12.0, messages={"in": 25, "out": 6}, bytes={"in": 4096, "out": 0})
    (table,) = tables_of([after], [before])
    rates = dict(zip(table.columns, table.rows[0], strict=True))
    assert (rates["in/s"], rates["out/s"], rates["KB in/s"]) == ("10", "3", "2")
    (table,) = tables_of([after], [{"pid": 7, "error": "not answering"}])
    assert table.rows[0][6] == ""


def test_connections_of_all_processes_are_added_up_by_view() -> None:
    views = [{"view": "chat", "runner": "thread", "open": 2}]
    both = [process(pid, connections={"open": 2, "views": views}) for pid in (7, 8)]
    assert tables_of(both)[1].rows == [("chat", "thread", "4")]


def test_stuck_loops_are_named() -> None:
    stuck = {"lag": 3.0, "lag_max": 3.0, "stuck_at": "views.py:7"}
    assert tables_of([process(7, loop=stuck)])[-1].rows == [("7", "views.py:7")]


def test_what_clients_choose_does_nothing_to_a_terminal() -> None:
    row = {
        "path": "/\x1b[2J\n[red]/",
        "view": "chat",
        "runner": "thread",
        "line": "",
        "calls": "",
        "waiting": 65.0,
        "open": 90000.0,
    }
    table = tables_of([process(7)], views=[{"pid": 7, "total": 3, "views": [row]}])[-1]
    assert table.title == "Sync views: 1 of 3"
    assert table.rows == [("7", "/\ufffd[2J\ufffd[red]/", "thread", "?", "waits 1m05s", "1d01h")]
