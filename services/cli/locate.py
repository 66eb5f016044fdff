"""Settings for commands that work on a running system: its servers are found through the data folder."""

from pathlib import Path

from pydantic import ValidationError

from services.cli.embedded import CannotStart
from services.cli.run_state import RunState, find_running
from shared.settings import Settings


def read_settings(data_dir: Path) -> Settings:
    """The environment's settings on `data_dir`. Raises CannotStart that names the variable at fault."""
    try:
        return Settings(data_dir=data_dir.expanduser().absolute())
    except ValidationError as fault:
        first = fault.errors()[0]
        name = str(first["loc"][0])
        variable = name if name.isupper() else f"TILLROLL_{name.upper()}"
        raise CannotStart(f"{variable} cannot be used: {first['msg']}.") from fault


def settings_of_running(data_dir: Path) -> Settings:
    """Settings whose URLs are the environment's, else those of what runs in the data folder."""
    settings = read_settings(data_dir)
    needed = {"redis_url", "database_url"} - settings.model_fields_set
    if not needed:
        return settings
    state = require_running(settings.data_dir)
    return settings.model_copy(
        update={name: type(settings.redis_url)(getattr(state, name)) for name in needed},
    )


def require_running(folder: Path) -> RunState:
    """What runs in `folder`. Raises CannotStart when nothing does."""
    state = find_running(folder)
    if state is None:
        raise CannotStart(f"Nothing runs on the data in {folder}; start it with `make up`, or set --data-dir.")
    return state
