"""``manage.py websocket_status``: what the project's server processes on this machine are doing.

Django calls it once ``"adwebsocket"`` is in ``INSTALLED_APPS``. It asks them at their sockets and
prints what they say, with ``rich`` where that is installed; it needs no database, and no URLs.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ...monitoring.asking import ask_all
from ...monitoring.table import tables_of, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.core.management.base import CommandParser

    from ...monitoring.table import Table

CLEAR = "\x1b[H\x1b[2J"


class Command(BaseCommand):
    """Show a live table of the project's server processes on this machine."""

    help = "Shows what the server processes of this project on this machine are doing."
    requires_system_checks = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="Look once instead of on and on.")
        parser.add_argument("--json", action="store_true", help="Print the answers as JSON, once.")
        parser.add_argument(
            "--views",
            type=int,
            nargs="?",
            const=20,
            default=0,
            metavar="MOST",
            help="Also list where sync views stand, at most so many (20) of each process: those "
            "that do not wait for their WebSocket, and then those that have waited longest.",
        )
        parser.add_argument(
            "--interval", type=float, default=2.0, help="Seconds between two looks (2)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what the processes answer; fail if there are none."""
        answers, views = self.ask(options["views"])
        if not answers:
            raise CommandError(
                "No server process of this project answers on this machine. They are found by "
                "their user and SECRET_KEY, or by WEBSOCKET_RUNTIME_DIR."
            )
        if options["json"]:
            looked_at = {"processes": answers, **({"standing": views} if views else {})}
            self.stdout.write(json.dumps(looked_at, indent=2))
        elif options["once"]:
            self.stdout.write(self.draw(tables_of(answers, views=views)))
        else:
            self.show(answers, views, options)

    def ask(self, most_views: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Ask for the statistics, and for as many views, if any."""
        try:
            answers = ask_all({"ask": "stats"})
            views = ask_all({"ask": "views", "most": most_views}) if most_views > 0 else []
        except (ImproperlyConfigured, OSError) as error:
            raise CommandError(str(error)) from error
        except AttributeError as error:
            raise CommandError(
                "This system has no unix sockets, so nobody can be asked."
            ) from error
        return answers, views

    def show(self, answers: Any, views: Any, options: dict[str, Any]) -> None:
        """Look again and again, until Ctrl-C."""
        before: Sequence[Any] = ()
        try:
            while True:
                text = self.draw(tables_of(answers, before, views)) or "No server process answers."
                self.stdout.write(f"{CLEAR if self.stdout.isatty() else ''}{text}\n")
                self.stdout.flush()
                time.sleep(max(options["interval"], 0.1))
                before = answers
                answers, views = self.ask(options["views"])
        except KeyboardInterrupt:
            return

    def draw(self, tables: Sequence[Table]) -> str:
        """Draw tables, for the terminal if there is one and ``rich`` is installed."""
        if not self.stdout.isatty():
            return write_text(tables)
        try:
            from rich import box
            from rich.console import Console
            from rich.table import Table as RichTable
            from rich.text import Text
        except ImportError:
            return write_text(tables)
        console = Console(highlight=False)
        with console.capture() as capture:
            for table in tables:
                drawn = RichTable(
                    *table.columns, title=table.title, box=box.SIMPLE, title_justify="left"
                )
                for row in table.rows:
                    # Not as markup: paths may have brackets.
                    drawn.add_row(*map(Text, row))
                console.print(drawn)
        return capture.get()
