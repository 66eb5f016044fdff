"""Fixtures of tests that start real processes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder that another user may pass through: as root, PostgreSQL runs as one.

    Not tmp_path: every start of pytest closes the folder above that to others.
    """
    with tempfile.TemporaryDirectory(prefix="tillroll-test-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
