"""The options that many commands share, so that they are spelled and explained once."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path, typer.Option(envvar="TILLROLL_DATA_DIR", help="The folder that holds servers and their data.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
DEFAULT_DATA_DIR = Path(".tillroll")
Why = Annotated[str, typer.Option("--why", help="The reason, for the audit trail; required to write.")]
