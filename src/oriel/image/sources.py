"""Where packages come from: the host's mirror while an image is built, the distribution's own in desktops."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from oriel.host import process
from oriel.host.threads import in_thread
from oriel.image.recipe import Recipe
from oriel.model.errors import HostError, UnavailableError

__all__ = ["apt_targets", "fetch_keys", "further_sources", "guest_sources", "sources_of", "whereabouts"]

KEY_DEADLINE_S = 60
KEY_BYTES = 1 << 20
KEYRING_PACKAGES = {"debian": "debian-archive-keyring", "ubuntu": "ubuntu-archive-keyring"}
KEYRINGS = Path("/etc/apt/keyrings")  # in the image: sources.list(5)


def sources_of(recipe: Recipe, targets: list[tuple[str, str, str]]) -> list[str]:
    """Lines for sources.list, from the (origin, code name, URI) of what the host's own apt uses.

    A mirror that the recipe names is used alone. A host of another distribution tells no mirror: then the
    list is empty and mmdebstrap takes its default.
    """
    if recipe.mirror:
        targets = [(recipe.distribution.capitalize(), recipe.suite, recipe.mirror)]
    origin = recipe.distribution.capitalize()
    main: dict[str, None] = {}
    security: dict[str, None] = {}
    for found, codename, uri in targets:
        if found == origin:
            (security if codename.endswith("-security") else main).setdefault(uri)
    if not main:
        return []
    mirror = next(iter(main))
    where = next(iter(security), None if recipe.distribution == "debian" else mirror)
    components = " ".join(recipe.components)
    lines = [f"deb {mirror} {suite} {components}" for suite in (recipe.suite, f"{recipe.suite}-updates")]
    if where is not None:
        lines.append(f"deb {where} {recipe.suite}-security {components}")
    return lines


def further_sources(recipe: Recipe, keys: Sequence[Path]) -> list[str]:
    """The recipe's own sources as lines of sources.list, each signed with one of `keys`."""
    signed = f"[signed-by={','.join(map(str, keys))}] " if keys else ""
    return [f"deb {signed}{source}" for source in recipe.sources]


def whereabouts(recipe: Recipe, lines: Sequence[str]) -> tuple[str, str]:
    """For people: what the packages come from, by lines of sources.list, and what to do if that fails."""
    words = (line.partition("] ")[2] or line.removeprefix("deb ") for line in lines)
    addresses = dict.fromkeys(line.split()[0] for line in words)
    suite = f"{recipe.distribution} {recipe.suite}"
    where = f"the package mirror of {suite} ({' and '.join([*addresses, *recipe.sources])})"
    keyring = KEYRING_PACKAGES[recipe.distribution]
    return where, (
        f"check this host's network and proxy, and that {keyring} is installed; or name another mirror of "
        f"{suite}: `mirror` under [system] in a recipe of yours with extends = {recipe.name!r}"
    )


async def guest_sources(recipe: Recipe, keys: Sequence[Path], probe: Path) -> list[str]:
    """Lines of sources.list for desktops. `probe` is a directory that does not exist yet.

    A desktop asks its distribution's mirrors, and not the one that this host happens to use: those that
    mmdebstrap takes when it is told none. It writes them down before it does anything, and is stopped then.
    """
    told = await process.run(
        ["mmdebstrap", "--variant=custom", "--architectures=amd64",
         f"--components={','.join(recipe.components)}",
         '--setup-hook=cat "$1/etc/apt/sources.list" >&2; exit 3', recipe.suite, probe],
        check=False,
    )  # fmt: skip
    lines = [line for line in told.stderr.decode().splitlines() if line.startswith("deb ")]
    if not lines:
        raise HostError(
            f"mmdebstrap knows no mirrors of {recipe.distribution} {recipe.suite}",
            hint="check system.suite, or install a newer mmdebstrap",
        )
    return lines + further_sources(recipe, [KEYRINGS / key.name for key in keys])


async def apt_targets() -> list[tuple[str, str, str]]:
    """(origin, code name, URI) of every package list that the host's own apt has."""
    told = await process.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(CODENAME)|$(REPO_URI)", "Identifier: Packages"]
    )
    rows = (line.split("|") for line in told.stdout.decode().splitlines())
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]


async def fetch_keys(addresses: Sequence[str], directory: Path) -> list[Path]:
    """The keys as files in the directory, named as apt wants them. Raises UnavailableError."""
    return await in_thread(lambda: [_fetch(address, directory) for address in addresses])


def _fetch(address: str, directory: Path) -> Path:
    try:
        with urllib.request.urlopen(address, timeout=KEY_DEADLINE_S) as answer:  # noqa: S310 - https, by rule
            key = bytes(answer.read(KEY_BYTES))
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise UnavailableError(
            f"the layer 'base' could not be built: the key {address} of one of its sources cannot be fetched "
            f"({getattr(error, 'reason', error)})",
            hint="check this host's network, proxy and certificates, and system.keys in the recipe",
        ) from error
    suffix = "asc" if key.startswith(b"-----BEGIN") else "gpg"
    file = directory / f"{address.rpartition('/')[2].partition('.')[0]}.{suffix}"
    file.write_bytes(key)
    return file
