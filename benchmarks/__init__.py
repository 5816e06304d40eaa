"""Load benchmarks: real servers in processes of their own, a verifying client, ratios in one run.

A developer runs them by hand (``python -m benchmarks.echo``) and CI runs their short form.
They know the package only from outside, as any server that speaks WebSocket: what a benchmark
imports from ``adwebsocket`` it would no longer measure as users run it.
"""


class BenchmarkError(Exception):
    """A benchmark cannot give a true figure: a wrong echo, a dropped connection, a dead server.

    Noise is never one. The message is a sentence for the terminal.
    """
