"""The TypeScript client: made from the published document, strictly typed, and an order placed with it is one order."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from services.cli.system import ROOT
from tests.contract.place import Place
from tests.contract.shopper import KEYBOARD, Shopper, line

CLIENT = ROOT / "clients" / "typescript"


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the client with what its lock names, beside a copy of the document."""
    if shutil.which("npm") is None:
        pytest.skip("the TypeScript client is not checked: npm is not installed")
    root = tmp_path_factory.mktemp("typescript")
    folder = root / "clients" / "typescript"
    shutil.copytree(CLIENT, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    shutil.copytree(ROOT / "docs" / "api", root / "docs" / "api")
    installed = _run(folder, "npm", "ci", "--prefer-offline", "--ignore-scripts")
    if installed.returncode:
        pytest.skip(f"the TypeScript client is not checked: npm ci failed: {installed.stderr[-500:]}")
    return folder


@pytest.fixture(scope="session")
def built(client: Path) -> Path:
    """The client, compiled by `tsc` with every strict rule."""
    compiled = _run(client, "npm", "run", "--silent", "build")
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    return client


def test_the_types_are_those_of_the_document(built: Path) -> None:
    made = _run(built, "npx", "openapi-typescript", "../../docs/api/openapi.json", "--output", "made.ts")
    assert made.returncode == 0, made.stderr
    is_equal = (built / "made.ts").read_text() == (CLIENT / "src" / "schema.ts").read_text()
    assert is_equal, "run `npm run generate` in clients/typescript and commit src/schema.ts"


def test_an_unknown_outcome_is_asked_for_again_under_the_same_key(built: Path) -> None:
    tested = _run(built, "node", "--test", "dist/test/retry.test.js")
    assert tested.returncode == 0, tested.stdout[-3000:]


def test_the_example_buys_once_however_often_it_asks(built: Path, place: Place, anna: Shopper) -> None:
    environment = {"TILLROLL_URL": place.url, "TILLROLL_TOKEN": anna.token or ""}
    bought = _run(built, "node", "dist/example/buy.js", **environment)
    assert bought.returncode == 0, bought.stderr
    told = json.loads(bought.stdout)
    assert (told["replayed"], told["sameOrder"], told["listed"]) == ([False, True], True, 1)
    assert told["order"]["items"] == [line(KEYBOARD, 2)]
    assert anna.orders() == [told["order"]]


def test_the_lock_names_no_place_to_download_from() -> None:
    packages = json.loads((CLIENT / "package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert all("integrity" in package for name, package in packages.items() if name)


def _run(folder: Path, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environment}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120)
