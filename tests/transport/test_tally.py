"""Numbers that only grow: none is lost, and clients cannot make the table of them grow."""

from __future__ import annotations

import threading

import pytest

from adwebsocket.transport.tally import Table


class TestTable:
    def test_counts_by_key(self) -> None:
        table = Table()
        for key in ("1000", "4000", "1000"):
            table.count(key)
        assert table.read() == {"1000": 2, "4000": 1}

    def test_keys_beyond_what_is_sensible_are_counted_together(self) -> None:
        table = Table()
        for code in range(3000, 5000):
            table.count(str(code))
        numbers = table.read()
        assert len(numbers) <= 65
        assert numbers["3000"] == 1
        assert sum(numbers.values()) == 2000
        assert numbers["other"] > 1900

    @pytest.mark.usefixtures("busy_threads")
    def test_nothing_is_lost_between_threads(self) -> None:
        table = Table()

        def count() -> None:
            for _ in range(1000):
                table.count("1000")

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert table.read() == {"1000": 4000}
