"""`python -m services.cli.healthcheck URL`: what a container's health check runs; exit 1 unless the URL answers 200.

Imports nothing of ours, so that asking every few seconds costs next to nothing.
"""

import json
import sys
import urllib.error
import urllib.request

ASK_WITHIN = 6.0  # seconds; /ready itself gives Redis 5 s


def ask(url: str) -> tuple[bool, str]:
    """Whether `url` answers 200, and what it says."""
    try:
        with urllib.request.urlopen(url, timeout=ASK_WITHIN) as answer:  # noqa: S310  # our own address
            return True, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return False, refusal.read().decode(errors="replace")
    except OSError as fault:
        return False, json.dumps({"error": str(fault)})


if __name__ == "__main__":
    is_good, said = ask(sys.argv[1])
    print(said)
    sys.exit(not is_good)
