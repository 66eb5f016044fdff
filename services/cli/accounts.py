"""The system user that PostgreSQL runs as when we are root, and its way to the files. Unused when we are not root."""

import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from services.cli.embedded import Account

USER = "tillroll"


def server_account() -> Account:
    """The system user `tillroll`, made if need be; `nobody` where users cannot be made."""
    entry = _find_user(USER) or _make_user(USER) or pwd.getpwnam("nobody")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def let_in(account: Account, path: Path) -> None:
    """Lets `account` pass through `path`, which is ours, and through the folders above it, where it cannot yet.

    Each change above is named on standard error: those folders are not ours.
    """
    for folder in reversed([path, *path.resolve().parents]):
        if _is_open(account, folder, stat.S_IXOTH):
            continue
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
        if folder != path:
            print(f"tillroll: let the user {account.name} pass through {folder} (o+x)", file=sys.stderr)


def let_read(account: Account, tree: Path) -> None:
    """Lets `account` read and run what is in `tree`, in case a strict umask ruled when it was installed."""
    let_in(account, tree)
    if all(_is_open(account, entry, stat.S_IROTH) for entry in (tree, *tree.iterdir())):
        return
    for entry in (tree, *tree.rglob("*")):
        if not entry.is_symlink():
            mode = entry.stat().st_mode
            entry.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _is_open(account: Account, path: Path, bit: int) -> bool:
    found = path.stat()
    return bool(found.st_mode & bit) or found.st_uid == account.uid


def _find_user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _make_user(name: str) -> pwd.struct_passwd | None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is None:
        return None
    command = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "--user-group", name]
    made = subprocess.run(command, capture_output=True, check=False)
    return _find_user(name) if made.returncode == 0 else None
