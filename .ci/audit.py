#!/usr/bin/env python3
"""Asks the OSV database for known vulnerabilities of everything that requirements.lock names (`make audit`).

Exit 0: asked about every package, nothing is known. 1: something is. 75: could not ask, which is no pass.
pip-audit is installed from audit.lock beside this file, into a folder that is removed afterwards.
"""

import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SERVICE = "https://api.osv.dev/"
PATIENCE = 15  # seconds a request
NOT_AUDITED = 75  # EX_TEMPFAIL: try again where the network allows it
HERE = Path(__file__).parent
LOCK = HERE.parent / "requirements.lock"


def main() -> int:
    """The exit code; tells what it is for."""
    if (reason := why_unreachable(SERVICE)) is not None:
        return not_audited(f"{SERVICE} cannot be reached: {reason}")
    with tempfile.TemporaryDirectory(prefix="tillroll-audit-") as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv/bin/python"
        installed = run(python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", HERE / "audit.lock")
        if installed.returncode:
            return not_audited(f"pip-audit cannot be installed: {last_line(installed.stderr)}")
        answers = folder / "answers.json"
        command = ["-r", LOCK, "--require-hashes", "--disable-pip", "--vulnerability-service", "osv"]
        command += ["--progress-spinner", "off", "--timeout", PATIENCE, "--format", "json", "--output", answers]
        audited = run(python, "-m", "pip_audit", *command)
        if not answers.exists():  # it ends with 1 for a finding and for every trouble alike
            return not_audited(last_line(audited.stderr))
        asked, findings = judge(json.loads(answers.read_text()))
    print("\n".join([*findings, f"Audited {asked} packages: {len(findings)} findings."]))  # noqa: T201
    return 1 if findings else 0


def judge(report: Mapping[str, Any]) -> tuple[int, list[str]]:
    """How many packages were asked about, and a sentence for each that is vulnerable or could not be asked about."""
    findings = []
    for package in report["dependencies"]:
        name = f"{package['name']} {package.get('version', '')}".strip()
        if "skip_reason" in package:
            findings.append(f"{name} was not audited: {package['skip_reason']}")
        for known in package.get("vulns", ()):
            mended = ", ".join(known["fix_versions"]) or "no release yet"
            findings.append(f"{name} is vulnerable: {known['id']}; mended in {mended}")
    return len(report["dependencies"]), findings


def why_unreachable(url: str) -> str | None:
    """None = somebody answers there, whatever the answer."""
    try:
        urllib.request.urlopen(url, timeout=PATIENCE).close()  # noqa: S310
    except urllib.error.HTTPError:
        return None
    except OSError as fault:
        return str(getattr(fault, "reason", fault))
    return None


def not_audited(reason: str) -> int:
    """Says so, where it is seen."""
    print(f"NOT AUDITED: {reason}. Nothing is known about the dependencies from this run.", file=sys.stderr)  # noqa: T201
    return NOT_AUDITED


def run(*command: object) -> "subprocess.CompletedProcess[str]":
    """With what it says kept."""
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)  # noqa: S603


def last_line(text: str) -> str:
    """What a tool complains about, without the trace before it."""
    return (text.strip().splitlines() or ["no word of why"])[-1][:300]


if __name__ == "__main__":
    sys.exit(main())
