"""What views that share a thread have of each other's connections: nothing that anybody notices.

The views of a test take turns in one thread as greenlets do; none is needed for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections, transaction
from django.test import override_settings

from adwebsocket.database import GreenletParking

from .threads import IDLE, in_own_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Database

pytestmark = pytest.mark.usefixtures("long_idle_time")


def make_views() -> tuple[GreenletParking, GreenletParking]:
    return GreenletParking(), GreenletParking()


class TestSharing:
    @in_own_thread
    def test_views_use_one_connection_in_turn(self, database: Database) -> None:
        one, other = make_views()
        first = database.query()
        assert one.begin() == IDLE
        assert database.query() == first
        assert other.begin() == IDLE
        one.end()
        assert database.query() == first
        database.expect(1)

    @in_own_thread
    def test_idle_closes_it_and_it_comes_back(self, database: Database) -> None:
        one, other = make_views()
        first = database.query()
        assert one.begin() == IDLE
        assert other.begin() == IDLE
        other.idle()
        database.expect(0)
        assert GreenletParking().begin() is None
        one.end()
        assert database.query() != first

    @in_own_thread
    def test_it_is_closed_at_once_with_0_and_never_with_none(self, database: Database) -> None:
        view = GreenletParking()
        database.query()
        with override_settings(WEBSOCKET_DB_IDLE_SECONDS=None):
            assert view.begin() is None
            view.end()
        assert database.is_open()
        with override_settings(WEBSOCKET_DB_IDLE_SECONDS=0):
            assert view.begin() is None
        assert not database.is_open()

    @in_own_thread
    def test_it_goes_back_to_a_pool_at_once(self, postgresql: Database) -> None:
        postgresql.use_pool(max_size=1)
        one, other = make_views()
        first = postgresql.query()
        assert one.begin() is None
        assert not postgresql.is_open()
        assert postgresql.query() == first
        assert other.begin() is None
        postgresql.connection.close_pool()

    @in_own_thread
    def test_views_without_a_database_wait_for_nothing(self, database: Database) -> None:
        assert GreenletParking().begin() is None


class TestSettingAside:
    @in_own_thread
    def test_transactions_of_two_views_do_not_mix(
        self, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        with database.connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {database.alias} (number integer)")
        one, other = make_views()
        blocks = transaction.atomic(database.alias), transaction.atomic(database.alias)

        def insert(number: int) -> None:
            with database.connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {database.alias} VALUES (%s)", [number])

        blocks[0].__enter__()
        if database.is_server:  # SQLite has one writer
            insert(1)
        first = database.query()
        one.begin()

        assert not database.connection.in_atomic_block
        blocks[1].__enter__()
        second = database.query()
        assert second != first
        insert(2)
        other.begin()

        one.end()
        assert database.query() == first
        transaction.set_rollback(True, database.alias)
        blocks[0].__exit__(None, None, None)
        one.begin()

        other.end()
        assert database.query() == second
        blocks[1].__exit__(None, None, None)
        with database.connection.cursor() as cursor:
            cursor.execute(f"SELECT number FROM {database.alias}")
            assert cursor.fetchall() == [(2,)]
            cursor.execute(f"DROP TABLE {database.alias}")
        assert f"inside atomic(), at {__file__}:" in caplog.text
        GreenletParking().idle()
        database.expect(0)

    @in_own_thread
    def test_idle_spares_transactions_and_takes_all_else(self, database: Database) -> None:
        one, other = make_views()
        with transaction.atomic(database.alias):
            first = database.query()
            assert one.begin() is None
            database.query()
            assert other.begin() == IDLE
            database.expect(2)
            other.idle()
            database.expect(1)
            one.end()
            assert database.query() == first

    @in_own_thread
    def test_wrapper_around_execute_is_seen_by_its_view_only(self, database: Database) -> None:
        """Even where it is there before the connection."""
        one, other = make_views()
        GreenletParking().begin()
        statements = []

        def note(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
            statements.append(sql)
            return execute(sql, *arguments)

        with database.connection.execute_wrapper(note):
            one.begin()
            database.query()
            other.begin()
            one.end()
            assert statements == []
            database.query()
            assert len(statements) == 1
            assert one.begin() == IDLE
            other.end()
            one.idle()  # by whomever
            database.expect(0)
            other.begin()
            one.end()
            database.query()
            assert len(statements) == 2
        assert database.connection.execute_wrappers == []

    @in_own_thread
    def test_cursor_goes_on_where_it_was(self, database: Database) -> None:
        one, other = make_views()
        first = database.query()
        cursor = database.connection.cursor()
        cursor.execute("SELECT 1 UNION ALL SELECT 2")
        assert cursor.fetchone() == (1,)
        one.begin()
        assert database.query() != first
        other.begin()
        other.idle()
        one.end()
        assert cursor.fetchone() == (2,)
        assert database.query() == first
        cursor.close()

    @in_own_thread
    def test_transaction_by_hand_goes_on(self, database: Database) -> None:
        one, other = make_views()
        transaction.set_autocommit(False, database.alias)
        first = database.query()
        one.begin()
        assert database.query() != first
        assert transaction.get_autocommit(database.alias)
        other.begin()
        one.end()
        assert not transaction.get_autocommit(database.alias)
        assert database.query() == first
        one.finish()

    @in_own_thread
    def test_one_spare_is_kept_at_the_most(self, database: Database) -> None:
        views = [GreenletParking() for _ in range(4)]
        with transaction.atomic(database.alias):
            database.query()
            views[0].begin()
            for view in views[1:]:
                with transaction.atomic(database.alias):
                    database.query()
                    view.begin()
                    # Its own is put back before the block ends, as with greenlets.
                    database.query()
                    view.end()
            database.expect(3)
            views[0].end()
        database.expect(2)
        GreenletParking().idle()
        database.expect(0)

    @in_own_thread
    def test_connection_that_threads_share_is_left_alone(self, database: Database) -> None:
        one, other = make_views()
        database.connection.inc_thread_sharing()
        with transaction.atomic(database.alias):
            first = database.query()
            assert one.begin() is None
            assert database.query() == first
            assert other.begin() is None
            other.idle()
            other.finish()
            one.end()
            assert database.query() == first
        database.connection.dec_thread_sharing()


class TestRulesOfDjango:
    @in_own_thread
    def test_connection_that_is_too_old_is_replaced(self, database: Database) -> None:
        database.set(CONN_MAX_AGE=3600)
        view = GreenletParking()
        first = database.query()
        view.begin()
        view.end()
        assert database.query() == first
        database.connection.close_at = 0
        view.begin()
        view.end()
        assert database.query() != first

    @in_own_thread
    def test_connection_that_the_server_cut_is_found_by_a_health_check(
        self, postgresql: Database
    ) -> None:
        postgresql.set(CONN_HEALTH_CHECKS=True)
        view = GreenletParking()
        postgresql.query()
        view.begin()
        postgresql.cut()
        view.end()
        postgresql.query()


class TestEndOfTheView:
    @pytest.mark.parametrize("waits", [False, True], ids=["running", "waiting"])
    @pytest.mark.parametrize(
        "leave",
        [
            lambda name: transaction.atomic(name).__enter__(),
            lambda name: transaction.set_autocommit(False, name),
            lambda name: connections[name].execute_wrappers.append(None),
            lambda name: setattr(connections[name], "needs_rollback", True),
            lambda name: (transaction.atomic(name).__enter__(), connections[name].close()),
        ],
        ids=["atomic", "autocommit", "wrapper", "rollback", "closed in atomic"],
    )
    @in_own_thread
    def test_next_view_of_the_thread_finds_nothing_of_it(
        self, database: Database, leave: Callable[[str], None], waits: bool
    ) -> None:
        database.set(CONN_MAX_AGE=None)
        view = GreenletParking()
        first = database.query()
        leave(database.alias)
        if waits:
            view.begin()  # and an exception ends it
        view.finish()
        database.expect(0)
        assert database.query() != first
        assert database.connection.execute_wrappers == []
        assert database.connection.autocommit
        assert GreenletParking().begin() == IDLE

    @in_own_thread
    def test_view_that_waits_again_behind_an_exception_leaves_nothing(
        self, database: Database
    ) -> None:
        view = GreenletParking()
        for _ in range(2):
            transaction.atomic(database.alias).__enter__()
            database.query()
            view.begin()
        view.finish()
        database.expect(0)

    @in_own_thread
    def test_rules_of_the_end_of_a_request_hold(self, database: Database) -> None:
        view = GreenletParking()
        database.set(CONN_MAX_AGE=None)
        first = database.query()
        assert view.finish() == IDLE
        assert database.query() == first
        database.connection.close_at = 0
        assert view.finish() is None
        assert not database.is_open()

    @in_own_thread
    def test_others_keep_what_is_theirs(self, database: Database) -> None:
        one, other = make_views()
        with transaction.atomic(database.alias):
            first = database.query()
            one.begin()
            transaction.atomic(database.alias).__enter__()
            database.query()
            other.finish()
            database.expect(1)
            one.end()
            assert database.query() == first
