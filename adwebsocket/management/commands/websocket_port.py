"""``manage.py websocket_port``: what a project that was written for dwebsocket should look at.

Django calls it once ``"adwebsocket"`` is in ``INSTALLED_APPS``. It finds the project's directory
and prints; what is looked for is in ``adwebsocket.porting``, which must know nothing of Django.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ...porting.report import DESCRIPTION, add_arguments, report

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(BaseCommand):
    """List the dwebsocket views of a project, and the places that deserve a look."""

    help = DESCRIPTION
    # They import the URLs, and with them every view.
    requires_system_checks = []  # noqa: RUF012

    def add_arguments(self, parser: CommandParser) -> None:
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the report; with ``--check``, exit with 1 if there is something to look at."""
        here = Path.cwd()
        project = Path(getattr(settings, "BASE_DIR", here))
        try:
            text, found = report(options["paths"] or [project], options["format"], here)
        except FileNotFoundError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(text)
        if options["check"] and found:
            sys.exit(1)
