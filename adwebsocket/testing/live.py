"""A server for browsers in tests: Django's live server, with WebSockets.

It runs in a thread of the test's process, so that it can use a database in memory. The server is
uvicorn's with our protocol class, as in development.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING, Any, Final

from django.apps import apps
from django.test import LiveServerTestCase
from django.test.testcases import LiveServerThread
from django.utils.functional import classproperty
from uvicorn.server import Server

from ..asgi import ASGIApplication
from ..serving import PROTOCOL_CLASS, RunnerConfig
from .sharing import Share

if TYPE_CHECKING:
    import threading

# Seconds that views have to end when the tests of a class are over, and the server's thread then.
GRACEFUL_SECONDS: Final = 2
_JOIN_SECONDS: Final = 10.0

logger = logging.getLogger("adwebsocket")


class _LiveServer(Server):
    """uvicorn's server, which says when it accepts connections."""

    def __init__(self, config: RunnerConfig, is_ready: threading.Event) -> None:
        super().__init__(config)
        self._is_ready = is_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._is_ready.set()


class WebSocketServerThread(LiveServerThread):
    """Serve the project over HTTP and WebSockets while tests run.

    The arguments are Django's; static files are served where ``staticfiles`` is installed.
    """

    server: _LiveServer | None = None
    error: Any

    def run(self) -> None:
        """Serve until ``terminate`` is called."""
        share = Share((self.connections_override or {}).values())
        try:
            server = _LiveServer(self._configure(), self.is_ready)
            listening = socket.create_server((self.host, self.port))
            self.port = listening.getsockname()[1]
            self.server = server
            server.run(sockets=[listening])
        except BaseException as error:
            self.error = error
        finally:
            self.is_ready.set()
            share.end()

    def _configure(self) -> RunnerConfig:
        application: Any = ASGIApplication()
        if apps.is_installed("django.contrib.staticfiles"):
            from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

            application = ASGIStaticFilesHandler(application)
        return RunnerConfig(
            application,
            ws=PROTOCOL_CLASS,
            lifespan="on",
            workers=1,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
        )

    def terminate(self) -> None:
        """Close all sockets, give the views a moment to end, and stop."""
        if self.server is not None:
            self.server.should_exit = True
        self.join(_JOIN_SECONDS)
        if self.is_alive():
            logger.error("The live server has not ended within %g seconds", _JOIN_SECONDS)


class WebSocketLiveServerTestCase(LiveServerTestCase):
    """Django's ``LiveServerTestCase``, whose server speaks WebSocket, and serves static files.

    For Selenium and Playwright. As in Django's, all tests of a class share the server, and see what
    is committed; a database in memory works.

    Attributes:
        live_server_url: where the server is, such as ``http://localhost:40123``.
        live_server_ws_url: the same for WebSockets, ``ws://localhost:40123``.
    """

    server_thread_class = WebSocketServerThread

    @classproperty
    def live_server_ws_url(cls) -> str:  # noqa: N805
        return f"ws://{cls.host}:{cls.server_thread.port}"
