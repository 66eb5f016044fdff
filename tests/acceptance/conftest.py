"""Fixtures of tests that start real processes."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.browser import anna, chromium, new_shopper  # noqa: F401  fixtures
from tests.acceptance.consumer_process import run_consumer  # noqa: F401  a fixture
from tests.acceptance.system import System


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder that another user may pass through: as root, PostgreSQL runs as one.

    Not tmp_path: every start of pytest closes the folder above that to others.
    """
    with make_place() as folder:
        yield folder


@pytest.fixture(scope="session")
def running() -> Iterator[System]:
    """A system that all tests share which leave it running; each has shoppers of its own."""
    with make_place() as folder, System(folder / "till") as system:
        yield system.start()


@contextmanager
def make_place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tillroll-test-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
