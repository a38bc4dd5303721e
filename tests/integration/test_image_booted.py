"""The golden image, booted as a container and looked at from inside."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from pathlib import Path

import pytest
from bench.image import Guest, booted

from oriel.host.layout import Home
from oriel.image.build import build
from oriel.image.verify.looks import PLAIN, looked
from oriel.model.spec import Runtime
from tests.conftest import Server

pytestmark = [pytest.mark.container, pytest.mark.usefixtures("need_root")]
RECIPES = os.environ.get("ORIEL_TEST_RECIPES", "").split()
LOOKS = {look.id: look for look in PLAIN}


def test_everything_is_there_and_comes_back_when_killed(server: Server) -> None:
    """As an operator asks for it: also apt, through a gateway, from an origin of the command's own."""
    told = server.oriel(
        "image", "verify", "--runtime", "container", "--json", check=False, timeout=900
    )  # fmt: skip
    document = json.loads(told.stdout)
    wrong = [f"{check['id']}: {check['detail']}" for check in document["checks"] if not check["passed"]]
    assert document["passed"], "\n".join(wrong)
    ids = {check["id"] for check in document["checks"]}
    assert {"apt_through_the_proxy", "browser_policies", "glyphs", "screen_comes_first"} <= ids
    assert {"windows_at_1280x720", "windows_at_1920x1080", "revives_xvfb", "revives_oriel_agent"} <= ids
    assert {"revives_oriel_webrtc", "revives_session_bus"} <= ids
    # What it made is gone again.
    assert "verify-" not in server.oriel("proxy", "list").stdout + server.oriel("list").stdout


def test_the_screen_is_no_other_user_s(golden_image: Path) -> None:
    """x11vnc CVE-2020-29074: a picture in shared memory, or in a file, that everyone may read."""
    segments = """for id in $(ipcs -mp | awk -v p="$(pgrep -x x11vnc)" '$3 == p {print $1}'); do
        ipcs -m -i $id; done | grep -o 'access_perms=[0-7]*' | sort -u"""
    stranger = "setpriv --reuid=65534 --regid=65534 --clear-groups"

    async def scenario() -> list[str]:
        async with booted(Runtime.CONTAINER, golden_image) as guest:
            await guest.ready("browser")
            tried = (segments, "ls /run/xvfb/*screen0", f"{stranger} cat /run/xvfb/Xvfb_screen0 2>&1")
            return [(await guest.sh(script))[1].strip() for script in tried]

    modes, picture, told = asyncio.run(scenario())
    assert modes == "access_perms=0600"
    assert picture == "/run/xvfb/Xvfb_screen0"
    assert "Permission denied" in told


@pytest.mark.skipif(not RECIPES, reason="no recipes are named in ORIEL_TEST_RECIPES: minutes and a GiB each")
@pytest.mark.parametrize("recipe", RECIPES or ["none"])
def test_another_recipe_is_built_and_verified(server: Server, images_directory: Path, recipe: str) -> None:
    info = asyncio.run(build(recipe, Home(server.home, images_directory), lambda _: None))
    told = server.oriel(
        "image", "verify", info.id, "--runtime", "container", "--json", check=False, timeout=1800
    )
    document = json.loads(told.stdout)
    assert document["passed"], [check for check in document["checks"] if not check["passed"]]


def test_the_checks_see_what_is_wrong(golden_image: Path) -> None:
    """Without its font, a policy and its sandbox: each check names what it misses."""

    async def scenario() -> dict[str, tuple[bool, str]]:
        async with booted(Runtime.CONTAINER, golden_image) as guest:
            await guest.sh(
                "rm -r /usr/share/fonts/truetype/wqy; "
                'sed -i \'s/"QuicAllowed": false/"QuicAllowed": "never"/\' /etc/chromium/policies/managed/*; '
                "echo 'CHROMIUM_FLAGS=\"$CHROMIUM_FLAGS --no-sandbox\"' >/etc/chromium.d/zz-test; "
                "touch /var/log/left; echo x >/var/log/left; systemctl restart autostart@browser"
            )
            await guest.ready("browser")
            ids = ("glyphs", "browser_policies", "browser_sandbox", "no_identity")
            verdicts = [await looked(guest, LOOKS[name]) for name in ids]
            return {verdict.id: (verdict.passed, verdict.detail) for verdict in verdicts}

    seen = asyncio.run(scenario())
    assert {name: passed for name, (passed, _) in seen.items()} == dict.fromkeys(seen, False)
    assert "cjk: 漢" in seen["glyphs"][1]
    assert "latin" not in seen["glyphs"][1]
    assert "QuicAllowed" in seen["browser_policies"][1]
    assert "/var/log/left" in seen["no_identity"][1]


def test_a_recipe_of_ones_own(golden_image: Path, images_directory: Path, tmp_path: Path) -> None:
    """Layout copy, a first screen, first commands: built on the layers that are there."""
    home = Home(tmp_path, images_directory)
    home.recipes.mkdir()
    (home.recipes / "mine.toml").write_text(
        'extends = "default"\nsummary = "Mine"\n[disk]\nlayout = "copy"\n'
        "[screen]\nwidth = 1600\nheight = 900\n"
        '[first-boot]\ncommands = ["id -un >/srv/first", "echo $HTTP_PROXY >>/srv/first"]\n'
    )

    async def look(guest: Guest) -> list[str]:
        _, told = await guest.sh(
            "findmnt -no FSTYPE /; runuser -u user -- xrandr -d :1 | head -n 1; "
            "runuser -u user -- sudo id -un; "
            "systemctl show -P ActiveState oriel-first-boot; cat /srv/first"
        )
        return told.splitlines()

    async def scenario() -> list[str]:
        info = await build("mine", home, lambda _: None)
        try:
            async with booted(Runtime.CONTAINER, info.directory) as guest:
                await guest.sh("systemctl start oriel-first-boot", timeout_s=300)  # until it is done
                return await look(guest)
        finally:
            for file in info.directory.iterdir():
                file.unlink()
            info.directory.rmdir()

    kind, screen, power, state, *first = asyncio.run(scenario())
    assert (kind, power, state) == ("ext4", "root", "active")
    assert "current 1600 x 900" in screen
    assert first == ["root", "http://192.168.0.1:3128"]


def test_an_image_in_use_is_not_deleted(server: Server, golden_image: Path, images_directory: Path) -> None:
    """A second name for the same files: what is asked to be deleted here must not be the others' image."""
    image = f"kept@{secrets.token_hex(6)}"
    shutil.copytree(golden_image, images_directory / image, copy_function=os.link)
    server.oriel("create", "keeps", "--image", image, "--runtime", "container")
    refused = server.oriel("image", "delete", image, check=False)
    assert refused.returncode == 4
    assert f"the image {image} is used by" in refused.stderr
    assert image in server.oriel("image", "list").stdout
    assert server.oriel("exec", "keeps", "--", "cat", "/etc/hostname").stdout == "keeps\n"
    server.oriel("delete", "keeps")
    server.oriel("image", "delete", image)
    assert not (images_directory / image).exists()


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
