"""How a child process of ours is started: under its account, apart from our terminal, and not outliving us."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from services.cli.embedded import Account

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def spawn_options(account: Account | None, death_signal: signal.Signals) -> dict[str, Any]:
    """Keyword arguments for Popen or create_subprocess_exec.

    A session of its own: Ctrl-C in the terminal reaches us alone, and we choose the order in which children end.
    On Linux the kernel sends `death_signal` to the child when the thread that started it dies.
    """
    options: dict[str, Any] = {"start_new_session": True, "preexec_fn": _tie_to_parent(os.getpid(), death_signal)}
    if account is not None:
        options |= {"user": account.uid, "group": account.gid, "extra_groups": []}
    return options


def _tie_to_parent(parent: int, death_signal: signal.Signals) -> Callable[[], None] | None:
    if _libc is None:
        return None
    prctl = _libc.prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return tie
