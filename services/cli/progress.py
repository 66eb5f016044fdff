"""What long commands show on standard error, and one sentence when a server they need is away."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import SQLAlchemyError

from services.cli.embedded import CannotStart


@contextmanager
def shown_progress(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of `unit`; the function is told how many are done, of how many."""
    columns = TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(unit, total=None)

        def tell(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield tell


@contextmanager
def reachable() -> Iterator[None]:
    """Turns the absence of Redis or Postgres, and what they refuse, into one sentence."""
    try:
        yield
    except SQLAlchemyError as fault:
        raise CannotStart(f"Postgres: {str(getattr(fault, 'orig', fault)).splitlines()[0]}") from fault
    except RedisError as fault:
        raise CannotStart(f"Redis: {fault}") from fault
    except (OSError, TimeoutError) as fault:
        raise CannotStart(f"A server does not answer: {fault}") from fault
