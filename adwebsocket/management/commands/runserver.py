"""``manage.py runserver``: Django's development server, with WebSockets.

Django calls it once ``"adwebsocket"`` is in ``INSTALLED_APPS``. Options, checks, banner, messages
and autoreload stay Django's; only the server below them is uvicorn with our protocol class, and
nothing here may know what happens on a connection.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.commands.runserver import Command as RunserverCommand
from django.utils.module_loading import import_string

from ...asgi import get_asgi_application
from ...draining import NamingServer, exit_within
from ...monitoring import control
from ...serving import PROTOCOL_CLASS, RunnerConfig, is_stock_django

if TYPE_CHECKING:
    from types import FrameType

    from django.core.management.base import CommandParser

GRACEFUL_SECONDS = 1
STRAGGLER_SECONDS = 0.5


class Command(RunserverCommand):
    """Serve a project in development: HTTP, static files and WebSockets, with autoreload."""

    help = "Starts a development server for HTTP, static files and WebSockets."
    server: DevelopmentServer | None = None
    # Set by Django's handle().
    addr: str
    _raw_ipv6: bool

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        if apps.is_installed("django.contrib.staticfiles"):
            parser.add_argument(
                "--nostatic",
                action="store_false",
                dest="use_static_handler",
                help="Tells Django to NOT automatically serve static files at STATIC_URL.",
            )
            parser.add_argument(
                "--insecure",
                action="store_true",
                dest="insecure_serving",
                help="Allows serving static files even if DEBUG is False.",
            )

    def run(self, **options: Any) -> None:
        try:
            super().run(**options)
        except SystemExit as leaving:
            self.leave(leaving.code)
            raise
        else:
            self.leave(0)

    def leave(self, code: Any) -> None:
        """End the server of this process, if it has one, without waiting for what hangs in it."""
        if self.server is not None:
            # At once: behind Ctrl-C the parent process has little patience.
            control.close_socket()
            exit_within(GRACEFUL_SECONDS + STRAGGLER_SECONDS, code if isinstance(code, int) else 1)
            self.server.stop()

    def inner_run(self, *args: Any, **options: Any) -> None:
        # Threads are asyncio's business here; with True, Django would derive a class of its own.
        super().inner_run(*args, **{**options, "use_threading": False})

    # Django calls this attribute to make its server, so that a method may stand in for the class.
    def server_cls(  # type: ignore[override]
        self, address: tuple[str, int], handler: Any, ipv6: bool
    ) -> DevelopmentServer:
        self.server = DevelopmentServer(address, ipv6=ipv6)
        return self.server

    def get_handler(self, *args: Any, **options: Any) -> Any:
        """Return the ASGI application of the project, behind Django's static files."""
        application = self.get_application()
        if options.get("use_static_handler") and (
            settings.DEBUG or options.get("insecure_serving")
        ):
            from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

            return ASGIStaticFilesHandler(application)
        return application

    def get_application(self) -> Any:
        """Return ``settings.ASGI_APPLICATION``, or ours where that is unset or Django's own."""
        path = getattr(settings, "ASGI_APPLICATION", None)
        if path is None:
            return get_asgi_application()
        try:
            application = import_string(path)
        except ImportError as error:
            raise ImproperlyConfigured(
                f"ASGI application '{path}' could not be loaded; Error importing module."
            ) from error
        if not is_stock_django(application):
            return application
        self.stdout.write(
            f"{path} is Django's own application, which refuses WebSockets; serving that of "
            "adwebsocket.asgi instead."
        )
        return get_asgi_application()

    def on_bind(self, server_port: int) -> None:
        """Print Django's banner, which names the wrong server in Django 6.1."""
        address = f"[{self.addr}]" if self._raw_ipv6 else self.addr
        if address == "0":
            address = "0.0.0.0"
        quit_command = "CTRL-BREAK" if sys.platform == "win32" else "CONTROL-C"
        self.stdout.write(
            f"{datetime.now():%B %d, %Y - %X}\n"
            f"Django version {self.get_version()}, using settings {settings.SETTINGS_MODULE!r}\n"
            f"Starting ASGI development server at {self.protocol}://{address}:{server_port}/\n"
            f"Quit the server with {quit_command}."
        )
        if os.environ.get("DJANGO_RUNSERVER_HIDE_WARNING") != "true":
            self.stdout.write(
                self.style.WARNING(
                    "WARNING: This is a development server. Do not use it in a production "
                    f"setting; use: adwebsocket --settings {settings.SETTINGS_MODULE}"
                )
            )


class DevelopmentServer:
    """uvicorn behind the interface of Django's own development server."""

    def __init__(self, address: tuple[str, int], ipv6: bool) -> None:
        self.server: PromptServer | None = None
        self.stopped = threading.Event()
        self.socket = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET)
        if os.name == "posix":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(address)
        # Connections may come as soon as the banner has named the address.
        self.socket.listen()
        self.server_port: int = self.socket.getsockname()[1]

    def set_app(self, application: Any) -> None:
        """Take the application to serve."""
        send_logs_to_console()
        self.server = PromptServer(
            RunnerConfig(
                application,
                ws=PROTOCOL_CLASS,
                workers=1,
                log_config=None,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACEFUL_SECONDS,
            )
        )

    def serve_forever(self) -> None:
        """Serve until Ctrl-C in this thread, or ``stop()`` in another one."""
        assert self.server is not None
        try:
            self.server.run(sockets=[self.socket])
        finally:
            self.stopped.set()

    def stop(self) -> None:
        """Close the open sockets; wait a moment for their peers to agree, and no longer."""
        if self.server is not None:
            self.server.should_exit = True
            # A little more, in which the views that hang are named.
            self.stopped.wait(GRACEFUL_SECONDS + STRAGGLER_SECONDS / 2)


class PromptServer(NamingServer):
    """uvicorn's server, for a developer who has pressed Ctrl-C and waits."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        exit_within(GRACEFUL_SECONDS + STRAGGLER_SECONDS)
        super().handle_exit(sig, frame)


class ConsoleHandler(logging.Handler):
    """Write uvicorn's access records as Django's development server writes its own."""

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.args, tuple)
        _client, method, path, http_version, status = record.args
        assert isinstance(status, int)
        level = logging.INFO if status < 400 else logging.WARNING
        logging.getLogger("django.server").log(
            level if status < 500 else logging.ERROR,
            '"%s %s HTTP/%s" %d',
            method,
            path,
            http_version,
            status,
            extra={"status_code": status, "server_time": f"{datetime.now():%d/%b/%Y %H:%M:%S}"},
        )


def send_logs_to_console() -> None:
    """Show uvicorn's access log and its complaints, where the project's LOGGING does not."""
    access_log = logging.getLogger("uvicorn.access")
    if not access_log.handlers:
        access_log.addHandler(ConsoleHandler())
        access_log.setLevel(logging.INFO)
        access_log.propagate = False
    server_log = logging.getLogger("uvicorn.error")
    if server_log.level == logging.NOTSET:
        # Its news of starting and stopping repeats Django's banner.
        server_log.setLevel(logging.WARNING)
