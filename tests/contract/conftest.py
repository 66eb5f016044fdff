"""Where the suite runs: against --base-url, or against both gateways of this machine, started for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.contract.place import Place, issue_with, open_composed, open_nginx, run_command
from tests.contract.shopper import Shopper
from tests.servers import Servers

LOCAL = {"composed": open_composed, "nginx": open_nginx}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("contract")
    group.addoption("--base-url", help="gateway to test, with the default catalogue and TILLROLL_ORIGINS=*")
    group.addoption("--token-command", help="prints a token; is called with the user id, for an admin with --admin too")
    group.addoption("--data-dir", help="data folder whose development issuer signs, if there is no --token-command")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        url = metafunc.config.getoption("--base-url", default=None)
        metafunc.parametrize("place", [url] if url else list(LOCAL), indirect=True, scope="package")


@pytest.fixture(scope="package")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The gateway under test."""
    if request.param in LOCAL:
        servers: Servers = request.getfixturevalue("servers")
        servers.clean()
        with LOCAL[request.param](servers, tmp_path_factory.mktemp(request.param)) as place:
            yield place
        return
    command, data_dir = (request.config.getoption(option) for option in ("--token-command", "--data-dir"))
    issue = run_command(command) if command else issue_with(Settings(data_dir=Path(data_dir or ".tillroll")))
    with Place(request.param, issue) as place:
        yield place


@pytest.fixture
def local(place: Place) -> Place:
    """The place, when its servers may be stopped."""
    if place.servers is None:
        pytest.skip("--base-url: the servers behind it are not ours to stop")
    return place


@pytest.fixture
def anna(place: Place) -> Shopper:
    """A user who has never been here, so that no earlier test's window or order meets hers."""
    return Shopper(place, "anna")


@pytest.fixture
def bob(place: Place) -> Shopper:
    """Another."""
    return Shopper(place, "bob")


@pytest.fixture
def visitor(place: Place) -> Shopper:
    """Somebody without a token."""
    return Shopper(place, None)


@pytest.fixture
def admin(place: Place) -> Shopper:
    """An operator."""
    return Shopper(place, "olga", is_admin=True)
