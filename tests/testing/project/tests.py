"""Test cases as users write them; ``manage.py test`` runs them for each database and runner."""

# ruff: noqa: PT009, PT027 (as under Django's test runner, where assertEqual shows what differs)
# ruff: noqa: SIM117 (a failure is raised in the block of a socket, or at its end)

from __future__ import annotations

import contextlib
import json
import unittest
from typing import Any
from urllib.request import urlopen

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection, transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase, override_settings
from websockets.sync.client import connect

from adwebsocket import groups, live
from adwebsocket.testing import (
    AsyncWebSocketClient,
    WebSocketClient,
    WebSocketLiveServerTestCase,
)
from tests.processes import wait_until

from .models import Note
from .views import texts

is_postgresql = connection.vendor == "postgresql"


def count_connections() -> int:
    """Count the connections that the server has to the test's database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend'"
        )
        return int(cursor.fetchone()[0])


class InTransaction(TestCase):
    client_class = WebSocketClient
    client: WebSocketClient

    @classmethod
    def setUpTestData(cls) -> None:
        Note.objects.create(text="from the class")
        cls.user = get_user_model().objects.create_user("anna", password="a password")

    def tearDown(self) -> None:
        self.assertEqual(live.count_live(), 0)
        if is_postgresql:
            self.assertEqual(count_connections(), 1)

    def check_both_see(self, path: str) -> None:
        Note.objects.create(text="from the test")
        with self.client.websocket(path) as ws:
            ws.send("from the view")
            expected = ["from the class", "from the test", "from the view"]
            self.assertEqual(ws.receive_json(), expected)
            self.assertEqual(texts(), expected)

    def test_sync_view_and_test_see_each_other(self) -> None:
        self.check_both_see("/sync/")

    def test_async_view_and_test_see_each_other(self) -> None:
        self.check_both_see("/async/")

    def test_again_after_the_rollback_of_the_others(self) -> None:
        for path in ("/sync/", "/async/"):
            with self.subTest(path), self.client.websocket(path) as ws:
                ws.send(path)
                self.assertIn(path, ws.receive_json())

    @override_settings(WEBSOCKET_DB_IDLE_SECONDS=0)
    def test_parked_view_keeps_the_connection_of_the_test(self) -> None:
        with self.client.websocket("/sync/") as ws:
            for number in range(3):
                ws.send(str(number))
                self.assertEqual(len(ws.receive_json()), 2 + number)
        self.assertEqual(Note.objects.count(), 4)

    def test_view_that_says_nothing_has_written_when_it_has_settled(self) -> None:
        with self.client.websocket("/silent/") as ws:
            ws.send("quiet")
            ws.settle()
            self.assertTrue(Note.objects.filter(text="quiet").exists())
            ws.assert_nothing_received()

    def test_thread_of_a_view_sees_the_test(self) -> None:
        with self.client.websocket("/thread/") as ws:
            ws.send("")
            self.assertEqual(ws.receive_json(), ["from the class"])

    def test_several_sockets_at_once(self) -> None:
        with contextlib.ExitStack() as stack:
            sockets: list[Any] = [
                stack.enter_context(self.client.websocket(path))
                for path in ("/sync/", "/async/", "/sync/", "/async/")
            ]
            for number, ws in enumerate(sockets):
                ws.send(str(number))
                self.assertEqual(len(ws.receive_json()), 2 + number)

    def test_members_of_a_group_get_what_the_test_sends(self) -> None:
        with contextlib.ExitStack() as stack:
            members: list[Any] = [
                stack.enter_context(self.client.websocket(path))
                for path in ("/sync-member/", "/async-member/")
            ]
            for ws in members:
                self.assertEqual(ws.receive(), "joined")
            groups.send("room", "hello")
            for ws in members:
                self.assertEqual(ws.receive(), "hello")
        self.assertEqual(groups.count("room"), 0)

    def test_queries_of_the_view_are_counted(self) -> None:
        with self.client.websocket("/silent/") as ws, self.assertNumQueries(1):
            ws.send("counted")
            ws.settle()

    def test_callbacks_on_commit_can_be_run(self) -> None:
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            with self.client.websocket("/committing/") as ws:
                ws.send("committed")
        self.assertEqual(len(callbacks), 1)
        self.assertIn("committed", texts())

    def test_error_of_the_database_reaches_the_test(self) -> None:
        # As where a query of the test itself fails: only what is rolled back leaves no trace.
        with self.assertRaises(IntegrityError), transaction.atomic():
            with self.client.websocket("/sync/") as ws:
                ws.send("from the class")
                ws.receive_json()
        self.assertEqual(texts(), ["from the class"])

    def test_who_logs_in_is_known(self) -> None:
        with self.client.websocket("/whoami/") as ws:
            self.assertRedirects(
                ws.response,
                "/accounts/login/?next=/whoami/",
                fetch_redirect_response=False,
            )
        self.client.force_login(self.user)
        with self.client.websocket("/whoami/") as ws:
            self.assertEqual(ws.receive(), "anna")
            ws.assert_closed(1000)
        self.client.logout()
        self.assertTrue(self.client.login(username="anna", password="a password"))
        with self.client.websocket("/whoami/") as ws:
            self.assertEqual(ws.receive(), "anna")

    def test_pages_are_those_of_any_client(self) -> None:
        self.assertContains(self.client.get("/page/"), "from the class")


class AsyncInTransaction(TestCase):
    async_client_class = AsyncWebSocketClient
    async_client: AsyncWebSocketClient

    @classmethod
    def setUpTestData(cls) -> None:
        Note.objects.create(text="from the class")
        cls.user = get_user_model().objects.create_user("anna")

    async def check_both_see(self, path: str) -> None:
        await Note.objects.acreate(text="from the test")
        async with self.async_client.websocket(path) as ws:
            await ws.send("from the view")
            expected = ["from the class", "from the test", "from the view"]
            self.assertEqual(await ws.receive_json(), expected)
            self.assertEqual(await Note.objects.acount(), 3)

    async def test_sync_view_and_test_see_each_other(self) -> None:
        await self.check_both_see("/sync/")

    async def test_async_view_and_test_see_each_other(self) -> None:
        await self.check_both_see("/async/")

    async def test_who_logs_in_is_known(self) -> None:
        await sync_to_async(self.async_client.force_login)(self.user)
        async with self.async_client.websocket("/whoami/") as ws:
            self.assertEqual(await ws.receive(), "anna")


class OwnTransactions(TransactionTestCase):
    client_class = WebSocketClient
    client: WebSocketClient

    def test_views_and_test_see_each_other(self) -> None:
        for path in ("/sync/", "/async/"):
            with self.subTest(path), self.client.websocket(path) as ws:
                Note.objects.create(text=f"test {path}")
                ws.send(f"view {path}")
                self.assertIn(f"test {path}", ws.receive_json())
                self.assertIn(f"view {path}", texts())

    @unittest.skipUnless(is_postgresql, "one database in memory has one connection")
    def test_views_have_connections_of_their_own_and_leave_none(self) -> None:
        for _ in range(2):
            with contextlib.ExitStack() as stack:
                numbers = set()
                for _ in range(2):
                    ws = stack.enter_context(self.client.websocket("/backend/"))
                    numbers.add(ws.receive_json())
                self.assertGreater(count_connections(), 1)
            with self.client.websocket("/async-backend/") as ws:
                self.assertEqual(ws.receive_json(), 0)
            # The server takes its time to end what the client has closed.
            wait_until(lambda: count_connections() == 1, "the end of the views' connections")


class WithoutDatabase(SimpleTestCase):
    client_class = WebSocketClient
    client: WebSocketClient

    def test_query_of_a_view_is_forbidden(self) -> None:
        for path in ("/silent/", "/async/"):
            with self.subTest(path), self.assertRaisesRegex(AssertionError, "not allowed"):
                with self.client.websocket(path) as ws:
                    ws.send("hello")
                    ws.receive()


class Live(WebSocketLiveServerTestCase):
    def test_sockets_pages_and_static_files_are_served(self) -> None:
        for path in ("/sync/", "/async/"):
            with connect(self.live_server_ws_url + path, proxy=None) as client:
                client.send(path)
                self.assertIn(path, json.loads(client.recv(10)))
        self.assertEqual(texts(), ["/async/", "/sync/"])
        with urlopen(f"{self.live_server_url}/page/", timeout=10) as answer:
            self.assertEqual(answer.read().decode(), "/async/, /sync/")
        with urlopen(f"{self.live_server_url}/static/project/page.html", timeout=10) as answer:
            self.assertIn("a page", answer.read().decode())

    def test_server_ends_with_a_socket_left_open(self) -> None:
        stack = contextlib.ExitStack()
        # Behind the end of the server.
        unittest.addModuleCleanup(stack.close)
        stack.enter_context(connect(f"{self.live_server_ws_url}/silent/", proxy=None))
