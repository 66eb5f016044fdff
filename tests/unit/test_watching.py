"""Alert rules, dashboards and the scraper hold: runbooks exist, rules fire when they should, every process is asked."""

import json
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.watched import DASHBOARDS, ROOT, RULES, questions, rules

CONFIGURATION = ROOT / "deploy/prometheus/prometheus.yml"
RULE_TESTS = ROOT / "tests/prometheus/alerts_test.yml"


def promtool(*arguments: object) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("no promtool on this machine (Debian: apt install prometheus)")
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reads_its_configuration_and_its_rules() -> None:
    promtool("check", "config", CONFIGURATION)


def test_the_rules_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", RULE_TESTS)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_and_leads_to_its_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"].endswith((".", "processing."))
    path, _, section = rule["annotations"]["runbook"].partition("#")
    page = (ROOT / path).read_text()
    assert path.startswith("docs/runbooks/")
    headings = [line.lstrip("# ").lower().replace(" ", "-") for line in page.splitlines() if line.startswith("#")]
    assert not section or section in headings


def test_every_expression_is_promql() -> None:
    for question in questions():
        assert list(question.selectors()), question.place


def test_dashboards_have_names_of_their_own_and_ask_the_provisioned_source() -> None:
    sources = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/tillroll.yml").read_text())["datasources"]
    dashboards = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert len({dashboard["uid"] for dashboard in dashboards}) == len(DASHBOARDS) == 2
    for dashboard in dashboards:
        ids = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids)
        for panel in dashboard["panels"]:
            assert panel["datasource"]["uid"] in {source["uid"] for source in sources}


def test_the_scraper_asks_every_process_of_the_compose_file_at_its_port() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    served = {name: service["environment"]["PORT"] for name, service in services.items() if _is_process(service)}
    jobs = yaml.safe_load(CONFIGURATION.read_text())["scrape_configs"]
    scraped = {}
    for job in jobs:
        [source] = job["dns_sd_configs"]
        assert source["names"] == [job["job_name"]]
        scraped[job["job_name"]] = source["port"]
    assert scraped == served
    mounted = services["prometheus"]["volumes"]
    assert f"./{RULES.parent.relative_to(ROOT)}:/etc/prometheus:ro" in mounted


def _is_process(service: dict[str, Any]) -> bool:
    command = service.get("command")
    return isinstance(command, list) and command[:1] == ["serve"]
