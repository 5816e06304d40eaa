"""The Autobahn testsuite against our runner: ``scripts/conformance`` calls it.

``suite`` runs the cases, ``results`` reads what came out, ``page`` writes it down. What is served
is in ``project``, which only the server's process imports.
"""
