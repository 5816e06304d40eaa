"""The servers that the benchmarks compare: each one as small as its own documentation shows it.

``benchmarks/catalogue.py`` says how each is started. None of them may import another, or
anything else of the benchmarks: a peer must run here exactly as its users run it. What two peers
are both given by Django is in ``members.py``.
"""
