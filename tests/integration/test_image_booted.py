"""The golden image, booted as a container and looked at from inside."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from bench.image import booted

from oriel.image.verify import Verdict, verify
from oriel.model.spec import Runtime

pytestmark = [pytest.mark.container, pytest.mark.usefixtures("need_root")]


def test_everything_is_there_and_comes_back_when_killed(golden_image: Path) -> None:
    async def scenario() -> list[Verdict]:
        async with booted(Runtime.CONTAINER, golden_image) as guest:
            verdicts = [verdict async for verdict in verify(guest)]
            # After all that killing a person still sees both windows.
            await guest.ready("terminal", "browser")
            return verdicts

    verdicts = asyncio.run(scenario())
    wrong = [f"{verdict.id}: {verdict.detail}" for verdict in verdicts if not verdict.passed]
    assert not wrong, "\n".join(wrong)


def test_the_windows_stand_side_by_side(golden_image: Path) -> None:
    async def scenario() -> list[dict[str, int]]:
        async with booted(Runtime.CONTAINER, golden_image) as guest:
            return [w for w in await guest.ready("terminal", "browser") if w["kind"] != "panel"]

    terminal, browser = sorted(asyncio.run(scenario()), key=lambda window: window["x"])
    assert terminal["x"] + terminal["width"] <= browser["x"]
    assert browser["x"] + browser["width"] <= 1280
    assert max(window["y"] + window["height"] for window in (terminal, browser)) <= 720


def test_an_open_terminal_learns_its_session(golden_image: Path) -> None:
    async def scenario() -> str:
        async with booted(Runtime.CONTAINER, golden_image) as guest:
            _, output = await guest.sh(
                "bash --login -i -c 'true' 2>/dev/null; "
                "printf '%s\\n' 'echo SESSION_ID=s-late >> /etc/environment' 'echo seen:$SESSION_ID' exit "
                "| bash --rcfile /etc/bash.bashrc -i 2>/dev/null"
            )
            return output

    assert "seen:s-late" in asyncio.run(scenario())
