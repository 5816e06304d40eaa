"""What an inspection of a project gives: its dwebsocket views, and the places that deserve a look.

Every inspector makes these, and the report prints them. It must not know how anything is found.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class View:
    """A view that serves WebSockets in dwebsocket's dialect.

    Attributes:
        file: the path as it was reached from the path that was asked for.
        line: where it is decorated or marked, counted from 1.
        name: its name, with the class or function around it; for a view that is decorated in a
            call, the expression.
        marker: ``accept_websocket`` or ``require_websocket``.
    """

    file: str
    line: int
    name: str
    marker: str


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A place that deserves a look before the project moves.

    Attributes:
        file: the path as it was reached from the path that was asked for.
        line: where to look, counted from 1.
        kind: a word that names the pattern; the porting guide has a section with all of them.
        advice: one line: what happens there, and what to do.
    """

    file: str
    line: int
    kind: str
    advice: str


@dataclass(slots=True)
class Inspection:
    """All that was found.

    Attributes:
        views: the dwebsocket views.
        findings: the places that deserve a look.
        files: how many files were read.
    """

    views: list[View] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    files: int = 0

    def extend(self, other: Inspection) -> None:
        """Add what another inspection found."""
        self.views += other.views
        self.findings += other.findings
        self.files += other.files

    def sort(self) -> None:
        """Put everything into the order of files and lines, and drop what was found twice."""
        self.views = sorted(set(self.views))
        self.findings = sorted(set(self.findings))
