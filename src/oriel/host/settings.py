"""Every setting of an installation, declared once: type, default and help.

Flags win over `ORIEL_*`, which win over the home's `oriel.toml`, which wins over the default. A value
that is wrong is refused, all of them together with where each came from; none is replaced quietly.
"""

from __future__ import annotations

import argparse
import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from oriel.model.errors import Fault, InvalidError
from oriel.model.spec import LIMITS, NAME, Runtime

__all__ = ["Settings", "add_flags", "load_settings", "reference", "to_flags"]

PREFIX = "ORIEL_"
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")

Check = Callable[[Any], str]  # what is wrong with a value of the right type, "" if nothing


def _between(low: float, high: float) -> Check:
    return lambda value: "" if low <= value <= high else f"must be from {low:g} to {high:g}"


def _one_of(*allowed: str) -> Check:
    return lambda value: "" if value in allowed else f"must be one of {', '.join(allowed)}"


_quota = _between(0, 1_000_000_000)


def _limit(name: str) -> Check:
    return _between(*LIMITS[name])


def _absolute(value: Path | None) -> str:
    return "" if value is None or value.is_absolute() else "must be an absolute path"


def _origin(value: str) -> str:
    parts = urlsplit(value)
    good = parts.scheme in ("http", "https") and parts.hostname and parts.path in ("", "/")
    return "" if good else "must be http://HOST[:PORT] or https://HOST[:PORT]"


def _origins(values: Sequence[str]) -> str:
    return next((problem for value in values if (problem := _origin(value))), "")


def _networks(values: Sequence[str]) -> str:
    for value in values:
        try:
            ipaddress.ip_network(value)
        except ValueError:
            return f"{value!r} is no address and no CIDR"
    return ""


def _proxy_name(value: str) -> str:
    return "" if NAME.match(value) else "must be direct, none or a proxy's name"


def _image_name(value: str) -> str:
    good = re.match(r"[a-z0-9][a-z0-9-]{0,62}(@[0-9a-f]{12})?\Z", value) or value == ""
    return "" if good else "must be an image's NAME or NAME@VERSION"


def _web_url(value: str) -> str:
    if value == "":
        return ""
    good = re.match(r"https?://[^/?#@\s]+([/?][\x21-\x7e]*)?\Z", value)
    return "" if good else "must be an http:// or https:// address without credentials"


def setting(default: Any, help_: str, check: Check | None = None) -> Any:
    """One setting. `help_` is a sentence of the reference; units belong into its name or here."""
    return field(default=default, metadata={"help": help_, "check": check})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """An installation's settings, checked."""

    host: str = setting("127.0.0.1", "Address to listen on.")
    port: int = setting(8080, "Port to listen on; 0 lets the system choose one.", _between(0, 65535))
    public_url: str = setting(
        "", "Address under which browsers reach the page, for links; empty: the one they asked for.",
        lambda value: _origin(value) if value else "",
    )  # fmt: skip
    allowed_origins: tuple[str, ...] = setting(
        (), "Origins besides the page's own that may open a desktop's streams.", _origins
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "Addresses or CIDRs of TLS proxies in front, whose X-Forwarded-For and -Proto are believed.",
        _networks,
    )
    tls_certificate: Path | None = setting(  # noqa: RUF009 - it is a field
        None, "Certificate chain (PEM) to serve https with; not set: http, as behind a proxy.", _absolute
    )  # fmt: skip
    tls_key: Path | None = setting(  # noqa: RUF009 - it is a field
        None, "The certificate's key (PEM), readable by the controller's user.", _absolute
    )
    images_directory: Path | None = setting(  # noqa: RUF009 - it is a field
        None, "Where golden images are kept; not set: images/ in the home.", _absolute
    )
    web_directory: Path | None = setting(  # noqa: RUF009 - it is a field
        None, "The built page; not set: web/dist of the checkout.", _absolute
    )
    database_url: str = setting(
        "", "Database of the controller, as an SQLAlchemy URL; empty: SQLite in the home."
    )

    media_port: int = setting(
        52000, "First port of the live view's relays, UDP and TCP: a desktop's own is this plus its slot; "
        "0 lets the system choose.", _between(0, 60000),
    )  # fmt: skip
    media_host: str = setting("", "Address the live view's relays listen on; empty: as `host`.")
    media_addresses: tuple[str, ...] = setting(
        (), "Addresses under which viewers reach the live view's relays, as behind a NAT; "
        "empty: where the viewer reached the page.", _networks,
    )  # fmt: skip

    runtime: str = setting("auto", "Runtime of a desktop that names none.", _one_of("auto", *Runtime))
    image: str = setting("", "Image of a desktop that names none; empty: the host's default.", _image_name)
    vcpus: int = setting(2, "Virtual CPUs of a desktop that names none.", _limit("vcpus"))
    memory_mib: int = setting(2048, "Memory of a desktop that names none, in MiB.", _limit("memory_mib"))
    disk_gib: int = setting(8, "Disk of a desktop that names none, in GiB.", _limit("disk_gib"))
    default_proxy: str = setting(
        "direct", "Way out of a desktop that names none: direct, none or a proxy's name.", _proxy_name
    )
    direct_allow: tuple[str, ...] = setting(
        (), "Addresses or CIDRs that desktops may reach although they are not public.", _networks
    )
    echo_url: str = setting(
        "", "A web address that answers with its caller's; shows a proxy's exit address.", _web_url
    )
    country_database: Path | None = setting(  # noqa: RUF009 - it is a field
        None, "Database (.mmdb) that tells the country of a desktop's address; not set: none is told.",
        _absolute,
    )  # fmt: skip

    restart: str = setting(
        "no", "When a desktop that says nothing of it is started again: no, on-failure, or always, "
        "which is also after the host was restarted.", _one_of("no", "on-failure", "always"),
    )  # fmt: skip
    clipboard: str = setting(
        "both", "Which way the clipboard of a desktop that says nothing of it goes: off, in, out, or both.",
        _one_of("off", "in", "out", "both"),
    )  # fmt: skip
    concurrent_starts: int = setting(
        2, "How many desktops start, or wake, at the same time.", _between(1, 64)
    )
    waiting_starts: int = setting(
        64,
        "How many more may wait for their turn to start; beyond, creates are refused.",
        _between(0, 100_000),
    )
    pool_size: int = setting(
        -1, "How many desktops of a kind wait ready; -1: as many as were lately asked for at once.",
        _between(-1, 64),
    )  # fmt: skip
    pool_memory_mib: int = setting(
        0, "Memory that waiting desktops may take together, in MiB; 0: a quarter of the host's.",
        _between(0, 1 << 30),
    )  # fmt: skip
    keep_templates: bool = setting(
        True, "Whether templates are made and renewed by themselves, while the host is calm."
    )
    template_settle_s: float = setting(
        150.0, "How long a desktop is left alone before it becomes a template, in seconds: Chromium's start"
        " goes on for two minutes, and would in each that begins there.", _between(0, 600),
    )  # fmt: skip
    idle_bytes_per_second: int = setting(
        0, "Traffic above which a desktop that nobody looks at counts as used; 0: traffic does not count.",
        _between(0, 1 << 40),
    )  # fmt: skip
    memory_reserve_mib: int = setting(
        512, "Free memory of the host that no new desktop may count on, in MiB.", _between(0, 1 << 30)
    )
    memory_share_percent: int = setting(
        50, "Share of its memory that a desktop must find free to start.", _between(0, 100)
    )
    load_limit: int = setting(
        32, "Tasks for each processor of the host (load, one minute) above which none starts; 0: no limit.",
        _between(0, 10_000),
    )  # fmt: skip
    start_deadline_s: float = setting(600.0, "How long a start may take, in seconds.", _between(1, 3600))
    stop_deadline_s: float = setting(60.0, "How long a stop may take, in seconds.", _between(1, 3600))
    disk_reserve_mib: int = setting(
        1024, "Free disk of the host below which no desktop is created, in MiB.", _between(0, 1 << 30)
    )

    ticket_ttl_s: int = setting(45, "Life of a ticket that asks for none, in seconds.", _between(5, 3600))
    grant_ttl_s: int = setting(
        8 * 3600, "How long a redeemed viewer link may reconnect, in seconds.", _between(60, 7 * 86400)
    )
    session_ttl_s: int = setting(
        7 * 86400, "How long the page stays signed in, in seconds.", _between(300, 365 * 86400)
    )
    oidc_issuer: str = setting(
        "",
        "OpenID provider at which people may sign in, as its own documents name it; empty: none.",
        _web_url,
    )
    oidc_client_id: str = setting("", "Name under which the provider knows this installation.")
    oidc_client_secret_file: Path | None = setting(  # noqa: RUF009 - it is a field
        None, "File with the secret that the provider gave this installation.", _absolute
    )
    oidc_title: str = setting("your organisation", "What the page calls the provider.")
    oidc_role: str = setting(
        "user", "Role of somebody who comes from the provider for the first time; none: only who was added.",
        _one_of("none", "user", "viewer"),
    )  # fmt: skip

    quota_desktops: int = setting(
        0, "Desktops a user may have; 0: no limit. Users may have their own.", _quota
    )
    quota_vcpus: int = setting(0, "Virtual CPUs of all desktops of a user; 0: no limit.", _quota)
    quota_memory_mib: int = setting(0, "Memory of all desktops of a user, in MiB; 0: no limit.", _quota)
    quota_disk_gib: int = setting(0, "Disk of all desktops of a user, in GiB; 0: no limit.", _quota)
    quota_proxies: int = setting(0, "Proxies a user may have; 0: no limit.", _quota)

    still_interval_s: float = setting(
        3.0, "Age at which a desktop's still picture is taken again while looked at.", _between(0.2, 600)
    )
    requests_per_second: int = setting(
        100, "Requests a token may make per second, on average.", _between(1, 100000)
    )
    request_burst: int = setting(400, "Requests a token may make at once.", _between(1, 100000))
    connections_per_user: int = setting(
        200, "Streams a user may have open at once, with those they gave links to.", _between(1, 5000)
    )
    body_limit_kib: int = setting(1024, "Longest request body that is no file.", _between(16, 1 << 20))
    upload_limit_mib: int = setting(
        4096, "Longest file that can be put into a desktop.", _between(1, 1 << 20)
    )
    events_kept: int = setting(100_000, "Events kept for replay; older ones go.", _between(1000, 1 << 30))
    otlp_endpoint: str = setting(
        "", "OpenTelemetry collector for traces of requests (OTLP over HTTP); empty: none are made.", _web_url
    )
    log_level: str = setting("info", "What is logged.", _one_of("debug", "info", "warning", "error"))


def load_settings(file: Path, flags: Mapping[str, str | None], environ: Mapping[str, str]) -> Settings:
    """The settings from all sources. `flags`: setting name → text, None where it was not given.

    InvalidError with every fault together: wrong values from any source, names in `file` that are no
    settings, a file that is no TOML.
    """
    known = {item.name: item for item in fields(Settings)}
    faults: list[Fault] = []
    written = _read_file(file, known, faults)
    values: dict[str, Any] = {}
    for name, item in known.items():
        variable = PREFIX + name.upper()
        if (text := flags.get(name)) is not None:
            source, given = _flag(name), text
        elif variable in environ:
            source, given = variable, environ[variable]
        elif name in written:
            source, given = f"{file}: {name}", written[name]
        else:
            continue
        try:
            values[name] = _checked(item, given)
        except ValueError as problem:
            faults.append(Fault(source, str(problem)))
    if (values.get("tls_certificate") is None) != (values.get("tls_key") is None):
        faults.append(Fault("tls_certificate", "goes with tls_key: set both, or neither"))
    if faults:
        raise InvalidError.of(faults, hint="docs/reference/settings.md lists every setting")
    return Settings(**values)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting. Their values stay text: `load_settings` reads and judges them together."""
    for item in fields(Settings):
        told = f"{item.metadata['help']} (default: {_shown(item.default) or 'not set'})".replace("%", "%%")
        parser.add_argument(_flag(item.name), dest=item.name, default=None, metavar=_metavar(item), help=told)


def to_flags(settings: Settings, *, without: Sequence[str] = ()) -> list[str]:
    """What differs from the defaults, as flags for another process of ours."""
    words: list[str] = []
    for item in fields(Settings):
        value = getattr(settings, item.name)
        if item.name not in without and value != item.default:
            words.append(f"{_flag(item.name)}={_shown(value)}")
    return words


def reference() -> str:
    """The reference page, as Markdown."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for item in fields(Settings):
        rows.append(f"| `{item.name}` | `{_shown(item.default) or '–'}` | {item.metadata['help']} |")
    return "\n".join(rows) + "\n"


def _read_file(file: Path, known: Mapping[str, object], faults: list[Fault]) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            written = tomllib.load(stream)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        faults.append(Fault(str(file), f"is no TOML: {error}"))
        return {}
    except OSError as error:
        faults.append(Fault(str(file), f"cannot be read: {error.strerror}"))
        return {}
    faults.extend(Fault(f"{file}: {name}", "no such setting") for name in sorted(set(written) - set(known)))
    return written


def _checked(item: Field[Any], given: object) -> Any:
    """`given` (text, or a TOML value) as the setting's type. ValueError says what is allowed."""
    value = _converted(item, given)
    check: Check | None = item.metadata["check"]
    if check is not None and (problem := check(value)):
        raise ValueError(problem)
    return value


def _converted(item: Field[Any], given: object) -> Any:
    kind = str(item.type)
    if kind.startswith("tuple"):
        return _words(given)
    if kind.startswith("Path"):
        if not isinstance(given, str):
            raise ValueError("must be a path")
        return Path(given) if given else None
    if kind == "bool":
        return _truth(given)
    if kind in ("int", "float"):
        return _number(given, whole=kind == "int")
    if not isinstance(given, str):
        raise ValueError("must be text")  # noqa: TRY004 - one kind of error for the caller
    return given


def _words(given: object) -> tuple[str, ...]:
    if isinstance(given, str):
        return tuple(word.strip() for word in given.split(",") if word.strip())
    if isinstance(given, list) and all(isinstance(word, str) for word in given):
        return tuple(given)
    raise ValueError("must be a list of texts (in a flag or variable: separated by commas)")


def _truth(given: object) -> bool:
    if isinstance(given, bool):
        return given
    if isinstance(given, str) and given.lower() in _TRUE + _FALSE:
        return given.lower() in _TRUE
    raise ValueError("must be true or false")


def _number(given: object, *, whole: bool) -> int | float:
    if isinstance(given, str):
        pattern = r"-?[0-9]{1,18}" if whole else r"-?[0-9]{1,18}(\.[0-9]{1,9})?"
        if re.fullmatch(pattern, given.strip()):
            return int(given) if whole else float(given)
    elif (
        isinstance(given, int | float) and not isinstance(given, bool) and (not whole or given == int(given))
    ):
        return int(given) if whole else float(given)
    raise ValueError("must be a whole number" if whole else "must be a number")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _metavar(item: Field[Any]) -> str:
    kind = str(item.type)
    return "N" if kind in ("int", "float") else "LIST" if kind.startswith("tuple") else "TEXT"


def _shown(value: Any) -> str:
    if value is None or value is MISSING:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
