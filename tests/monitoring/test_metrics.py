"""Statistics as metrics: read by Prometheus's own parser, from our text and from its client."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from adwebsocket.monitoring.collector import Collector
from adwebsocket.monitoring.metrics import make_metrics, write_text
from adwebsocket.monitoring.statistics import stats

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"


@pytest.fixture
def busy() -> dict[str, Any]:
    """Return the statistics of a process in which something of everything has happened."""
    numbers = copy.deepcopy(stats())
    numbers["pid"] = 7
    numbers["connections"] = {
        "open": 3,
        "views": [
            {"view": "chat", "runner": "thread", "open": 2},
            {"view": 'odd "name"\\\n', "runner": "async", "open": 1},
        ],
    }
    numbers["messages"] = {"in": 2**40, "out": 5}
    numbers["handshakes"] = {"accepted": 9, "refused": {"404": 1}, "refused_by": {"response": 1}}
    numbers["closes"]["client"] = {"1001": 4}
    for name in ("unpublished", "dropped", "skipped"):
        numbers["groups"][f"{name}_total"] = {"reason": 1}
    numbers["database"]["pools"] = {"default": {"open": 4, "in_use": 1}}
    return numbers


def parse(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], tuple[str, float]]:
    """Return kind and value of each sample by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): (family.type, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value_of(text: str, name: str, **labels: str) -> tuple[str, float]:
    return parse(text)[f"adwebsocket_{name}", tuple(sorted(labels.items()))]


def test_samples_have_their_kinds_labels_and_values(busy: dict[str, Any]) -> None:
    text = write_text(make_metrics([busy], by_process=True))

    assert value_of(text, "up", pid="7") == ("gauge", 1)
    assert value_of(text, "connections", pid="7", view="chat", runner="thread") == ("gauge", 2)
    assert value_of(text, "messages_total", pid="7", direction="in") == ("counter", 2**40)
    assert value_of(text, "refusals_total", pid="7", status="404") == ("counter", 1)
    assert value_of(text, "closes_total", pid="7", closer="client", code="1001") == ("counter", 4)
    labels = {"database": "default", "state": "in_use"}
    assert value_of(text, "database_pool_connections", pid="7", **labels) == ("gauge", 1)


def test_odd_names_of_views_survive(busy: dict[str, Any]) -> None:
    text = write_text(make_metrics([busy], by_process=False))
    assert value_of(text, "connections", view='odd "name"\\\n', runner="async") == ("gauge", 1)


def test_processes_stand_side_by_side_and_who_is_silent_is_down(busy: dict[str, Any]) -> None:
    processes = [busy, {**busy, "pid": 8}, {"pid": 9, "error": "not answering"}]
    text = write_text(make_metrics(processes, by_process=True))

    ups = [value_of(text, "up", pid=pid)[1] for pid in ("7", "8", "9")]
    assert ups == [1, 1, 0]
    assert text.count("# TYPE adwebsocket_up ") == 1


def test_added_sections_are_metrics(busy: dict[str, Any]) -> None:
    busy["groups"] = {
        "members": 3,
        "lost_total": {"slow": 2, "gone": 1},
        "odd key": 1.5,
        "note": "no number",
        "is_open": True,
    }
    text = write_text(make_metrics([busy], by_process=False))

    assert value_of(text, "groups_members") == ("gauge", 3)
    assert value_of(text, "groups_lost_total", key="slow") == ("counter", 2)
    assert value_of(text, "groups_odd_key") == ("gauge", 1.5)
    assert "note" not in text
    assert "is_open" not in text


def test_section_that_failed_is_left_out(busy: dict[str, Any]) -> None:
    busy["groups"] = {"error": "ValueError()"}
    assert "groups" not in write_text(make_metrics([busy], by_process=False))


def test_collector_gives_the_same_as_our_text() -> None:
    registry = CollectorRegistry()
    registry.register(Collector())
    theirs = parse(generate_latest(registry).decode())
    ours = parse(write_text(make_metrics([stats()], by_process=False)))
    assert {key: kind for key, (kind, _) in theirs.items()} == {
        key: kind for key, (kind, _) in ours.items()
    }


def test_every_metric_is_described(busy: dict[str, Any]) -> None:
    described = set(re.findall(r"`(adwebsocket_[a-z_]+)`", PAGE.read_text()))
    assert {metric.name for metric in make_metrics([busy], by_process=True)} == described
