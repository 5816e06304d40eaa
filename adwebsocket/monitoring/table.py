"""The answers of server processes as tables of text, for people.

``manage.py websocket_status`` shows them, with ``rich`` or without. What clients can choose, such
as paths, is made harmless for terminals here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TypeAlias

    Answer: TypeAlias = Mapping[str, Any]


class Table(NamedTuple):
    """A heading, the names of the columns, and rows of as many texts."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables_of(
    answers: Sequence[Answer], before: Sequence[Answer] = (), views: Sequence[Answer] = ()
) -> list[Table]:
    """Make the tables of one look.

    Arguments:
        answers: the statistics of each process.
        before: those of the look before, for figures per second.
        views: where the views of each process stand, if that was asked for.
    """
    tables = [_table_of_processes(answers, before), _table_of_views(answers)]
    stuck = [(each["pid"], each["loop"]["stuck_at"]) for each in answers if "loop" in each]
    rows = [(str(pid), _clean(place)) for pid, place in stuck if place]
    if rows:
        tables.append(Table("Event loops that are stuck", ("pid", "at"), rows))
    if views:
        tables.append(_table_of_places(views))
    return [table for table in tables if table.rows]


def _table_of_processes(answers: Sequence[Answer], before: Sequence[Answer]) -> Table:
    columns = (
        *("pid", "up", "open", "busy", "parked", "queued", "in/s", "out/s", "KB in/s", "KB out/s"),
        *("refused", "inbox", "unsent KB", "lag ms", "lag max", "db"),
    )
    earlier = {answer["pid"]: answer for answer in before if "error" not in answer}
    rows: list[Sequence[str]] = []
    for answer in answers:
        if "error" in answer:
            rows.append((str(answer["pid"]), _clean(answer["error"]), *[""] * (len(columns) - 2)))
        else:
            rows.append(_row_of_process(answer, earlier.get(answer["pid"])))
    return Table("Server processes", columns, rows)


def _row_of_process(answer: Answer, before: Answer | None) -> Sequence[str]:
    threads, greenlets = answer["threads"], answer["greenlets"]
    queues, loop = answer["queues"], answer["loop"]
    rates = [
        _rate(answer, before, kind, direction)
        for kind in ("messages", "bytes")
        for direction in ("in", "out")
    ]
    return (
        str(answer["pid"]),
        _span(answer["uptime"]),
        str(answer["connections"]["open"]),
        *(str(threads[state] + greenlets[state]) for state in ("busy", "parked", "queued")),
        *("" if rate is None else f"{rate:.0f}" for rate in rates[:2]),
        *("" if rate is None else f"{rate / 1024:.0f}" for rate in rates[2:]),
        str(sum(answer["handshakes"]["refused"].values())),
        str(queues["inbox_messages"]["sum"]),
        f"{queues['unsent_bytes']['sum'] / 1024:.0f}",
        f"{loop['lag'] * 1000:.0f}",
        f"{loop['lag_max'] * 1000:.0f}",
        str(sum(answer["database"]["held"].values())),
    )


def _rate(answer: Answer, before: Answer | None, kind: str, direction: str) -> float | None:
    if before is None or answer["uptime"] <= before["uptime"]:
        return None
    seconds: float = answer["uptime"] - before["uptime"]
    moved: int = answer[kind][direction] - before[kind][direction]
    return moved / seconds


def _table_of_views(answers: Iterable[Answer]) -> Table:
    numbers: dict[tuple[str, str], int] = {}
    for answer in answers:
        for row in answer.get("connections", {}).get("views", ()):
            key = row["view"], row["runner"]
            numbers[key] = numbers.get(key, 0) + row["open"]
    rows = [
        (_clean(view) or "(no view)", runner, str(number))
        for (view, runner), number in sorted(numbers.items(), key=lambda item: -item[1])
    ]
    return Table("Open connections", ("view", "runner", "open"), rows)


def _table_of_places(answers: Sequence[Answer]) -> Table:
    rows = []
    total = 0
    for answer in answers:
        total += answer.get("total", 0)
        for view in answer.get("views", ()):
            waiting = view["waiting"]
            rows.append(
                (
                    str(answer["pid"]),
                    _clean(view["path"]),
                    view["runner"],
                    _clean(view["line"]) or "?",
                    "busy" if waiting is None else f"waits {_span(waiting)}",
                    _span(view["open"]),
                )
            )
    title = f"Sync views: {len(rows)} of {total}"
    return Table(title, ("pid", "path", "runner", "line", "state", "open for"), rows)


def _span(seconds: float) -> str:
    """Write a span of time in its two largest units."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    for unit, size, below in (("m", 60, 3600), ("h", 3600, 86400)):
        if whole < below:
            smaller = {"m": "s", "h": "m"}[unit]
            return f"{whole // size}{unit}{whole % size // (size // 60):02}{smaller}"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def _clean(text: str) -> str:
    """Replace what would do something else to a terminal than appear."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def write_text(tables: Iterable[Table]) -> str:
    """Write tables with nothing but spaces."""
    blocks = []
    for table in tables:
        lines = [table.columns, *table.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        written = [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        blocks.append("\n".join([table.title, *written]))
    return "\n\n".join(blocks)
