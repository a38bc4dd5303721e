"""The checks' own parts: the package that is installed, the windows' places, the letters' shapes."""

from __future__ import annotations

import asyncio
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

from oriel.image.verify import browser_inside
from oriel.image.verify.inside import Facts
from oriel.image.verify.layout import faults_of
from oriel.image.verify.looks import looks
from oriel.image.verify.packages import HOST, Mirror, package, repository
from oriel.model.spec import Screen

TERMINAL = {"kind": "terminal", "x": 9, "y": 28, "width": 608, "height": 398, "painted": True}
BROWSER = {"kind": "browser", "x": 626, "y": 8, "width": 646, "height": 672, "painted": True}
SMALL = Screen(width=1280, height=720)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")
def test_dpkg_reads_our_package(tmp_path: Path) -> None:
    (tmp_path / "it.deb").write_bytes(package("s3cret"))
    subprocess.run(["dpkg-deb", "-x", tmp_path / "it.deb", tmp_path / "root"], check=True)
    assert (tmp_path / "root/usr/share/oriel-verify").read_text() == "s3cret\n"
    shown = subprocess.run(
        ["dpkg-deb", "-f", tmp_path / "it.deb"], capture_output=True, text=True, check=True
    )
    assert "Package: oriel-verify\nVersion: 1\n" in shown.stdout


def test_the_index_tells_the_packages_hash() -> None:
    files = repository("s3cret")
    assert set(files) == {"./Release", "./Packages", "./oriel-verify.deb"}
    assert f"Size: {len(files['./oriel-verify.deb'])}\n".encode() in files["./Packages"]
    assert repository("s3cret") == files
    assert repository("other") != files


def test_the_mirror_serves_its_own_name_only() -> None:
    async def ask(target: str) -> bytes:
        async with Mirror() as mirror:
            port = int(mirror.url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            return answer

    assert b"200 OK" in asyncio.run(ask(f"http://{HOST}/./Packages"))
    assert b"404" in asyncio.run(ask("http://192.0.2.1/./Packages"))


@pytest.mark.parametrize(
    ("windows", "told"),
    [
        ([TERMINAL, BROWSER], ""),
        ([TERMINAL], "1 windows"),
        ([TERMINAL, TERMINAL], "2 windows"),
        ([TERMINAL, BROWSER | {"painted": False}], "browser is not painted"),
        ([TERMINAL, BROWSER | {"x": 600, "width": 672}], "cover each other"),
        ([TERMINAL, BROWSER | {"height": 700}], "under the panel"),
        ([TERMINAL, BROWSER | {"width": 300}], "does not use the width"),
    ],
)  # fmt: skip
def test_where_windows_may_be(windows: list[dict[str, Any]], told: str) -> None:
    faults = faults_of(windows, SMALL)
    assert bool(faults) == bool(told)
    assert told in "; ".join(faults)


def png(rows: list[bytes], width: int, kind: int) -> bytes:
    """An image with three channels whose rows were filtered already, all by the same kind."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0)
    raw = b"".join(bytes([kind]) + row for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (0, [bytes([1, 2, 3, 4, 5, 6]), bytes([7, 8, 9, 10, 11, 12])]),
        (1, [bytes([1, 2, 3, 3, 3, 3]), bytes([7, 8, 9, 3, 3, 3])]),
        (2, [bytes([1, 2, 3, 4, 5, 6]), bytes([6] * 6)]),
        (3, [bytes([1, 2, 3, 4, 4, 5]), bytes([7, 7, 8, 5, 5, 5])]),
        (4, [bytes([1, 2, 3, 3, 3, 3]), bytes([6, 6, 6, 3, 3, 3])]),
    ],
)  # fmt: skip
def test_every_filter_of_png_is_undone(kind: int, rows: list[bytes]) -> None:
    assert browser_inside.read_png(png(rows, 2, kind)) == [[(1, 2, 3), (4, 5, 6)], [(7, 8, 9), (10, 11, 12)]]


def test_an_image_without_tools_is_not_asked_for_them() -> None:
    units = ("xvfb.service", "x11vnc.service", "desktop.service", "oriel-agent.service")
    with_tools = {look.id for look in looks(Facts({"@openai/codex": "1.0.0"}, units))}
    without = {look.id for look in looks(Facts({}, units))}
    assert with_tools - without == {"node_20", "tool_codex", "exec_codex", "tools_in_a_terminal"}


def test_a_service_behind_a_socket_is_held_to_the_same_policy() -> None:
    facts = Facts({}, ("xvfb.service", "oriel-webrtc.socket", "session-bus.socket"))
    assert facts.services == ["xvfb.service"]
    assert facts.called == ["oriel-webrtc.service", "session-bus.service"]
    policy = next(look for look in looks(facts) if look.id == "restart_policy")
    assert "xvfb.service oriel-webrtc.service session-bus.service" in policy.script
