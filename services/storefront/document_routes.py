"""GET /api/openapi.json: the document of the whole public API, as it was made when this version was built."""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Response

router = APIRouter(include_in_schema=False)


@router.get("/api/openapi.json")
async def show_document() -> Response:
    """The packaged copy: `tillroll openapi --write` makes it from the route table, which the storefront cannot see."""
    return Response(_document(), headers={"Cache-Control": "public, max-age=300"}, media_type="application/json")


@cache
def _document() -> bytes:
    return files(__package__).joinpath("openapi.json").read_bytes()
