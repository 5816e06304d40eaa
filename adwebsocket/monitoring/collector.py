"""The metrics of this process for projects that have ``prometheus_client``.

They register it beside their own collectors, where their scrapes already are::

    from prometheus_client import REGISTRY
    from adwebsocket.monitoring.collector import Collector

    REGISTRY.register(Collector())
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from .metrics import make_metrics
from .statistics import stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric


class Collector:
    """A custom collector of ``prometheus_client``: the statistics of the process it is called in.

    With several workers each registry has its own process only; the view of
    ``adwebsocket.monitoring.urls`` has all of them.
    """

    def collect(self) -> Iterator[Metric]:
        """Give the metrics of this moment."""
        for metric in make_metrics([stats()], by_process=False):
            names = list(metric.samples[0][0])
            family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            made = family(metric.name, metric.help, labels=names)
            for labels, value in metric.samples:
                made.add_metric([labels[name] for name in names], value)
            yield made
