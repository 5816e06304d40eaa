"""The system checks: mistakes in a project, found before the first connection.

``manage.py check`` and ``runserver`` call them once ``adwebsocket.apps`` has imported this package.
Each has a number that stays its own, so that ``SILENCED_SYSTEM_CHECKS`` works, and a section in
``docs/checks.md``; none may open a connection or import a view.
"""

from . import deployment, project, values

__all__ = ["deployment", "project", "values"]
