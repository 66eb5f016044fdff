"""`tillroll dead-letters`: the doors to what could not be recorded and to its fate."""

from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Why
from services.cli.range_options import Event, Since, To, User, parse
from services.orders.dead_letter_reads import LetterFilters, State

app = typer.Typer(name="dead-letters", help="Entries set aside with their reason.", no_args_is_help=True)

Ids = Annotated[list[int] | None, typer.Argument(help="Ids as `list` shows them.")]
Id = Annotated[int, typer.Argument(min=1, help="The id as `list` shows it.")]
OfReason = Annotated[str | None, typer.Option(help="Buried for this reason, e.g. undecodable.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen.")]
Everything = Annotated[bool, typer.Option("--all", help="All that are buried.")]


@app.command("list")
def list_(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    reason: OfReason = None,
    user: User = None,
    event: Event = None,
    since: Since = None,
    until: To = None,
    state: Annotated[State | None, typer.Option(help="Only letters of this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    before: Annotated[int | None, typer.Option(help="Only letters with a smaller id: the next page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show dead letters, newest first."""
    from services.cli.operate import operate, print_json, print_rows
    from services.orders.dead_letter_reads import list_letters

    filters = _filters(None, reason, user, event, since, until, state)
    letters = operate(data_dir, lambda engine, _redis: list_letters(engine, filters, limit, before))
    rows = [letter.public() for letter in letters]
    if as_json:
        print_json(rows)
    else:
        columns = ("id", "state", "reason", "event_id", "user_id", "attempts", "last_failed_at", "is_edited")
        print_rows(rows, *columns)


@app.command()
def show(letter_id: Id, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Show one with its reason, attempts, first and last failure and raw fields."""
    from services.cli.operate import operate, print_json
    from services.orders.dead_letter_reads import read_letter

    letter = operate(data_dir, lambda engine, _redis: read_letter(engine, letter_id)).public(whole=True)
    if as_json:
        print_json(letter)
        return
    for name, value in letter.items():
        if name in ("fields", "edited_fields") and value:
            print(f"{name.replace('_', ' ')}:")
            for field, content in value:
                print(f"  {field} = {content}")
        else:
            print(f"{name.replace('_', ' '):<18}{'-' if value is None else value}")


@app.command()
def edit(
    letter_id: Id,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    payload: Annotated[str | None, typer.Option(help="The event as JSON; @FILE reads it from a file.")] = None,
    event_id: Annotated[str | None, typer.Option(help="Only where the entry has no readable one.")] = None,
    accepted_at: Annotated[str | None, typer.Option(help="Milliseconds since 1970.")] = None,
    why: Why = "",
) -> None:
    """Keep other fields for its return, if an event could be recorded from them; the original stays."""
    from services.cli.operate import at_terminal, operate
    from services.orders.dead_letter_fates import edit_letter

    if payload is not None and payload.startswith("@"):
        payload = Path(payload[1:]).read_text().strip()
    given = {"payload": payload, "event_id": event_id, "accepted_at": accepted_at}
    changes = {name: value for name, value in given.items() if value is not None}
    operator = at_terminal(why)
    letter = operate(data_dir, lambda engine, _redis: edit_letter(engine, letter_id, changes, operator))
    print(f"{letter.id} is edited; `tillroll dead-letters requeue {letter.id}` puts it back")


@app.command()
def requeue(
    ids: Ids = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    reason: OfReason = None,
    user: User = None,
    event: Event = None,
    since: Since = None,
    until: To = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Put buried letters back into the stream, each once; exit 1 when some would be buried again or are skipped."""
    from services.cli.operate import at_terminal, operate, print_counts, print_json
    from services.orders.dead_letter_fates import preview_requeue, requeue_letters

    filters = _chosen(ids, reason, user, event, since, until, everything)
    if dry_run:
        counts = operate(data_dir, lambda engine, _redis: preview_requeue(engine, filters))
        print_json(counts) if as_json else print_counts("would", counts)
        if counts["conflict"] or counts["reject"]:
            raise typer.Exit(1)
        return
    operator = at_terminal(why)
    fates = operate(data_dir, lambda engine, redis: requeue_letters(engine, redis, filters, operator))
    _render(fates, "requeued", as_json)


@app.command()
def discard(
    ids: Ids = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    reason: OfReason = None,
    user: User = None,
    event: Event = None,
    since: Since = None,
    until: To = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Give buried letters up, for a reason; their owners no longer see them as processing."""
    from services.cli.operate import at_terminal, operate
    from services.orders.dead_letter_fates import Fates, discard_letters, preview_discard

    filters = _chosen(ids, reason, user, event, since, until, everything)
    if dry_run:
        found = operate(data_dir, lambda engine, _redis: preview_discard(engine, filters))
        _render(Fates(done=dict.fromkeys(found, "")), "would be discarded", as_json)
        return
    operator = at_terminal(why)
    fates = operate(data_dir, lambda engine, redis: discard_letters(engine, redis, filters, operator))
    _render(fates, "discarded", as_json)


def _render(fates: Any, word: str, as_json: bool) -> None:
    from services.cli.operate import print_json

    if as_json:
        print_json({**fates.told(), "dry_run": fates.dry_run})
    else:
        for letter_id, entry_id in fates.done.items():
            print(f"{letter_id} {word}{f' as {entry_id}' if entry_id else ''}")
        for letter_id in fates.skipped:
            print(f"{letter_id} skipped: not buried, or nothing is left of it")
        print(f"{len(fates.done)} {word}")
    if fates.skipped:
        raise typer.Exit(1)


def _chosen(ids: Any, reason: Any, user: Any, event: Any, since: Any, until: Any, everything: bool) -> LetterFilters:
    given = (ids, reason, user, event, since, until)
    if any(given) == everything:
        raise typer.BadParameter("name ids or filters, or say --all")
    return _filters(*given, None)


def _filters(ids: Any, reason: Any, user: Any, event: Any, since: Any, until: Any, state: Any) -> LetterFilters:
    given = {"reason": reason, "user": user, "event": event, "from": since, "to": until, "state": state}
    return parse(LetterFilters, given | ({"ids": tuple(ids)} if ids else {}))
