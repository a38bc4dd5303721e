"""Running a command in a desktop, answered whole."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from oriel.controller.access import desktop
from oriel.controller.encoding import JsonResponse
from oriel.controller.guest import Guest
from oriel.controller.parts import parts_of
from oriel.controller.rights import Permission
from oriel.controller.store.desktops import Desktop
from oriel.controller.wishes import Exec

__all__ = ["router"]

router = APIRouter(prefix="/v1/desktops/{ref}", tags=["exec"])

DEFAULT_TIMEOUT_S = 600.0


@router.post("/exec")
async def run_command(
    request: Request,
    found: Annotated[Desktop, Depends(desktop(Permission.CONTROL, shared=True, running=True))],
    wanted: Exec,
) -> Response:
    """As the desktop's user, to its end. Outputs are text; bytes that are none are replaced. What streams,
    or needs a terminal, goes by the WebSocket of the same name."""
    outcome = await Guest(parts_of(request).fleet.keeper(found.id)).run(
        wanted.argv,
        cwd=wanted.cwd,
        env=wanted.env,
        stdin=(wanted.stdin or "").encode(errors="surrogatepass"),
        timeout_s=wanted.timeout_s or DEFAULT_TIMEOUT_S,
    )
    return JsonResponse(
        {
            "exit_code": outcome.exit_code,
            "stdout": outcome.stdout.decode(errors="replace"),
            "stderr": outcome.stderr.decode(errors="replace"),
            "seconds": outcome.seconds,
            "timed_out": outcome.timed_out,
            "truncated": outcome.truncated,
        }
    )
