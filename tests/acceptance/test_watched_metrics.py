"""Every metric that an alert or a dashboard names is on a page that the running processes serve, with its labels."""

import re

import httpx
import prometheus_client
import pytest

from shared import observability
from tests.acceptance.system import System
from tests.watched import Question, questions

OF_PROMETHEUS = {"up"}  # what it knows of a scrape by itself
ADDED = {"job", "instance", "le"}  # by the scrape, and by histograms
SERIES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",)}


def served(page: str) -> dict[str, str]:
    """Name of each series of a page -> its metric; also of those that have no sample yet."""
    found = {}
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", page, re.MULTILINE):
        found |= {f"{name}{suffix}": name for suffix in SERIES.get(kind, ("",))}
    return found


@pytest.fixture(scope="module")
def series(running: System) -> dict[str, str]:
    assert running.order("anna", {"2": 1}, 149).status_code == 201
    state = running.state
    pages = [httpx.get(f"{url}/metrics", trust_env=False).text for url in (state.gateway_url, state.consumer_url)]
    return served("\n".join(pages))


def labels_of(metric: str) -> set[str]:
    kinds = (prometheus_client.Counter, prometheus_client.Gauge, prometheus_client.Histogram)
    known = {one._name: set(one._labelnames) for one in vars(observability).values() if isinstance(one, kinds)}
    return known[metric.removesuffix("_total")]


@pytest.mark.parametrize("question", questions(), ids=lambda question: question.place)
def test_what_is_watched_exists(question: Question, series: dict[str, str]) -> None:
    kept: set[str] = set()
    for name, labels in question.selectors():
        assert name in series or name in OF_PROMETHEUS
        known = ADDED if name in OF_PROMETHEUS else labels_of(series[name]) | ADDED
        assert set(labels) <= known
        kept |= known
    assert question.grouped_by() <= kept
