"""A desktop's screen, pointer, keyboard and clipboard, for those who are programs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from oriel.controller.access import desktop
from oriel.controller.encoding import JsonResponse
from oriel.controller.guest import Guest
from oriel.controller.keys import chord
from oriel.controller.parts import parts_of
from oriel.controller.picture import encode_png
from oriel.controller.rights import Permission
from oriel.controller.store.desktops import Desktop
from oriel.controller.wishes import Click, Drag, Keys, Point, ScreenSize, Scroll, Text
from oriel.model.errors import Fault, InvalidError

__all__ = ["router"]

router = APIRouter(prefix="/v1/desktops/{ref}", tags=["computer"])

_controlled = desktop(Permission.CONTROL, shared=True, running=True)


async def _driven(request: Request, found: Annotated[Desktop, Depends(_controlled)]) -> Desktop:
    """The desktop, once whoever asks drives it. StateError if somebody else does."""
    circle = parts_of(request).sharing.circle(found.id)
    circle.lease.require(circle.program(request.state.principal))
    return found


_driven.__dict__["permission"] = Permission.CONTROL
Driven = Annotated[Desktop, Depends(_driven)]
# The page needs these beside its own connection, for guests too.
Handled = Annotated[Desktop, Depends(desktop(Permission.CONTROL, guests=True, shared=True, running=True))]
Looked = Annotated[Desktop, Depends(desktop(Permission.READ, shared=True, running=True))]
BUTTONS = {"left": 1, "middle": 2, "right": 3}
DRAG_STEPS = 12
NOTHING = 204


def _guest(request: Request, found: Desktop) -> Guest:
    return Guest(parts_of(request).fleet.keeper(found.id))


@router.get("/computer/screenshot", response_class=Response)
async def screenshot(request: Request, found: Looked) -> Response:
    """The screen now, as PNG."""
    screen = await _guest(request, found).screen()
    png = await asyncio.to_thread(encode_png, screen, level=3)
    return Response(png, media_type="image/png")


@router.post("/computer/move", status_code=NOTHING)
async def move(request: Request, found: Driven, to: Point) -> Response:
    """The pointer."""
    return await _input(request, found, [_to(to.x, to.y)])


@router.post("/computer/click", status_code=NOTHING)
async def click(request: Request, found: Driven, wanted: Click) -> Response:
    """Once or more; where the pointer is, if no place is given."""
    events = _place(wanted.x, wanted.y)
    for _ in range(wanted.count):
        events += [_button(wanted.button, down=True), _button(wanted.button, down=False)]
    return await _input(request, found, events)


@router.post("/computer/drag", status_code=NOTHING)
async def drag(request: Request, found: Driven, wanted: Drag) -> Response:
    """Press, move, let go."""
    events = [_to(wanted.x, wanted.y), _button(wanted.button, down=True)]
    for step in range(1, DRAG_STEPS + 1):
        # Programs tell a drag from a click by the way between.
        events.append(
            _to(
                wanted.x + (wanted.to_x - wanted.x) * step // DRAG_STEPS,
                wanted.y + (wanted.to_y - wanted.y) * step // DRAG_STEPS,
            )
        )
    return await _input(request, found, [*events, _button(wanted.button, down=False)])


@router.post("/computer/scroll", status_code=NOTHING)
async def scroll(request: Request, found: Driven, wanted: Scroll) -> Response:
    """Clicks of the wheel, to the right and down."""
    events = [*_place(wanted.x, wanted.y), {"type": "wheel", "dx": wanted.dx, "dy": wanted.dy}]
    return await _input(request, found, events)


@router.post("/computer/type", status_code=NOTHING)
async def type_text(request: Request, found: Driven, wanted: Text) -> Response:
    """Text, into whatever has the focus."""
    return await _input(request, found, [{"type": "text", "text": wanted.text}])


@router.post("/computer/key", status_code=NOTHING)
async def press_key(request: Request, found: Driven, wanted: Keys) -> Response:
    """A key or a chord: `Return`, `ctrl+l`, `alt+F4`."""
    keysyms = chord(wanted.keys)
    events = [{"type": "key", "keysym": keysym, "down": True} for keysym in keysyms]
    events += [{"type": "key", "keysym": keysym, "down": False} for keysym in reversed(keysyms)]
    return await _input(request, found, events)


@router.get("/computer/cursor")
async def cursor(request: Request, found: Looked) -> Response:
    """Where the pointer is: `{x, y}`."""
    at = await _guest(request, found).ask("cursor")
    return JsonResponse({"x": at.get("x"), "y": at.get("y")})


@router.put("/computer/screen")
async def set_screen(request: Request, found: Handled, wanted: ScreenSize) -> Response:
    """The screen's size, as set: whole macro blocks of a video are even. Only whoever drives decides it."""
    circle = parts_of(request).sharing.circle(found.id)
    principal = request.state.principal
    viewer = circle.of_session(wanted.viewer, principal) if wanted.viewer else circle.program(principal)
    circle.lease.require(viewer)
    size = {"width": wanted.width & ~1, "height": wanted.height & ~1}
    await _guest(request, found).ask("screen_set", size)
    return JsonResponse(size)


@router.get("/windows")
async def list_windows(request: Request, found: Looked) -> Response:
    """The windows on its screen, as its agent sees them."""
    return JsonResponse(await _guest(request, found).ask("windows"))


@router.get("/units")
async def list_units(request: Request, found: Looked) -> Response:
    """Its services with their restart counters, and the boot they belong to."""
    return JsonResponse(await _guest(request, found).ask("units"))


@router.get("/logs")
async def show_logs(
    request: Request, found: Annotated[Desktop, Depends(desktop(Permission.CONTROL))]
) -> Response:
    """The last lines of its machine's console."""
    return JsonResponse({"text": await parts_of(request).fleet.keeper(found.id).console(65536)})


async def _input(request: Request, found: Desktop, events: Sequence[Mapping[str, Any]]) -> Response:
    await _guest(request, found).input(events)
    return Response(status_code=NOTHING)


def _to(x: int, y: int) -> dict[str, Any]:
    return {"type": "move", "x": x, "y": y}


def _button(name: str, *, down: bool) -> dict[str, Any]:
    return {"type": "button", "button": BUTTONS[name], "down": down}


def _place(x: int | None, y: int | None) -> list[dict[str, Any]]:
    if x is None and y is None:
        return []
    if x is None or y is None:
        raise InvalidError.of([Fault("x" if x is None else "y", "is missing: x and y belong together")])
    return [_to(x, y)]
