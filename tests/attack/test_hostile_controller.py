"""hostd's verbs from a controller that has been taken over: nothing of its choosing becomes a path or a
command. hostd is the real one, over machines that are none.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from oriel.host.layout import Home
from oriel.model import wire
from oriel.model.errors import InvalidError, NotFoundError, OrielError
from tests.integration.hosts import Host, hosted
from tests.integration.keepers import new_spec
from tests.integration.test_keeper_life import home, run

__all__ = ["home"]  # the fixture

# What a taken-over controller would like to be a path, an option, a shell's line, a namespace or a number.
HOSTILE: tuple[Any, ...] = (
    "../../etc", "/etc/passwd", "..", ".", "", "d-aaaaaaaaaa/../../..", "d-aaaaaaaaaa\0", "d-aaaaaaaaaa\n",
    "--help", "-rf", "$(touch /tmp/owned)", "`id`", "; reboot", "d-\u0430aaaaaaaaa", "%s%n", "d-AAAAAAAAAA",
    "a" * 100_000, None, True, -1, 2**63, 1e308, [], ["d-aaaaaaaaaa"], {}, {"$ref": "/"}, [[[[]]]],
)  # fmt: skip
ONE_ARGUMENT = {"remove": "id", "image_delete": "id", "image_build": "recipe"}


def everything_below(root: Path) -> dict[str, int]:
    """Every file and directory, and how many bytes it holds; without logs, which may grow, and what hostd
    notes for itself."""
    found = {}
    for directory, _, files in os.walk(root):
        for name in files:
            path = Path(directory, name)
            if path.suffix not in (".log", ".out", ".sock") and path.parent.name != "hostd":
                found[str(path)] = path.lstat().st_size
        found[directory] = 0
    return found


async def refused(host: Host, verb: str, **args: Any) -> OrielError:
    """The error of a verb that must not succeed, also of one that streams."""
    try:
        stream = await wire.open_stream(wire.unix(host.home.hostd_socket), verb, args)
        try:
            while (line := await wire.read_line(stream.reader)) is not None:
                if line.get("error"):
                    return OrielError.from_wire(line["error"])
        finally:
            stream.writer.transport.abort()
    except OrielError as error:
        return error
    raise AssertionError(f"{verb} {str(args)[:300]} was done")


def test_no_argument_of_a_hostile_controller_reaches_the_host(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            keeper = await host.create(new_spec())
            pid = (await keeper.ask("hello"))["pid"]
            known = set((await host.ask("doctor")).keys())
            assert known == {"checks"}
            before = everything_below(home.root)
            for verb, argument in ONE_ARGUMENT.items():
                for value in HOSTILE:
                    error = await refused(host, verb, **{argument: value})
                    assert "unexpected" not in error.message, (verb, value, error.message)
            assert everything_below(home.root) == before
            assert not Path("/tmp/owned").exists()
            # Nobody was harmed: the same keeper answers, and hostd does.
            assert (await keeper.ask("hello"))["pid"] == pid
            assert len((await host.ask("list"))["desktops"]) == 1

    run(scenario)


def test_no_field_of_a_hostile_spec_reaches_the_host(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            good = new_spec().to_json()
            home.image(good["image"]).mkdir(parents=True, exist_ok=True)
            before = everything_below(home.root)
            for field in good:
                for value in HOSTILE:
                    if _may_be(field, value):
                        continue
                    error = await refused(host, "create", spec=good | {field: value})
                    assert isinstance(error, InvalidError | NotFoundError), (field, value, error)
            for spec in HOSTILE:
                assert isinstance(await refused(host, "create", spec=spec), InvalidError), spec
            error = await refused(host, "create", spec=good | {"command": ["/bin/sh"]})
            assert isinstance(error, InvalidError)
            assert everything_below(home.root) == before

    run(scenario)


def _may_be(field: str, value: object) -> bool:
    """What is no attack there: a session id goes into the guest only, no screen is the usual one, no rates
    are no limits, a spare desktop is one that nobody has yet."""
    if field == "session_id":
        return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value) is not None
    return (field in ("screen", "rates") and value == {}) or (field == "spare" and value is True)


def test_lines_that_are_no_requests_are_refused_and_the_next_is_served(home: Home) -> None:
    async def scenario() -> None:
        async with hosted(home) as host:
            for line in (b"\n", b"{}\n", b"[]\n", b"null\n", b'{"verb": 7}\n', b'{"verb":"__init__"}\n',
                         b'{"verb":"list","args":[]}\n', b'{"verb":"handlers"}\n', b"\xff\xfe\n",
                         b"[" * 100_000 + b"\n", b'{"verb":"list"' + b" " * (2 << 20) + b"}\n"):  # fmt: skip
                reader, writer = await wire.unix(home.hostd_socket)()
                try:
                    writer.write(line)
                    await writer.drain()
                    answer = await reader.readline()
                    assert not answer or json.loads(answer)["ok"] is False, line[:40]
                except (ConnectionError, ValueError):
                    # It may also just hang up on what is too long.
                    assert len(line) > 50_000
                finally:
                    writer.transport.abort()
            assert "desktops" in await host.ask("list")

    run(scenario)
