"""Request bodies, parsed at the edge. Limits come from oriel.model.spec; faults are ours, not pydantic's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oriel.controller.rights import Permission, Role
from oriel.model.clipboard import HTML, MOST_BYTES, TEXT
from oriel.model.errors import Fault, InvalidError
from oriel.model.spec import LIMITS, NAME

__all__ = ["Change", "Wish", "faults_of", "parse"]

NAME_PATTERN = NAME.pattern.replace(r"\Z", "$")
NAME_RULE = "must be 1 to 63 of a-z, 0-9 and -, not beginning or ending with -"
Name = Annotated[str, Field(pattern=f"^{NAME_PATTERN}", max_length=63)]
Title = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[^\x00-\x1f\x7f]+$")]
Label = Annotated[str, Field(max_length=256)]
LabelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
ClipboardWay = Literal["off", "in", "out", "both"]
RestartPolicy = Literal["no", "on-failure", "always"]
Labels = Annotated[dict[LabelName, Label], Field(max_length=32)]


def _between(limit: str) -> Any:
    low, high = LIMITS[limit]
    return Field(ge=low, le=high)


class Body(BaseModel):
    """Unknown fields are refused; a text is never taken for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ScreenWish(Body):
    width: Annotated[int, _between("screen.width")] = 1280
    height: Annotated[int, _between("screen.height")] = 720


class RatesWish(Body):
    """Limits of a desktop's devices; 0 is none. Firecracker only."""

    disk_mib_s: Annotated[int, _between("rates.disk_mib_s")] = 0
    disk_ops_s: Annotated[int, _between("rates.disk_ops_s")] = 0
    network_mib_s: Annotated[int, _between("rates.network_mib_s")] = 0


class Wish(Body):
    """A new desktop. Whatever is left out the controller decides."""

    name: Name | None = None
    runtime: Literal["auto", "firecracker", "qemu", "container"] | None = None
    image: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}(@[0-9a-f]{12})?$")] | None = None
    vcpus: Annotated[int, _between("vcpus")] | None = None
    memory_mib: Annotated[int, _between("memory_mib")] | None = None
    disk_gib: Annotated[int, _between("disk_gib")] | None = None
    screen: ScreenWish | None = None
    rates: RatesWish | None = None
    proxy: Name | None = None
    idle_timeout_s: Annotated[int, _between("idle_timeout_s")] | None = None
    idle_action: Literal["pause", "stop"] | None = None
    max_age_s: Annotated[int, _between("max_age_s")] | None = None
    restart: RestartPolicy | None = None
    clipboard: ClipboardWay | None = None
    labels: Labels | None = None

    @classmethod
    def read(cls, given: object) -> tuple[dict[str, Any], list[Fault]]:
        """The fields that are given and right, and what is wrong with the others."""
        try:
            return cls.model_validate(given).model_dump(exclude_none=True), []
        except ValidationError as error:
            faults = faults_of(error.errors())
            bad = {fault.field.partition(".")[0] for fault in faults}
            rest = given if isinstance(given, Mapping) else {}
            return {
                key: value
                for key, value in rest.items()
                if key in cls.model_fields and key not in bad and value is not None
            }, faults


class Change(Body):
    """What may be changed of a desktop. `owner`: by an administrator."""

    name: Name | None = None
    labels: Labels | None = None
    idle_timeout_s: Annotated[int, _between("idle_timeout_s")] | None = None
    idle_action: Literal["pause", "stop"] | None = None
    max_age_s: Annotated[int, _between("max_age_s")] | None = None
    restart: RestartPolicy | None = None
    clipboard: ClipboardWay | None = None
    owner: Name | None = None


class ForkWish(Body):
    """`snapshot`: as it was then, else as it is now. `proxy`: else the original's."""

    name: Name | None = None
    snapshot: Name | None = None
    proxy: Name | None = None


class SnapshotWish(Body):
    name: Name | None = None


class RewindWish(Body):
    snapshot: Name


class TemplateWish(Body):
    """What it is for, as in a wish for a desktop."""

    runtime: Literal["auto", "firecracker", "qemu", "container"] | None = None
    image: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}(@[0-9a-f]{12})?$")] | None = None
    vcpus: Annotated[int, _between("vcpus")] | None = None
    memory_mib: Annotated[int, _between("memory_mib")] | None = None
    disk_gib: Annotated[int, _between("disk_gib")] | None = None
    screen: ScreenWish | None = None


class TicketWish(Body):
    mode: Literal["control", "view"] = "control"
    ttl_s: Annotated[int, Field(ge=1, le=86400)] | None = None


class Redemption(Body):
    ticket: Annotated[str, Field(max_length=200)]


Password = Annotated[str, Field(min_length=1, max_length=1024)]


class SignIn(Body):
    """A token, or a name with its password."""

    token: Annotated[str, Field(max_length=200)] | None = None
    user: Annotated[str, Field(max_length=200)] | None = None
    password: Password | None = None

    @property
    def by_password(self) -> bool:
        """InvalidError if it is neither way, or both."""
        if self.token is not None and self.user is None and self.password is None:
            return False
        if self.token is None and self.user is not None and self.password is not None:
            return True
        raise InvalidError.of([Fault("token", "give a token, or user and password")])


class PasswordChange(Body):
    """One's own: `current`, if there is one already."""

    current: Password | None = None
    password: Password


class NewPassword(Body):
    password: Password


class ShareWish(Body):
    user: Name
    mode: Literal["control", "view"] = "view"
    expires_in_s: Annotated[int, Field(ge=1, le=10 * 366 * 86400)] | None = None


Amount = Annotated[int, Field(ge=0, le=1 << 62)]


class EgressChange(Body):
    """Limits of 0 are none. A quota counts bytes both ways, over every restart, until `reset_quota` begins it
    anew. What an administrator sets on somebody else's desktop, only administrators change."""

    proxy: Name | None = None
    allow: list[Annotated[str, Field(max_length=300)]] | None = None
    deny: list[Annotated[str, Field(max_length=300)]] | None = None
    max_connections: Annotated[int, Field(ge=1, le=65536)] | None = None
    connections_per_second: Amount | None = None
    bytes_per_second: Amount | None = None
    byte_quota: Amount | None = None
    reset_quota: bool | None = None
    access_log: bool | None = None

    def limits(self, now: Mapping[str, Any]) -> dict[str, Any]:
        """What is changed of the limits that hold `now`."""
        changed = self.model_dump(exclude_none=True, exclude={"proxy", "allow", "deny", "reset_quota"})
        if self.reset_quota:
            changed["quota_round"] = now.get("quota_round", 0) + 1
        return changed


class Exec(Body):
    argv: Annotated[list[Annotated[str, Field(max_length=1 << 17)]], Field(min_length=1, max_length=4096)]
    cwd: Annotated[str, Field(max_length=4096)] | None = None
    env: dict[str, str] | None = None
    stdin: str | None = None
    timeout_s: Annotated[float, Field(gt=0, le=86400)] | None = None


class Point(Body):
    x: Annotated[int, Field(ge=0, le=32767)]
    y: Annotated[int, Field(ge=0, le=32767)]


Button = Literal["left", "middle", "right"]
Coordinate = Annotated[int, Field(ge=0, le=32767)]


class Click(Body):
    """Without `x` and `y`: where the pointer is."""

    x: Coordinate | None = None
    y: Coordinate | None = None
    button: Button = "left"
    count: Annotated[int, Field(ge=1, le=5)] = 1


class Drag(Point):
    to_x: Coordinate
    to_y: Coordinate
    button: Button = "left"


class Scroll(Body):
    x: Coordinate | None = None
    y: Coordinate | None = None
    dx: Annotated[int, Field(ge=-100, le=100)] = 0
    dy: Annotated[int, Field(ge=-100, le=100)] = 0


class ScreenSize(Body):
    """`viewer`: the session that asks, if it is one."""

    width: Annotated[int, Field(ge=320, le=3840)]
    height: Annotated[int, Field(ge=240, le=2160)]
    viewer: Annotated[str, Field(max_length=64)] | None = None


class Control(Body):
    """`to`: the viewer who gets it; without one it is let go of."""

    action: Literal["take", "request", "withdraw", "give"]
    to: Annotated[str, Field(max_length=64)] | None = None


class Text(Body):
    text: Annotated[str, Field(max_length=100_000)]


class Copied(Body):
    """What is put on the clipboard: the same as text and as markup, or one of them. `viewer`: the session."""

    text: Annotated[str, Field(max_length=MOST_BYTES[TEXT])] | None = None
    html: Annotated[str, Field(max_length=MOST_BYTES[HTML])] | None = None
    viewer: Annotated[str, Field(max_length=64)] | None = None


class Keys(Body):
    keys: Annotated[str, Field(min_length=1, max_length=200)]


ProxyUrl = Annotated[str, Field(min_length=1, max_length=1 << 18)]


class ProxyWish(Body):
    """`url`: one address, a range of ports, or one of these a line. `exclusive`: one desktop per address.
    `shared`: everyone may use it. `failover`: when a desktop's address fails, another serves."""

    name: Name
    url: ProxyUrl
    labels: Labels | None = None
    exclusive: bool = False
    shared: bool = False
    failover: bool = False


class ProxyChange(Body):
    name: Name | None = None
    url: ProxyUrl | None = None
    labels: Labels | None = None
    exclusive: bool | None = None
    shared: bool | None = None
    failover: bool | None = None
    owner: Name | None = None


class CheckWish(Body):
    """`place`: which address of a pool, from 0. `ports`: those whose use the proxy may forbid."""

    place: Annotated[int, Field(ge=0, lt=1000)] = 0
    ports: Annotated[list[Annotated[int, Field(ge=1, le=65535)]], Field(max_length=16)] = [22, 80, 443]


class Assignment(Body):
    """The desktop that is to go out by a proxy."""

    desktop: Annotated[str, Field(min_length=1, max_length=63)]


Most = Annotated[int, Field(ge=0, le=1_000_000_000)]
# Who they are to the OIDC provider: its `sub` (OpenID Connect Core, 2: at most 255 ASCII letters).
Subject = Annotated[str, Field(max_length=255, pattern=r"^[\x20-\x7e]*$")]


class QuotaWish(Body):
    """How much a user may have in all. What is null follows the settings."""

    desktops: Most | None = None
    vcpus: Most | None = None
    memory_mib: Most | None = None
    disk_gib: Most | None = None
    proxies: Most | None = None

    def given(self) -> dict[str, int]:
        return self.model_dump(exclude_none=True)


class UserWish(Body):
    name: Name
    role: Literal["admin", "user", "viewer"] = Role.USER.value
    password: Password | None = None
    subject: Subject | None = None
    quota: QuotaWish | None = None


class UserChange(Body):
    """`quota` replaces what the user had of their own; `subject` "" takes it away."""

    role: Literal["admin", "user", "viewer"] | None = None
    subject: Subject | None = None
    quota: QuotaWish | None = None


class TokenWish(Body):
    user: Name | None = None
    name: Title
    scopes: list[Literal["read", "control", "admin"]] | None = None
    expires_in_s: Annotated[int, Field(ge=1, le=10 * 366 * 86400)] | None = None

    def permissions(self) -> list[Permission] | None:
        return None if self.scopes is None else sorted({Permission(scope) for scope in self.scopes})


class DrainWish(Body):
    """`on`: nothing new begins on the host; false: it does again."""

    on: bool


class ImageWish(Body):
    recipe: Name = "default"


def parse(model: type[Body], given: object) -> Any:
    """`given` as `model`; InvalidError with every fault."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise InvalidError.of(faults_of(error.errors())) from None


def faults_of(errors: Sequence[Any]) -> list[Fault]:
    """pydantic's findings in our words; never with the value, which may be a secret."""
    return [Fault(".".join(str(part) for part in error["loc"]) or "body", _words(error)) for error in errors]


def _words(error: Mapping[str, Any]) -> str:
    kind, context = str(error["type"]), error.get("ctx") or {}
    if kind == "extra_forbidden":
        return "unknown field"
    if kind == "missing":
        return "is missing"
    if kind in ("greater_than_equal", "less_than_equal") and error["loc"]:
        name = ".".join(str(part) for part in error["loc"])
        if name in LIMITS:
            low, high = LIMITS[name]
            return f"must be a whole number from {low} to {high}"
    if kind == "string_pattern_mismatch" and context.get("pattern") == f"^{NAME_PATTERN}":
        return NAME_RULE
    if kind.startswith("int_"):
        return "must be a whole number"
    if kind == "literal_error":
        return f"must be one of {str(context.get('expected', '')).replace(chr(39), '')}"
    return str(error["msg"]).replace("Input should", "must").replace("String should", "must")
