"""What the alert rules and dashboards ask for: their PromQL, and the metrics and labels in it. Asks no server."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))


@dataclass(frozen=True)
class Question:
    """One expression and where it stands."""

    place: str
    promql: str

    def selectors(self) -> Iterator[tuple[str, list[str]]]:
        """Every metric that is selected, with the labels that it is selected by."""
        found: list[tuple[str, list[str]]] = []

        def visit(node: Any) -> None:
            selector = getattr(node, "vector_selector", node)
            if isinstance(selector, promql_parser.VectorSelector):
                found.append((selector.name, [matcher.name for matcher in selector.matchers.matchers]))

        promql_parser.walk(promql_parser.parse(self.promql), pre_visit=visit)
        return iter(dict.fromkeys((name, tuple(labels)) for name, labels in found))  # type: ignore[arg-type]

    def grouped_by(self) -> set[str]:
        """The labels that its aggregations keep."""
        labels: set[str] = set()

        def visit(node: Any) -> None:
            if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
                labels.update(node.modifier.labels)

        promql_parser.walk(promql_parser.parse(self.promql), pre_visit=visit)
        return labels


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def questions() -> list[Question]:
    """Every expression of the rules and of the dashboards."""
    asked = [Question(f"alert {rule['alert']}", rule["expr"]) for rule in rules()]
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                promql = target["expr"].replace("$__rate_interval", "5m")  # Grafana puts a time there
                asked.append(Question(f"{path.stem}: {panel['title']}", promql))
    return asked
