"""Recipes: what goes into a golden image, as TOML. Read strictly; all faults are told together.

A recipe may say `extends = "OTHER"`. Then its values replace OTHER's, and its tables and lists add to
OTHER's; an entry `-NAME` of a list takes NAME out, and an empty value of a table takes its key out.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oriel.model.errors import Fault, InvalidError, NotFoundError
from oriel.model.spec import LIMITS, NAME, Screen

__all__ = ["Recipe", "load_recipe"]

Table = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole recipe, with all that it extends."""

    name: str
    summary: str
    desktop: str  # guest/desktops/NAME is laid over guest/rootfs
    browser: str  # and guest/browsers/NAME
    distribution: str
    suite: str
    mirror: str  # where the image is built from; "" is the one that the host's own apt uses
    components: tuple[str, ...]
    kernel: str
    locale: str
    timezone: str
    packages: tuple[str, ...]
    unpacked: tuple[str, ...]  # packages whose files are wanted, but not what they depend on
    exclude: tuple[str, ...]
    unused: tuple[str, ...]  # patterns below the root, removed at the end
    sources: tuple[str, ...]  # further apt sources: URI SUITE COMPONENT…
    keys: tuple[str, ...]  # addresses of the keys these sources are signed with
    pieces: Mapping[str, str]  # package -> the files taken from it, as patterns with spaces between
    tools: Mapping[str, str]  # npm package -> version
    links: Mapping[str, str]  # name in /usr/local/bin -> target
    overlays: tuple[Path, ...]
    enable: tuple[str, ...]
    mask: tuple[str, ...]
    modules: tuple[str, ...]
    first_boot: tuple[str, ...]  # shell commands, run once by root when a desktop is first booted
    screen: Screen
    layout: str


@dataclass(frozen=True)
class _Rule:
    """What a field must be: `pattern` for the text, or each entry (list), or each value (table)."""

    shape: type
    pattern: re.Pattern[str]
    what: str
    keys: re.Pattern[str] | None = None
    limits: tuple[int, int] | None = None  # of a number


_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+\Z")
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]+\.(service|socket|timer|path|mount|automount|target)\Z")
_NPM = re.compile(r"(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*\Z")
_NUMBER = re.compile(r"\d+\Z")
_PATHS = _Rule(list, re.compile(r"/[^\s']+\Z"), "absolute path patterns")


def _pixels(field: str) -> _Rule:
    low, high = LIMITS[field]
    return _Rule(int, _NUMBER, f"a whole number from {low} to {high}", limits=(low, high))


_RULES: dict[str, _Rule] = {
    "summary": _Rule(str, re.compile(r"[^\n]{1,200}\Z"), "one line of text"),
    "extends": _Rule(str, NAME, "the name of a recipe: a-z, 0-9 and -"),
    "desktop": _Rule(str, NAME, "the name of a directory in guest/desktops"),
    "browser": _Rule(str, NAME, "the name of a directory in guest/browsers"),
    "system.distribution": _Rule(str, re.compile(r"(debian|ubuntu)\Z"), "debian or ubuntu"),
    "system.suite": _Rule(str, re.compile(r"[a-z]+\Z"), "a release's code name, as trixie"),
    "system.mirror": _Rule(str, re.compile(r"https?://\S+\Z"), "the http address of a mirror of that suite"),
    "system.components": _Rule(list, re.compile(r"[a-z-]+\Z"), "names as main"),
    "system.kernel": _Rule(str, _PACKAGE, "the name of a kernel package"),
    "system.locale": _Rule(str, re.compile(r"[A-Za-z_]+\.UTF-8\Z"), "a UTF-8 locale, as C.UTF-8"),
    "system.timezone": _Rule(str, re.compile(r"[A-Za-z]+(/[A-Za-z0-9_+-]+)*\Z"), "a zone, as Etc/UTC"),
    "system.packages": _Rule(list, _PACKAGE, "names of packages"),
    "system.unpacked": _Rule(list, _PACKAGE, "names of packages"),
    "system.exclude": _PATHS,
    "system.unused": _PATHS,
    "system.sources": _Rule(list, re.compile(r"https?://\S+( [\w./-]+)+\Z"), "lines URI SUITE COMPONENT"),
    "system.keys": _Rule(list, re.compile(r"https://\S+\Z"), "https addresses of keys"),
    "pieces": _Rule(
        dict, re.compile(r"[\w./*+-]+( [\w./*+-]+)*\Z"), "file patterns with spaces between", _PACKAGE
    ),
    "tools": _Rule(dict, re.compile(r"\d+\.\d+\.\d+[0-9A-Za-z.+-]*\Z"), "a version, as 1.2.3", _NPM),
    "links": _Rule(dict, re.compile(r"[^\0]+\Z"), "the target of a symbolic link", re.compile(r"[\w.-]+\Z")),
    "files.overlays": _Rule(list, re.compile(r"[^\0]+\Z"), "directories, relative to the recipe"),
    "units.enable": _Rule(list, _UNIT, "names of units with their suffix"),
    "units.mask": _Rule(list, _UNIT, "names of units with their suffix"),
    "initrd.modules": _Rule(list, re.compile(r"[a-z0-9_]+\Z"), "names of kernel modules"),
    "first-boot.commands": _Rule(list, re.compile(r"[^\0\n]+\Z"), "lines for sh, one command each"),
    "screen.width": _pixels("screen.width"),
    "screen.height": _pixels("screen.height"),
    "disk.layout": _Rule(str, re.compile(r"(overlay|copy)\Z"), "overlay or copy"),
}
_SHAPES: dict[type, str] = {str: "text", int: "a number", list: "a list", dict: "a table"}
_SECTIONS = {field.partition(".")[0] for field in _RULES if "." in field}
_OPTIONAL = {
    "extends", "files.overlays", "links", "units.mask", "system.unpacked", "system.exclude", "system.unused",
    "system.sources", "system.keys", "system.mirror", "first-boot.commands", "screen.width", "screen.height",
    "disk.layout", "pieces",
}  # fmt: skip


def load_recipe(name: str, places: tuple[Path, ...]) -> Recipe:
    """The recipe `name` from the first of the directories that has it.

    Raises NotFoundError if none has it, InvalidError with all faults of the file, each with its line.
    """
    fields = _resolve(name, places, ())
    faults = [
        Fault(field, "is missing") for field in _RULES if field not in fields and field not in _OPTIONAL
    ]
    if faults:
        raise _invalid(name, faults)

    def listed(field: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(fields.get(field, ())))

    return Recipe(
        name=name,
        summary=fields["summary"],
        desktop=fields["desktop"],
        browser=fields["browser"],
        distribution=fields["system.distribution"],
        suite=fields["system.suite"],
        mirror=fields.get("system.mirror", ""),
        components=listed("system.components"),
        kernel=fields["system.kernel"],
        locale=fields["system.locale"],
        timezone=fields["system.timezone"],
        packages=listed("system.packages"),
        unpacked=listed("system.unpacked"),
        exclude=listed("system.exclude"),
        unused=listed("system.unused"),
        sources=listed("system.sources"),
        keys=listed("system.keys"),
        pieces=fields.get("pieces", {}),
        tools=fields["tools"],
        links=fields.get("links", {}),
        overlays=tuple(Path(path) for path in fields.get("files.overlays", ())),
        enable=listed("units.enable"),
        mask=listed("units.mask"),
        modules=listed("initrd.modules"),
        first_boot=tuple(fields.get("first-boot.commands", ())),
        screen=Screen(
            width=fields.get("screen.width", Screen.width), height=fields.get("screen.height", Screen.height)
        ),
        layout=fields.get("disk.layout", "overlay"),
    )


def _resolve(name: str, places: tuple[Path, ...], seen: tuple[str, ...]) -> Table:
    """The fields of a recipe and of all it extends, by their dotted names."""
    if name in seen:
        raise _invalid(name, [Fault("extends", f"goes in a circle: {' -> '.join((*seen, name))}")])
    path = next((place / f"{name}.toml" for place in places if (place / f"{name}.toml").is_file()), None)
    if path is None:
        known = sorted({found.stem for place in places if place.is_dir() for found in place.glob("*.toml")})
        raise NotFoundError(
            f"there is no recipe {name!r}" + (f", which {seen[-1]} extends" if seen else ""),
            hint=f"recipes here: {', '.join(known) or 'none'}; your own go to {places[0]}",
        )
    fields = _parse(name, path)
    fields["files.overlays"] = [str((path.parent / item).resolve()) for item in fields["files.overlays"]]
    other = fields.pop("extends", None)
    return fields if other is None else _merge(_resolve(other, places, (*seen, name)), fields)


def _parse(name: str, path: Path) -> Table:
    text = path.read_text()
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _invalid(name, [Fault(str(path), f"is no TOML: {error}")]) from error
    fields: Table = {"files.overlays": []}
    faults: list[Fault] = []
    for field, value in _flat(document):
        found = list(_problems(field, value))
        line = _line_of(text, field)
        faults.extend(Fault(f"{field} (line {line})" if line else field, problem) for problem in found)
        fields[field] = value
    if faults:
        raise _invalid(name, faults)
    return fields


def _flat(document: Table) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in document.items():
        if key in _SECTIONS and isinstance(value, dict):
            flat.extend((f"{key}.{inner}", entry) for inner, entry in value.items())
        else:
            flat.append((key, value))
    return flat


def _problems(field: str, value: object) -> list[str]:
    rule = _RULES.get(field)
    if rule is None:
        return [f"is unknown; fields are {', '.join(_RULES)}"]
    if not isinstance(value, rule.shape) or isinstance(value, bool):
        return [f"must be {_SHAPES[rule.shape]}: {rule.what}"]
    match value:
        case int():
            assert rule.limits is not None  # noqa: S101 - every number has them, see _pixels
            low, high = rule.limits
            return [] if low <= value <= high else [f"must be {rule.what}"]
        case dict():
            wrong = [str(key) for key in value if rule.keys and not rule.keys.match(str(key))]
            problems = [f"{key!r} is not a name allowed here" for key in wrong]
            texts = [entry for entry in value.values() if entry != ""]
        case list():
            problems, texts = [], [_bare(entry) for entry in value]
        case _:
            problems, texts = [], [value]
    for text in texts:
        if not isinstance(text, str) or not rule.pattern.match(text):
            problems.append(f"{text!r} is not {rule.what}")
    return problems


def _bare(entry: object) -> object:
    return entry.removeprefix("-") if isinstance(entry, str) else entry


def _merge(below: Table, above: Table) -> Table:
    merged = dict(below)
    for field, value in above.items():
        match value:
            case list():
                gone = {entry[1:] for entry in value if entry.startswith("-")}
                kept = [entry for entry in below.get(field, []) if entry not in gone]
                merged[field] = kept + [entry for entry in value if not entry.startswith("-")]
            case dict():
                merged[field] = {
                    key: entry for key, entry in (below.get(field, {}) | value).items() if entry != ""
                }
            case _:
                merged[field] = value
    return merged


def _line_of(text: str, field: str) -> int | None:
    """Where a field is set. tomllib keeps no positions, so: the first line `key =` in its section."""
    section, _, key = field.rpartition(".")
    setting = re.compile(rf'\s*"?{re.escape(key)}"?\s*=')
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            inside = header.group(1).strip()
            if inside == field:
                return number
        elif inside == section and setting.match(line):
            return number
    return None


def _invalid(name: str, faults: list[Fault]) -> InvalidError:
    error = InvalidError.of(faults, hint="recipes/default.toml shows every field")
    error.message = f"the recipe {name!r} is wrong: {error.message}"
    return error
