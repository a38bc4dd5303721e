"""Both windows, side by side, on a small and on a large screen."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from oriel.image.verify.inside import Inside, Verdict
from oriel.model.errors import OrielError
from oriel.model.spec import Screen

__all__ = ["SCREENS", "faults_of", "laid_out"]

SCREENS = (Screen(width=1920, height=1080), Screen(width=1280, height=720))
PAINT_S = 180
PANEL = 32  # pixels at the bottom that no window may cover


async def laid_out(inside: Inside, screen: Screen) -> Verdict:
    """Start both programs anew on a screen of that size, and see where their windows are."""
    began = time.monotonic()
    name = f"windows_at_{screen.width}x{screen.height}"
    windows: list[dict[str, Any]] = []
    try:
        code, said = await inside.sh(
            f"runuser -u user -- /usr/lib/oriel/screen {screen.width} {screen.height} && "
            "systemctl restart autostart@terminal autostart@browser"
        )
        if code != 0:
            return Verdict(name, False, time.monotonic() - began, said[-500:])
        while time.monotonic() < began + PAINT_S:
            windows = [one for one in await inside.windows() if one["kind"] in ("terminal", "browser")]
            if not faults_of(windows, screen):
                break
            await asyncio.sleep(0.5)  # between looks: the guest tells of paint only once, and then not where
    except OrielError as error:
        return Verdict(name, False, time.monotonic() - began, error.message)
    faults = faults_of(windows, screen)
    seen = ", ".join(f"{w['kind']} {w['width']}x{w['height']}+{w['x']}+{w['y']}" for w in windows)
    return Verdict(name, not faults, time.monotonic() - began, "; ".join(faults) or seen)


def faults_of(windows: list[dict[str, Any]], screen: Screen) -> list[str]:
    """What is wrong with a terminal and a browser on a screen of that size."""
    by_kind = {window["kind"]: window for window in windows}
    missing = [kind for kind in ("terminal", "browser") if kind not in by_kind]
    if missing or len(windows) != 2:
        return [f"{len(windows)} windows, wanted a terminal and a browser"]
    faults = [f"the {kind} is not painted" for kind, window in by_kind.items() if not window["painted"]]
    for kind, window in by_kind.items():
        right, bottom = window["x"] + window["width"], window["y"] + window["height"]
        if min(window["x"], window["y"]) < 0 or right > screen.width or bottom > screen.height - PANEL:
            faults.append(f"the {kind} reaches beyond the screen or under the panel")
    terminal, browser = by_kind["terminal"], by_kind["browser"]
    if terminal["x"] + terminal["width"] > browser["x"]:
        faults.append("the windows cover each other")
    if browser["x"] + browser["width"] < screen.width - PANEL:
        faults.append("the browser does not use the width")
    return faults
