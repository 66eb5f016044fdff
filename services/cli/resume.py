"""`tillroll resume`: lifts the pause that the dead-letter limit put on intake. The one writer besides the consumer."""

from redis.exceptions import RedisError

from services.cli.embedded import CannotStart
from shared.redis import connect_redis
from shared.settings import Settings
from shared.streams import INTAKE_PAUSED


async def lift_pause(settings: Settings, *, dry_run: bool) -> str | None:
    """The reason of the pause that is now lifted (or would be), None when intake is not paused."""
    client = connect_redis(settings, "resume")
    try:
        reason = await (client.get(INTAKE_PAUSED) if dry_run else client.getdel(INTAKE_PAUSED))
    except (RedisError, OSError) as fault:
        raise CannotStart(f"Redis does not answer: {fault}") from fault
    finally:
        await client.aclose()
    return reason.decode(errors="replace") if isinstance(reason, bytes) else reason
