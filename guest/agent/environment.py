"""The environment a person would get by logging in to the desktop, made anew for every command."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path

from oriel.model.errors import NotFoundError

__all__ = ["account", "groups_of", "login_environment", "parse_environment", "set_variable"]

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")


def parse_environment(text: str) -> dict[str, str]:
    """/etc/environment as pam_env(8) reads it: KEY=VALUE lines, one pair of quotes taken off."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not (match := _LINE.fullmatch(line)):
            continue
        key, value = match[1], match[2].strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        values[key] = value
    return values


def set_variable(text: str, key: str, value: str) -> str:
    """`text` of /etc/environment with `key` set once, where it stood first; all else as it was."""
    lines: list[str] = []
    done = False
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[1] != key or line.lstrip().startswith("#"):
            lines.append(line)
        elif not done:
            lines.append(f"{key}={value}")
            done = True
    if not done:
        lines.append(f"{key}={value}")
    return "\n".join(lines) + "\n"


def account(name: str) -> pwd.struct_passwd:
    """The user of that name, or NotFoundError."""
    try:
        return pwd.getpwnam(name)
    except KeyError as error:
        raise NotFoundError(
            f"there is no user {name!r} in the desktop", hint="leave `user` out for the desktop's own user"
        ) from error


def login_environment(
    who: pwd.struct_passwd, *, display: str, extra: Mapping[str, str], root: Path = Path("/")
) -> dict[str, str]:
    """Least to most particular: defaults, /etc/default/locale, /etc/environment, the account, `extra`."""
    values = {"PATH": PATH if who.pw_uid else ROOT_PATH, "LANG": "C.UTF-8"}
    for name in ("etc/default/locale", "etc/environment"):
        try:
            values |= parse_environment((root / name).read_text(errors="replace"))
        except FileNotFoundError:
            continue
    values |= {
        "HOME": who.pw_dir,
        "USER": who.pw_name,
        "LOGNAME": who.pw_name,
        "SHELL": who.pw_shell or "/bin/sh",
        "DISPLAY": display,
    }
    runtime = f"/run/user/{who.pw_uid}"
    if Path(runtime).is_dir():
        values["XDG_RUNTIME_DIR"] = runtime
        if Path(runtime, "bus").exists():
            values["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={runtime}/bus"
    return values | dict(extra)


def groups_of(who: pwd.struct_passwd) -> list[int]:
    """All groups of an account."""
    return os.getgrouplist(who.pw_name, who.pw_gid)
