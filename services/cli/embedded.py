"""The embedded servers as commands: which binary, which folder, which flags, which URL. Starts nothing that stays.

Both listen on unix sockets only: no port can clash, and the folder's permissions are the access control.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.errors import TillrollError

LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 108 on Linux and 104 on macOS
VERSIONS_FILE = "servers.json"


class CannotStart(TillrollError):
    """Starting is impossible until the reader does what the message says."""


@dataclass(frozen=True)
class Account:
    """The system user that a server runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Server:
    """How to run one embedded server in the foreground. `account` None = as whoever we are."""

    name: str
    kind: str
    version: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    account: Account | None
    url: str


def open_data_folder(data_dir: Path) -> Path:
    """Makes the data folder, proves that it can be written, and returns its absolute path."""
    folder = data_dir.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 65536)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as fault:
        raise unwritable(folder, fault) from fault
    return folder


def unwritable(folder: Path, fault: OSError) -> CannotStart:
    """The one sentence for a full, read-only or forbidden data folder."""
    return CannotStart(
        f"Cannot write to the data folder {folder}: {fault.strerror or fault}. Choose another --data-dir."
    )


def socket_folder(folder: Path, name: str, account: Account | None) -> Path:
    """A private folder for the socket of server `name`: in the data folder, or in the temp folder if that is deep."""
    base = folder / "run"
    if len(os.fsencode(base / name / ".s.PGSQL.5432")) > LONGEST_SOCKET_PATH:
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        base = Path(tempfile.gettempdir()) / f"tillroll-{digest}"
    base.mkdir(mode=0o700, exist_ok=True)
    if base.is_symlink() or base.stat().st_uid != os.geteuid():
        raise CannotStart(f"{base} belongs to somebody else; remove it or set TMPDIR to a folder of your own.")
    base.chmod(0o711)
    place = base / name
    place.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(place, account.uid, account.gid)
    return place


def refuse_other_server(folder: Path, name: str, kind: str, version: str) -> None:
    """Raises CannotStart when the data was written by another kind of server or by a newer one."""
    written = _read_versions(folder).get(name)
    if written is None:
        return
    if written["kind"] != kind:
        problem = f"this machine has {kind} {version}"
    elif _numbers(version) < _numbers(written["version"]):
        problem = f"{kind} {version} found here is older and cannot read it"
    else:
        return
    raise CannotStart(
        f"The data in {folder} was written by {written['kind']} {written['version']}; {problem}. "
        "Install that server or choose another --data-dir."
    )


def remember_server(folder: Path, server: Server) -> None:
    """Notes kind and version in the data folder, once the server has opened its data."""
    versions = _read_versions(folder)
    versions[server.name] = {"kind": server.kind, "version": server.version}
    write_atomically(folder / VERSIONS_FILE, json.dumps(versions, indent=2) + "\n")


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replaces the file in one step: a reader sees the old text or the new one."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _read_versions(folder: Path) -> dict[str, dict[str, str]]:
    try:
        versions: dict[str, dict[str, str]] = json.loads((folder / VERSIONS_FILE).read_text())
    except FileNotFoundError:
        return {}
    return versions


def _numbers(version: str) -> tuple[int, ...]:
    """Major and minor alone: patch releases read each other's files."""
    return tuple(int(part) for part in version.split(".")[:2])
