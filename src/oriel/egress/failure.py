"""Why a connection did not come about. Each carries a sentence for the person in front of the desktop.

DeniedError        the policy, or the gateway's own rules, forbid it
UpstreamError      the proxy itself is at fault: gone, silent, refuses our credentials, talks nonsense
UnreachableError   the way out works, but the target does not answer on it
"""

from __future__ import annotations

from enum import StrEnum

from oriel.egress.policy import Reason
from oriel.model.errors import RefusedError, UnavailableError

__all__ = ["DeniedError", "Fault", "UnreachableError", "UpstreamError"]

_DENIALS = {
    Reason.MODE_NONE: "this desktop has no way out to the internet",
    Reason.DENY_RULE: "the operator's rules deny it",
    Reason.NOT_ALLOWED: "it is not among what the operator's rules allow",
    Reason.NOT_PUBLIC: "it is a private or reserved address",
    Reason.LOCAL_NAME: "it is a name of a local network",
    Reason.HOST_ITSELF: "it is an address of the host this desktop runs on",
    Reason.UPSTREAM_ITSELF: "it is the proxy through which this desktop goes out",
    Reason.BAD_TARGET: "it is not spelled as a host and a port",
    Reason.BAD_REQUEST: "the request is malformed or ambiguous",
    Reason.UNMAPPED: "no name stands for this address any more",
    Reason.CONNECTIONS: "too many connections are open at once",
    Reason.RATE: "too many connections were made within a second",
    Reason.QUOTA: "the amount of data this desktop may transfer is used up",
}


class DeniedError(RefusedError):
    """Not allowed. `target` is the host and port as asked for; `status` the HTTP status to answer."""

    def __init__(self, reason: Reason, target: str, *, detail: str = "", status: int = 403) -> None:
        super().__init__(
            f"{target or 'this connection'} was refused: {detail or _DENIALS[reason]}",
            hint="ask the operator of this desktop if you need it",
            code=f"egress_{reason}",
        )
        self.reason = reason
        self.target = target
        self.status = status


class Fault(StrEnum):
    """What is wrong with an upstream: stable, counted, shown."""

    NAME = "name"  # its name does not resolve
    REFUSED = "refused"
    TIMEOUT = "timeout"
    TLS = "tls"
    AUTHENTICATION = "authentication"
    PROTOCOL = "protocol"
    CLOSED = "closed"


_FAULTS = {
    Fault.NAME: ("its name cannot be resolved", "check the proxy's host name"),
    Fault.REFUSED: ("it refuses connections", "check the proxy's address and port"),
    Fault.TIMEOUT: ("it does not answer in time", "check the proxy's address, or try again later"),
    Fault.TLS: ("its certificate or TLS is not valid", "check whether the proxy really speaks https"),
    Fault.AUTHENTICATION: (
        "it does not accept the user name and password",
        "check the proxy's credentials and whether its plan is still active",
    ),
    Fault.PROTOCOL: ("it does not speak as a proxy should", "check the proxy's scheme and port"),
    Fault.CLOSED: ("it closed the connection", "try again; then check the proxy with its provider"),
}


class UpstreamError(UnavailableError):
    """The proxy at `label` (`scheme://host:port`, no credentials) is at fault."""

    def __init__(self, fault: Fault, label: str) -> None:
        what, hint = _FAULTS[fault]
        super().__init__(
            f"the proxy of this desktop does not work: {what}", hint=hint, code=f"upstream_{fault}"
        )
        self.fault = fault
        self.label = label
        self.status = 504 if fault is Fault.TIMEOUT else 502


class UnreachableError(UnavailableError):
    """`target` does not answer; `detail` says how that showed. `forbidden`: the proxy's rules say no."""

    def __init__(self, target: str, detail: str, *, status: int = 502, forbidden: bool = False) -> None:
        super().__init__(
            f"{target} could not be reached: {detail}", hint="check the address, or try again later"
        )
        self.target = target
        self.status = status
        self.forbidden = forbidden
