"""`tillroll openapi`: the door to the API's document and to its checked-in copies."""

import json
import sys
from typing import Annotated, Any

import typer

from services.cli.system import ROOT

COPY = ROOT / "docs" / "api" / "openapi.json"
PUBLISHED = ROOT / "docs" / "api" / "published"
SERVED = ROOT / "services" / "storefront" / "openapi.json"

app = typer.Typer()


@app.command("openapi")
def show_document(
    is_written: Annotated[
        bool, typer.Option("--write", help="Write the checked-in copies of a source tree; refuses a breaking change.")
    ] = False,
) -> None:
    """Print the OpenAPI document of the whole public API; exit 1 when it breaks a promise of its own first number."""
    from services.gateway.compare_documents import breaking_changes
    from services.gateway.document import public_document

    document = public_document()
    published = last_published(document["info"]["version"])
    faults = breaking_changes(published, document) if published else []
    for fault in faults:
        print(f"breaking: {fault}", file=sys.stderr)
    if not is_written:
        print(pretty(document), end="")
    elif not faults:
        version = PUBLISHED / f"{document['info']['version']}.json"
        COPY.parent.mkdir(parents=True, exist_ok=True)
        COPY.write_text(pretty(document))
        SERVED.write_text(json.dumps(document, separators=(",", ":")))
        if not version.exists():
            PUBLISHED.mkdir(exist_ok=True)
            version.write_text(json.dumps(document, separators=(",", ":")) + "\n")
    if faults:
        raise typer.Exit(1)


def last_published(version: str) -> dict[str, Any] | None:
    """The newest published document with the first number of `version`; None = it is the first of them."""
    numbers = {tuple(int(part) for part in path.stem.split(".")): path for path in PUBLISHED.glob("*.json")}
    same = [number for number in numbers if str(number[0]) == version.partition(".")[0]]
    found: dict[str, Any] | None = json.loads(numbers[max(same)].read_text()) if same else None
    return found


def pretty(document: dict[str, Any]) -> str:
    """The document as it is checked in."""
    return json.dumps(document, indent=1) + "\n"
