"""What `tillroll up` prints once everything is ready: addresses, and a command that places a first order."""

import json
import shlex
import sys
from pathlib import Path

import httpx

from services.cli.run_state import RunState
from services.cli.system import ROOT
from shared.settings import Mode, Settings


async def welcome(settings: Settings, folder: Path, state: RunState) -> str:
    """The text. The order is of the catalogue's first product that is in stock, so it works with any catalogue."""
    async with httpx.AsyncClient(base_url=state.gateway_url, timeout=10, trust_env=False) as client:
        products = (await client.get("/api/products")).raise_for_status().json()["data"]
    lines = [
        "",
        "Tillroll is running. Ctrl-C stops it; everything is kept.",
        f"  shop API    {state.gateway_url}/api/products",
        f"  consumer    {state.consumer_url}/asyncapi",
        f"  data, logs  {folder}",
    ]
    product = next((product for product in products if product["stock"] > 0), None)
    if product is not None and settings.mode is Mode.DEVELOPMENT:
        order = json.dumps({"total": product["price"], "items": [{"id": product["id"], "quantity": 1}]})
        command = f"{tillroll_command()} token alice --data-dir {shlex.quote(str(folder))}"
        lines += [
            "",
            f"Place a first order ({product['title']}):",
            f"  curl -sS {state.gateway_url}/api/orders -H 'Content-Type: application/json' \\",
            f'    -H "Authorization: Bearer $({command})" \\',
            f"    -d {shlex.quote(order)}",
            "",
            "See it recorded:",
            f"  {tillroll_command()} status --data-dir {shlex.quote(str(folder))}",
        ]
    return "\n".join([*lines, ""])


def tillroll_command() -> str:
    """How this installation's `tillroll` is called from any directory, quoted for a shell."""
    launcher = Path(sys.executable).with_name("tillroll")
    if launcher.exists():
        return shlex.quote(str(launcher))
    return f"env PYTHONPATH={shlex.quote(str(ROOT))} {shlex.quote(sys.executable)} -m services.cli"
