"""The one account of ours: `oriel`, a system user that owns nothing but the controller."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from oriel.model.errors import HostError
from oriel.model.wire import Peer

__all__ = ["ACCOUNT", "Account", "may_command", "oriel_account", "require_root"]

ACCOUNT = "oriel"


@dataclass(frozen=True)
class Account:
    uid: int
    gid: int


def oriel_account() -> Account:
    """The uid and gid of `oriel`. HostError if the account or its group does not exist."""
    try:
        return Account(pwd.getpwnam(ACCOUNT).pw_uid, grp.getgrnam(ACCOUNT).gr_gid)
    except KeyError as error:
        raise HostError(
            f"this host has no account {ACCOUNT!r}",
            hint=f"`./run` makes it; by hand: useradd --system --user-group --no-create-home {ACCOUNT}",
        ) from error


def may_command(peer: Peer, account: Account) -> bool:
    """Whether the process at the other end of a unix socket may ask hostd and keepers."""
    return peer.uid in (0, account.uid)


def require_root(what: str) -> None:
    """HostError unless this process is root."""
    if os.geteuid() != 0:
        raise HostError(f"{what} must run as root", hint="run it as root (`sudo ./run`)")
