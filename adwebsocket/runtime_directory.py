"""Where the processes of one project on one machine meet: a directory of unix sockets.

Server processes listen there, and whatever belongs to the project finds them: other workers,
management commands, task queues. Only the user that they run as may enter it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from .conf import get_settings


def runtime_directory() -> Path:
    """Give the project's directory, which is made if it is missing.

    ``WEBSOCKET_RUNTIME_DIR``, or a name in ``$XDG_RUNTIME_DIR`` or the system's directory for
    temporary files that is made of the user and ``SECRET_KEY``: so that two projects do not meet,
    and all processes of one do, wherever they were started.

    Raises:
        ImproperlyConfigured: it belongs to another user, or others may write to it.
        OSError: it cannot be made.
    """
    configured = get_settings().runtime_dir
    path = Path(configured) if configured else _default_path()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    # In a directory that everybody may write to, somebody else could have been first.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise ImproperlyConfigured(
            f"{path} must be a directory that belongs to the user {os.geteuid()} and that nobody "
            "else may write to; remove it, or set WEBSOCKET_RUNTIME_DIR to another one."
        )
    return path


def _default_path() -> Path:
    # The kernel takes 107 bytes of a socket's path, so the name is short.
    project = hashlib.sha256(f"adwebsocket {settings.SECRET_KEY}".encode()).hexdigest()[:12]
    parent = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(parent) / f"adwebsocket-{os.geteuid()}-{project}"
