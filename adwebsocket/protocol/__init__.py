"""RFC 6455 without input or output: bytes in, events out, bytes out.

The transport layer drives this package. Nothing here knows sockets, event loops, threads, clocks
or Django.
"""
