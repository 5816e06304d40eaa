"""``python -m adwebsocket``: the runner, where the console script is not on the path.

The interpreter calls it, and uvicorn's worker processes import it under another name, so nothing
may happen at import. It must never know more than where the command is.
"""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main(prog_name="adwebsocket")
