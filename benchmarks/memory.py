"""Memory of an idle connection of async views beside their peers, without compression and with it.

``python -m benchmarks.memory`` runs it by hand, ``--short`` in CI. It is ``benchmarks.idle`` with
other servers and both ways to compress, and must not know how that measures.
"""

import sys

from benchmarks.catalogue import pick
from benchmarks.idle import Benchmark, main

MEMORY = Benchmark(
    "memory",
    __doc__ or "",
    pick(("uvicorn-raw", "channels-async", "adwebsocket-async", "adwebsocket-middleware")),
    "both",
)

if __name__ == "__main__":
    sys.exit(main(benchmark=MEMORY))
