"""Statistics as metrics, and these in Prometheus's text format.

The view for scrapers and the collector for ``prometheus_client`` make theirs here. Names and labels
are an interface: what has been scraped for a year must keep its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from .statistics import OWN_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TypeAlias

    Labels: TypeAlias = dict[str, str]
    Sample: TypeAlias = tuple[Labels, float]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "adwebsocket_"


@dataclass(slots=True)
class Metric:
    """One metric with all its samples.

    Attributes:
        name: the whole name; that of a counter ends in ``_total``.
        kind: what Prometheus takes it for.
        help: what it is, in a sentence.
        samples: labels and values.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: list[Sample] = field(default_factory=list)


_HELP: Final = {
    "up": "Whether the server process answers.",
    "uptime_seconds": "Seconds since the process has loaded adwebsocket.",
    "connections": "Open WebSockets by view and by what runs it.",
    "threads": "Sync views in threads: busy, parked in a wait, of these queued for their turn.",
    "greenlets": "Sync views in greenlets: busy, parked in a wait, of these queued for their turn.",
    "greenlet_workers": "Threads that greenlets run on.",
    "async_pool": "The pool of all async views: its threads, of these busy, and queued jobs.",
    "inbox_messages": "Received messages that wait for their views.",
    "inbox_messages_max": "The most of them that wait for one view.",
    "unsent_bytes": "Bytes that wait in the process for clients to take them.",
    "unsent_bytes_max": "The most of them that wait for one client.",
    "messages_total": "Messages, received (in) and sent (out).",
    "bytes_total": "Bytes of WebSocket frames, received (in) and sent (out).",
    "handshakes_accepted_total": "Handshakes that were accepted.",
    "refusals_total": "Handshakes that were refused, by status.",
    "refusals_by_reason_total": "Handshakes that were refused, by reason.",
    "closes_total": "Accepted connections that have ended, by who began and by close code.",
    "loop_lag_seconds": "Seconds by which the event loop is late.",
    "loop_lag_max_seconds": "The most seconds by which it was late in the last minute.",
    "database_connections": "Open database connections by whose threads hold them.",
    "database_pool_connections": "Connections in a database's pool: open, and of these in use.",
}
_OF_SECTION: Final = "A figure of the section {}."


def make_metrics(processes: Iterable[Mapping[str, Any]], *, by_process: bool) -> list[Metric]:
    """Make metrics of the statistics of processes.

    Arguments:
        processes: what ``stats()`` gave in each; with ``error`` for one that does not answer.
        by_process: put the label ``pid`` on all samples.
    """
    metrics: dict[str, Metric] = {}
    for process in processes:
        of_process = {"pid": str(process["pid"])} if by_process else {}
        for name, labels, value in _samples(process):
            section, _, _ = name.partition("_")
            metric = metrics.setdefault(
                name,
                Metric(
                    f"{_PREFIX}{name}",
                    "counter" if name.endswith("_total") else "gauge",
                    _HELP.get(name, _OF_SECTION.format(section)),
                ),
            )
            metric.samples.append(({**of_process, **labels}, value))
    return list(metrics.values())


def _samples(process: Mapping[str, Any]) -> Iterator[tuple[str, Labels, float]]:
    yield "up", {}, 0 if "error" in process else 1
    if "error" in process:
        return
    yield "uptime_seconds", {}, process["uptime"]
    for row in process["connections"]["views"]:
        yield "connections", {"view": row["view"], "runner": row["runner"]}, row["open"]
    for state in ("busy", "parked", "queued"):
        yield "threads", {"state": state}, process["threads"][state]
    for state in ("busy", "parked", "queued"):
        yield "greenlets", {"state": state}, process["greenlets"][state]
    yield "greenlet_workers", {}, process["greenlets"]["workers"]
    yield from _labelled("async_pool", "state", process["async_pool"])
    for name, figures in process["queues"].items():
        yield name, {}, figures["sum"]
        yield f"{name}_max", {}, figures["max"]
    for name in ("messages", "bytes"):
        yield from _labelled(f"{name}_total", "direction", process[name])
    handshakes = process["handshakes"]
    yield "handshakes_accepted_total", {}, handshakes["accepted"]
    yield from _labelled("refusals_total", "status", handshakes["refused"])
    yield from _labelled("refusals_by_reason_total", "reason", handshakes["refused_by"])
    for closer, codes in process["closes"].items():
        for code, number in codes.items():
            yield "closes_total", {"closer": closer, "code": code}, number
    yield "loop_lag_seconds", {}, process["loop"]["lag"]
    yield "loop_lag_max_seconds", {}, process["loop"]["lag_max"]
    yield from _labelled("database_connections", "holder", process["database"]["held"])
    for alias, figures in process["database"]["pools"].items():
        for state, number in figures.items():
            yield "database_pool_connections", {"database": alias, "state": state}, number
    for section in sorted(process.keys() - OWN_KEYS):
        yield from _samples_of_section(section, process[section])


def _labelled(
    name: str, label: str, numbers: Mapping[str, Any]
) -> Iterator[tuple[str, Labels, float]]:
    for key, number in numbers.items():
        if _is_number(number):
            yield name, {label: key}, number


def _samples_of_section(section: str, figures: Any) -> Iterator[tuple[str, Labels, float]]:
    if not isinstance(figures, dict):
        return
    for key, value in figures.items():
        name = re.sub(r"\W", "_", f"{section}_{key}", flags=re.ASCII)
        if _is_number(value):
            yield name, {}, value
        elif isinstance(value, dict):
            yield from _labelled(name, "key", value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def write_text(metrics: Iterable[Metric]) -> str:
    """Write metrics in the text format of Prometheus, version 0.0.4."""
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {metric.help}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for labels, value in metric.samples:
            pairs = ",".join(f'{name}="{_escape(text)}"' for name, text in labels.items())
            lines.append(f"{metric.name}{{{pairs}}} {value}" if pairs else f"{metric.name} {value}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
