"""A request that takes the short way to its route is answered as FastAPI would answer it."""

from pathlib import Path

import pytest
from fastapi import APIRouter, HTTPException, Request, Response
from httpx import ASGITransport, AsyncClient

from shared.errors import ApiError, Unavailable
from shared.http import build_app, data_response
from shared.settings import Settings

router = APIRouter()
FAULTS = {
    "mine": ApiError(409, "Insufficient stock"),
    "away": Unavailable("Orders cannot be accepted right now, please retry"),
    "framework": HTTPException(418, "I'm a teapot"),
    "unforeseen": RuntimeError("nobody thought of this"),
}


@router.post("/direct")
async def answer_directly(request: Request) -> Response:
    return await answer(request, request.query_params.get("fault"))


@router.post("/by-fastapi")
async def answer(request: Request, fault: str | None = None) -> Response:
    if fault:
        raise FAULTS[fault]
    return data_response({"body": (await request.body()).decode(), "process": request.app.title}, 201)


@pytest.mark.parametrize("fault", [None, *FAULTS])
async def test_both_ways_give_the_same_answer(tmp_path: Path, fault: str | None) -> None:
    app = build_app("shop", Settings(data_dir=tmp_path), [router])
    transport = ASGITransport(app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://shop.test") as client:
        query = {"fault": fault} if fault else {}
        direct, ordinary = [
            await client.post(path, params=query, content=b"a mouse") for path in ("/direct", "/by-fastapi")
        ]
    assert (direct.status_code, direct.content, direct.headers) == (
        ordinary.status_code,
        ordinary.content,
        ordinary.headers,
    )
    assert direct.status_code == {None: 201, "mine": 409, "away": 503, "framework": 418, "unforeseen": 500}[fault]
