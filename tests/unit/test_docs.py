"""The documents hold true: what a user can set, call or watch stands in the reference."""

import re
from pathlib import Path

import prometheus_client
import pytest
import typer.main

from services.cli.main import app
from services.orders.dead_letters import Reason
from shared import observability
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs/reference.md").read_text()
DEAD_LETTERS = (ROOT / "docs/runbooks/dead-letters.md").read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_stands_in_the_reference(name: str) -> None:
    variable = {"redis_url": "REDIS_URL", "database_url": "DATABASE_URL"}.get(name, f"TILLROLL_{name.upper()}")
    assert f"`{variable}`" in REFERENCE


@pytest.mark.parametrize("name", sorted(typer.main.get_group(app).commands))
def test_every_command_stands_in_the_reference(name: str) -> None:
    assert re.search(rf"`tillroll {name}\b", REFERENCE)


def _metrics() -> list[str]:
    kinds = (prometheus_client.Counter, prometheus_client.Gauge, prometheus_client.Histogram)
    return [value._name for value in vars(observability).values() if isinstance(value, kinds)]


@pytest.mark.parametrize("name", _metrics())
def test_every_metric_stands_in_the_reference(name: str) -> None:
    assert f"`{name}" in REFERENCE


@pytest.mark.parametrize("reason", Reason)
def test_the_runbook_says_what_to_do_with_every_dead_letter(reason: str) -> None:
    kind = reason.partition("_")[0]
    assert f"`{reason}`" in DEAD_LETTERS or f"`{kind}_*`" in DEAD_LETTERS


def test_every_link_of_the_documents_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    for page in pages:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
