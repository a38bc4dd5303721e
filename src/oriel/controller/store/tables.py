"""The tables. A change here needs a migration beside it; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "audit",
    "desktops",
    "events",
    "idempotency",
    "leases",
    "links",
    "metadata",
    "proxies",
    "sessions",
    "shares",
    "tokens",
    "users",
]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
# Grows for ever; SQLite numbers rows by itself only in a column of exactly this type.
_Number = BigInteger().with_variant(Integer, "sqlite")
_Time = String(24)  # RFC 3339, UTC, milliseconds: sorts as text

users = Table(
    "users", metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(16), nullable=False, unique=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("password", String(255)),  # Argon2's own text: parameters, salt and hash
    Column("subject", String(512), unique=True),  # "issuer subject", once somebody signed on by OIDC
    Column("quota", JSON, nullable=False),  # what differs from the settings' defaults
    Column("created_at", _Time, nullable=False),
)  # fmt: skip

tokens = Table(
    "tokens", metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(16), nullable=False, unique=True),
    Column("user_id", String(16), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", String(63), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("created_at", _Time, nullable=False),
    Column("expires_at", _Time),
    Column("last_used_at", _Time),
)  # fmt: skip

sessions = Table(
    "sessions", metadata,
    Column("digest", String(64), primary_key=True),
    Column("user_id", String(16), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("token_id", String(16), ForeignKey("tokens.id", ondelete="CASCADE"), index=True),
    Column("way", String(16), nullable=False),  # token, password, oidc
    Column("address", String(64), nullable=False),
    Column("created_at", _Time, nullable=False),
    Column("expires_at", _Time, nullable=False),
)  # fmt: skip

desktops = Table(
    "desktops", metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(16), nullable=False, unique=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("owner_id", String(16), ForeignKey("users.id"), nullable=False, index=True),
    Column("session_id", String(64), nullable=False),
    Column("wanted", String(16), nullable=False),  # running, paused, stopped, deleted
    Column("state", String(16), nullable=False),
    Column("runtime", String(16), nullable=False),
    Column("isolation", String(16), nullable=False),
    Column("image", String(80), nullable=False),
    Column("origin", String(100), nullable=False),  # of a fork: DESKTOP/SNAPSHOT that it begins as, else ""
    Column("vcpus", Integer, nullable=False),
    Column("memory_mib", Integer, nullable=False),
    Column("disk_gib", Integer, nullable=False),
    Column("screen_width", Integer, nullable=False),
    Column("screen_height", Integer, nullable=False),
    Column("rates", JSON, nullable=False),  # of its devices, where they are limited
    Column("proxy", String(63), nullable=False),
    Column("place", Integer, nullable=False),  # which of the proxy's addresses is its own
    Column("allow", JSON, nullable=False),
    Column("deny", JSON, nullable=False),
    Column("limits", JSON, nullable=False),  # the rest of its policy, where it is not the default
    Column("held", JSON, nullable=False),  # names of those that only administrators change
    Column("exit_ip", String(45), nullable=False),  # the address the world sees, "" while unknown
    Column("exit_was", String(45), nullable=False),  # what it was before it changed unasked, else ""
    Column("idle_timeout_s", Integer, nullable=False),
    Column("idle_action", String(16), nullable=False),  # pause, stop
    Column("max_age_s", Integer, nullable=False),  # of a run, from when it is ready; 0: any
    Column("restart", String(16), nullable=False),  # no, on-failure, always
    Column("clipboard", String(8), nullable=False),  # off, in, out, both
    Column("labels", JSON, nullable=False),
    Column("created_at", _Time, nullable=False),
    Column("ready_at", _Time),
    Column("timings", JSON, nullable=False),
    Column("error", JSON),
    Column("journal_seq", _Number, nullable=False),  # the keeper's last event taken over
    Column("revision", Integer, nullable=False),  # goes up with every change
    sqlite_autoincrement=True,  # lists keep what they read under this number (store/desktops.py)
)  # fmt: skip

shares = Table(
    "shares", metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(16), nullable=False, unique=True),
    Column("desktop_id", String(16), ForeignKey("desktops.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", String(16), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("mode", String(16), nullable=False),  # view, control
    Column("created_at", _Time, nullable=False),
    Column("expires_at", _Time),
    UniqueConstraint("desktop_id", "user_id"),
)  # fmt: skip

# A right to one desktop for someone without an account: first a ticket's digest, once opened its grant's.
links = Table(
    "links", metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(16), nullable=False, unique=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column(
        "desktop_id", String(16), ForeignKey("desktops.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("giver_id", String(16), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("token_id", String(16), ForeignKey("tokens.id", ondelete="CASCADE"), index=True),
    Column("mode", String(16), nullable=False),
    Column("created_at", _Time, nullable=False),
    Column("opened_at", _Time),
    Column("expires_at", _Time, nullable=False),
)  # fmt: skip

idempotency = Table(
    "idempotency", metadata,
    Column("user_id", String(16), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("digest", String(64), nullable=False),  # of the request: the same key may not mean another
    Column("desktop_id", String(16), nullable=False),
    Column("created_at", _Time, nullable=False, index=True),
)  # fmt: skip

events = Table(
    "events", metadata,
    Column("seq", _Number, primary_key=True, autoincrement=True),
    Column("at", _Time, nullable=False),
    Column("desktop", String(16), nullable=False),
    Column("owner_id", String(16), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Index(None, "desktop", "seq"),
    Index(None, "owner_id", "seq"),
    sqlite_autoincrement=True,  # a number is never given twice, even after the newest rows are gone
)  # fmt: skip

proxies = Table(
    "proxies", metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(16), nullable=False, unique=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("owner_id", String(16), ForeignKey("users.id"), nullable=False, index=True),
    Column("addresses", JSON, nullable=False),  # scheme://host:port of each, without credentials
    Column("secret", LargeBinary, nullable=False),  # the URLs as they were given, encrypted (vault.py)
    Column("has_password", Boolean, nullable=False),
    Column("exclusive", Boolean, nullable=False),  # one desktop per address
    Column("shared", Boolean, nullable=False),  # everyone may use it
    Column("failover", Boolean, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("created_at", _Time, nullable=False),
)  # fmt: skip

leases = Table(
    "leases", metadata,
    Column("proxy_id", String(16), ForeignKey("proxies.id", ondelete="CASCADE"), primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("user_id", String(16), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("taken_at", _Time, nullable=False),
)  # fmt: skip

audit = Table(
    "audit", metadata,
    Column("id", _Number, primary_key=True, autoincrement=True),
    Column("at", _Time, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("target", String(128), nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("address", String(64), nullable=False),
    Column("request_id", String(32), nullable=False),
    Column("seconds", Float, nullable=False),
    sqlite_autoincrement=True,
)  # fmt: skip
