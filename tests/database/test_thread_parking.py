"""What a view that has its thread for itself keeps of its connections while it waits."""

from __future__ import annotations

import inspect
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.db import Error, connections, transaction
from django.test import TestCase, override_settings

from adwebsocket.database import ThreadParking
from tests.connections import DEADLINE

from .threads import IDLE, in_own_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Database

pytestmark = pytest.mark.usefixtures("long_idle_time")


def wait(parking: ThreadParking, idle: bool = False) -> float | None:
    """Wait as a view does, until idle() is due or not so long."""
    due = parking.begin()
    if idle and due is not None:
        parking.idle()
    parking.end()
    return due


class TestOutsideTransactions:
    @in_own_thread
    def test_connection_is_closed_after_idle_time_and_comes_back(self, database: Database) -> None:
        parking = ThreadParking()
        assert parking.begin() is None
        first = database.query()
        assert parking.begin() == IDLE
        assert database.is_open()
        parking.idle()
        assert not database.is_open()
        database.expect(0)
        parking.end()
        assert database.query() != first
        parking.finish()

    @in_own_thread
    def test_connection_stays_over_shorter_waits(self, database: Database) -> None:
        """Also with CONN_MAX_AGE = 0: the request, at whose end that closes, is the view."""
        parking = ThreadParking()
        first = database.query()
        for _ in range(3):
            assert wait(parking) == IDLE
            assert database.query() == first

    @in_own_thread
    def test_nothing_is_due_when_all_are_closed(self, database: Database) -> None:
        parking = ThreadParking()
        database.query()
        wait(parking, idle=True)
        assert parking.begin() is None

    @in_own_thread
    def test_connection_is_closed_at_once_with_0(self, database: Database) -> None:
        parking = ThreadParking()
        database.query()
        with override_settings(WEBSOCKET_DB_IDLE_SECONDS=0):
            assert parking.begin() is None
        assert not database.is_open()

    @in_own_thread
    def test_connection_is_never_closed_with_none(self, database: Database) -> None:
        parking = ThreadParking()
        database.query()
        with override_settings(WEBSOCKET_DB_IDLE_SECONDS=None):
            assert parking.begin() is None
        assert database.is_open()

    @in_own_thread
    def test_copy_of_a_connection_is_its_makers(self, database: Database) -> None:
        parking = ThreadParking()
        copy = database.connection.copy()
        copy.ensure_connection()
        assert wait(parking) is None
        assert copy.connection is not None
        copy.close()

    @in_own_thread
    def test_wrapper_around_execute_survives_the_closing(self, database: Database) -> None:
        parking = ThreadParking()
        statements = []

        def note(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
            statements.append(sql)
            return execute(sql, *arguments)

        with database.connection.execute_wrapper(note):
            database.query()
            wait(parking, idle=True)
            database.expect(0)
            database.query()
        assert len(statements) == 2

    @in_own_thread
    def test_queries_of_all_kinds_leave_it_closable(self, database: Database) -> None:
        parking = ThreadParking()
        with database.connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE numbers (number integer UNIQUE)")
            cursor.executemany("INSERT INTO numbers VALUES (%s)", [(n,) for n in range(2000)])
            with pytest.raises(Error):
                cursor.execute("INSERT INTO numbers VALUES (1)")
        with transaction.atomic(database.alias), database.connection.cursor() as cursor:
            cursor.execute("SELECT number FROM numbers")
            assert len(cursor.fetchmany(100)) == 100
        with pytest.raises(Error), database.connection.cursor() as cursor:
            cursor.execute("SELECT nonsense")
        wait(parking, idle=True)
        assert not database.is_open()


class TestCursors:
    @in_own_thread
    def test_open_cursor_keeps_the_connection(
        self, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        parking = ThreadParking()
        cursor = database.connection.cursor()
        cursor.execute("SELECT 1 UNION ALL SELECT 2")
        assert cursor.fetchone() == (1,)
        wait(parking, idle=True)
        assert cursor.fetchone() == (2,)
        assert "with a cursor open" in caplog.text
        del cursor
        wait(parking, idle=True)
        assert not database.is_open()

    @in_own_thread
    def test_cursor_keeps_a_connection_that_is_too_old(self, database: Database) -> None:
        database.set(CONN_MAX_AGE=3600)
        parking = ThreadParking()
        cursor = database.connection.cursor()
        cursor.execute("SELECT 1")
        database.connection.close_at = 0
        wait(parking)
        assert cursor.fetchone() == (1,)
        cursor.close()
        wait(parking)
        assert not database.is_open()

    @in_own_thread
    def test_cursor_that_was_lost_does_not_keep_the_next_connection(
        self, database: Database
    ) -> None:
        parking = ThreadParking()
        cursor = database.connection.cursor()
        database.connection.close()
        database.query()
        wait(parking, idle=True)
        assert not database.is_open()
        del cursor

    @in_own_thread
    def test_rows_are_read_to_the_end_in_chunks(self, postgresql: Database) -> None:
        parking = ThreadParking()
        cursor = postgresql.connection.chunked_cursor()
        cursor.execute("SELECT * FROM generate_series(1, 500)")
        rows = []
        while chunk := cursor.fetchmany(100):
            rows += chunk
            wait(parking, idle=True)
        assert rows == [(number,) for number in range(1, 501)]
        cursor.close()
        wait(parking, idle=True)
        assert not postgresql.is_open()


class TestTransactions:
    @in_own_thread
    def test_transaction_goes_on_and_is_reported_once_with_the_line(
        self, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        parking = ThreadParking()
        with transaction.atomic(database.alias):
            first = database.query()
            for _ in range(3):
                line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
                assert parking.begin() is None
                parking.idle()
                parking.end()
            assert database.query() == first
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("adwebsocket", logging.WARNING)
        assert f"inside atomic(), at {__file__}:{line}." in record.getMessage()
        assert database.alias in record.getMessage()
        assert wait(parking, idle=True) == IDLE
        assert not database.is_open()

    @in_own_thread
    def test_transaction_by_hand_is_kept_and_reported(
        self, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        parking = ThreadParking()
        transaction.set_autocommit(False, database.alias)
        first = database.query()
        assert wait(parking, idle=True) is None
        assert database.query() == first
        assert "with autocommit switched off" in caplog.text
        transaction.rollback(database.alias)
        transaction.set_autocommit(True, database.alias)
        assert wait(parking) == IDLE

    @in_own_thread
    def test_transaction_keeps_one_connection_and_not_the_others(
        self, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        parking = ThreadParking()
        connections["default"].ensure_connection()
        with transaction.atomic(database.alias):
            assert wait(parking, idle=True) == IDLE
            assert database.is_open()
        assert len(caplog.records) == 1
        parking.finish()

    @in_own_thread
    def test_transaction_of_a_test_case_is_kept_and_not_reported(
        self, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        parking = ThreadParking()

        class Case(TestCase):
            databases = {database.alias}  # noqa: RUF012

        blocks = Case._enter_atomics()  # type: ignore[attr-defined]
        first = database.query()
        assert wait(parking, idle=True) is None
        assert database.query() == first
        Case._rollback_atomics(blocks)  # type: ignore[attr-defined]
        assert caplog.records == []

    @in_own_thread
    def test_connection_that_threads_share_is_left_alone(self, database: Database) -> None:
        """As tests with a live server do, with a database in memory."""
        parking = ThreadParking()
        first = database.query()
        database.connection.inc_thread_sharing()
        assert wait(parking, idle=True) is None
        parking.finish()
        assert database.query() == first
        database.connection.dec_thread_sharing()


class TestRulesOfDjango:
    @in_own_thread
    def test_connection_that_is_too_old_is_replaced(self, database: Database) -> None:
        database.set(CONN_MAX_AGE=3600)
        parking = ThreadParking()
        first = database.query()
        wait(parking)
        assert database.query() == first
        database.connection.close_at = 0
        wait(parking)
        assert database.query() != first

    @pytest.mark.parametrize("max_age", [0, None])
    @in_own_thread
    def test_connection_that_the_server_cut_is_found_by_a_health_check(
        self, postgresql: Database, max_age: int | None
    ) -> None:
        postgresql.set(CONN_MAX_AGE=max_age, CONN_HEALTH_CHECKS=True)
        parking = ThreadParking()
        postgresql.query()
        parking.begin()
        postgresql.cut()
        parking.end()
        postgresql.query()

    @in_own_thread
    def test_connection_that_failed_is_replaced_after_the_next_wait(
        self, postgresql: Database
    ) -> None:
        parking = ThreadParking()
        postgresql.query()
        postgresql.cut()
        with pytest.raises(Error):
            postgresql.query()
        wait(parking)
        postgresql.query()

    @in_own_thread
    def test_connection_that_had_an_error_and_works_is_kept(self, postgresql: Database) -> None:
        parking = ThreadParking()
        first = postgresql.query()
        with pytest.raises(Error), postgresql.connection.cursor() as cursor:
            cursor.execute("SELECT nonsense")
        wait(parking)
        assert postgresql.query() == first
        assert not postgresql.connection.errors_occurred


class TestPools:
    @in_own_thread
    def test_connection_goes_back_to_a_pool_at_once(self, postgresql: Database) -> None:
        postgresql.use_pool(max_size=1)
        parking = ThreadParking()
        first = postgresql.query()
        assert parking.begin() is None
        assert not postgresql.is_open()
        parking.end()
        assert postgresql.query() == first
        parking.finish()
        postgresql.expect(1)
        postgresql.connection.close_pool()

    @in_own_thread
    def test_transaction_keeps_what_came_from_a_pool(self, postgresql: Database) -> None:
        postgresql.use_pool(max_size=1)
        parking = ThreadParking()
        with transaction.atomic(postgresql.alias):
            first = postgresql.query()
            assert wait(parking, idle=True) is None
            assert postgresql.query() == first
        postgresql.connection.close()
        postgresql.connection.close_pool()


class TestEndOfTheView:
    @pytest.mark.parametrize(
        "leave",
        [
            lambda name: None,
            lambda name: transaction.atomic(name).__enter__(),
            lambda name: transaction.set_autocommit(False, name),
            lambda name: connections[name].execute_wrappers.append(None),
            lambda name: setattr(connections[name], "needs_rollback", True),
            lambda name: (transaction.atomic(name).__enter__(), connections[name].close()),
        ],
        ids=["in order", "atomic", "autocommit", "wrapper", "rollback", "closed in atomic"],
    )
    @in_own_thread
    def test_next_view_of_the_thread_finds_nothing_of_it(
        self, database: Database, leave: Callable[[str], None]
    ) -> None:
        parking = ThreadParking()
        first = database.query()
        leave(database.alias)
        parking.finish()
        database.expect(0)
        assert not database.is_open()
        assert database.query() != first
        assert database.connection.execute_wrappers == []
        assert database.connection.autocommit
        assert ThreadParking().begin() == IDLE

    @in_own_thread
    def test_transaction_that_is_left_open_is_rolled_back(self, database: Database) -> None:
        with database.connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {database.alias} (number integer)")
        parking = ThreadParking()
        transaction.atomic(database.alias).__enter__()
        with database.connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {database.alias} VALUES (1)")
        parking.finish()
        with database.connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {database.alias}")
            assert cursor.fetchone() == (0,)
            cursor.execute(f"DROP TABLE {database.alias}")

    @in_own_thread
    def test_database_in_memory_that_is_shared_outlives_a_view(self) -> None:
        connection = connections["default"]
        before = connection.settings_dict["NAME"]
        connection.settings_dict["NAME"] = "file:parking?mode=memory&cache=shared"
        try:
            with connection.cursor() as cursor:
                cursor.execute("CREATE TABLE numbers (number integer)")
            del cursor
            assert wait(ThreadParking(), idle=True) == IDLE
            with transaction.atomic():
                thread = threading.Thread(target=leave_a_transaction)
                thread.start()
                thread.join(DEADLINE)
            assert connection.introspection.table_names() == ["numbers"]
            connection._close()
            connection.connection = None
        finally:
            connection.settings_dict["NAME"] = before


def leave_a_transaction() -> None:
    transaction.atomic().__enter__()
    ThreadParking().finish()
