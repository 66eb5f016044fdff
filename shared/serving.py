"""An app in a process of its own, as every server of the product runs: by `uvicorn --factory` or `tillroll serve`."""

import gc
from collections.abc import Callable
from typing import TypeVar

from shared.settings import Settings, load_settings

App = TypeVar("App")

_COLLECT_AFTER = 100_000  # objects; a batch of the consumer makes some ten thousand, and Python looks after each 700


def serve(build: Callable[[Settings], App], settings: Settings | None = None) -> App:
    """The app that this process serves; without `settings`, of its environment.

    What is there by now lives as long as the process: the garbage collector never walks it again. A walk of the
    gateway's heap stops every request of the process for some 90 ms, and under load there are several a minute.
    """
    app = build(settings or load_settings())
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    return app
