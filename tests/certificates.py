"""A certificate for this machine, which a test run makes for itself.

Tests of TLS use it, through the fixture ``certificate``: the runner's, those of the application on
each server, and those of hostile peers.
"""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.components import skip_or_fail
from tests.processes import DEADLINE

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 that has signed itself.

    Attributes:
        file, key_file: where it and its private key are.
        trust: how clients encrypt that trust this certificate and no other.
    """

    file: Path
    key_file: Path
    trust: ssl.SSLContext

    @property
    def options(self) -> list[str]:
        """Return the options of the runner, which are uvicorn's."""
        return ["--ssl-certfile", str(self.file), "--ssl-keyfile", str(self.key_file)]


def make_certificate(directory: Path) -> Certificate:
    """Make a certificate, with the ``openssl`` command."""
    openssl = shutil.which("openssl")
    if openssl is None:
        skip_or_fail("needs the openssl command")
    file, key_file = directory / "certificate.pem", directory / "key.pem"
    options = "-newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [openssl, "req", "-x509", *options.split(), *names, "-out", file, "-keyout", key_file],
        check=True,
        capture_output=True,
        timeout=DEADLINE,
    )
    return Certificate(file, key_file, ssl.create_default_context(cafile=file))
