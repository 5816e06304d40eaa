"""``python -m adwebsocket.porting``: the inspection without Django.

For a project that does not start yet, on whose ``manage.py`` nothing can be called. It must not
import Django, which would ask for settings.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from .report import DESCRIPTION, add_arguments, report


def main() -> None:
    parser = ArgumentParser(prog="python -m adwebsocket.porting", description=DESCRIPTION)
    add_arguments(parser)
    options = parser.parse_args()
    here = Path.cwd()
    try:
        text, found = report(options.paths or [here], options.format, here)
    except FileNotFoundError as error:
        parser.error(str(error))
    print(text)
    sys.exit(1 if options.check and found else 0)


if __name__ == "__main__":
    main()
