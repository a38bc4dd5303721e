"""The gateway of one desktop: what every way out shares. Policy, upstreams, counters, open flows.

Everything runs in one event loop, so a change of configuration is one step between two callbacks: no
connection can pass under a mixture of old and new rules. A flow that waits for its upstream is cancelled
when the rules change against it, and one that is open is closed with RST.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from oriel.egress.channel import Channel, SocketChannel
from oriel.egress.dial import connect_any, open_tunnel, open_upstream, tls_context
from oriel.egress.failure import DeniedError, UnreachableError, UpstreamError
from oriel.egress.failure import Fault as UpstreamFault
from oriel.egress.flow import Flow
from oriel.egress.ledger import Budget, Ledger
from oriel.egress.names import FakeNames
from oriel.egress.policy import Reason, Ruleset
from oriel.egress.resolver import Resolver, is_of_this_host
from oriel.egress.target import Address, Target, parse_address
from oriel.egress.upstream import Upstream, UpstreamKind, parse_upstream
from oriel.model.egress import EgressMode, EgressSpec
from oriel.model.errors import Fault, InvalidError

if TYPE_CHECKING:
    import ssl

    from oriel.egress.media import MediaRelay

__all__ = ["Gateway", "Way"]

RETRY_UPSTREAM_S = 30.0  # for how long a failed upstream comes last, where failover is allowed
IDLE_S = 3600.0
HALF_CLOSED_IDLE_S = 120.0

Emit = Callable[[dict[str, Any]], None]


class Way:
    """An open connection. `upstream` is set if it ends at an HTTP proxy, which takes requests in absolute
    form for any target; otherwise `target` itself is at the other end."""

    __slots__ = ("channel", "target", "upstream")

    def __init__(self, channel: Channel, target: Target, upstream: Upstream | None = None) -> None:
        self.channel = channel
        self.target = target
        self.upstream = upstream

    def serves(self, target: Target) -> bool:
        return self.upstream is not None or self.target == target


class Gateway:
    """`emit` receives each event; it must not block or raise. `ledger`: where counting goes on."""

    def __init__(self, emit: Emit, ledger: Ledger | None = None) -> None:
        self.emit = emit
        self.ledger = ledger or Ledger()
        self.names = FakeNames()
        self.media: MediaRelay | None = None
        self.resolver = Resolver()
        self.spec = EgressSpec()
        self._ruleset = Ruleset()
        self._upstreams: tuple[Upstream, ...] = ()
        self._failed_until: dict[Upstream, float] = {}
        self._faults: dict[Upstream, UpstreamFault] = {}  # as last reported
        self._context: ssl.SSLContext | None = None
        self._flows: set[Flow] = set()
        self._rate = Budget(0)
        self._throughput = Budget(0)
        self._quota_reported = False
        self.reconfigured = asyncio.Event()

    # -- configuration

    def configure(self, spec: EgressSpec) -> None:
        """Follow `spec` from now on. InvalidError with all faults, and nothing has changed then.

        When this returns, no connection is open that `spec` forbids, and none through another upstream.
        """
        ruleset, upstreams = _compile(spec)
        old = self.spec
        moved = (old.mode, old.upstreams, old.upstream_ca) != (spec.mode, spec.upstreams, spec.upstream_ca)
        tuned = ruleset != self._ruleset
        self.spec, self._ruleset, self._upstreams = spec, ruleset, upstreams
        if old.policy.connections_per_second != spec.policy.connections_per_second:
            self._rate = Budget(spec.policy.connections_per_second)
        if old.policy.bytes_per_second != spec.policy.bytes_per_second:
            self._throughput = Budget(spec.policy.bytes_per_second)
        self.ledger.begin_quota(spec.policy.quota_round)
        self._quota_reported = False
        if moved:
            self._failed_until.clear()
            self._faults.clear()
            self._context = None
            self.ledger.upstream_ok = None
            self.ledger.exit_ip = ""  # asked for anew by `exit`
        for flow in list(self._flows):
            # Which address one that is being made will end at is not known here, so no rule can tell.
            unsure = tuned and flow.resolving
            if moved or unsure or (flow.target is not None and self._refusal(flow.target, flow.address)):
                flow.abort()
        if self._quota_used():
            self._abort_all()
        self.reconfigured.set()

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """The proxies in use, the one that is tried first before the others; none but in mode proxy."""
        return tuple(self._by_preference())

    @property
    def way_out(self) -> str:
        """Where connections go now: the first upstream's label, or the mode."""
        upstreams = self.upstreams
        return upstreams[0].label if upstreams else str(self.spec.mode)

    def counters(self) -> dict[str, Any]:
        """As docs/internals.md has them."""
        return {
            "mode": str(self.spec.mode),
            "proxy": self.spec.proxy,
            "open": len(self._flows),
            **self.ledger.to_json(),
        }

    # -- flows

    def admit(self, way_in: str, channel: SocketChannel) -> Flow:
        """Register a new connection from the guest. DeniedError over a limit; the caller closes it."""
        policy = self.spec.policy
        if len(self._flows) >= policy.max_connections:
            raise self.denied(Reason.CONNECTIONS, "")
        if not self._rate.try_take(time.monotonic()):
            raise self.denied(Reason.RATE, "")
        flow = Flow(way_in, channel, self._count_in, self._count_out, self._flow_ended)
        self._flows.add(flow)
        self.ledger.count_connection()
        return flow

    def sweep_idle(self) -> None:
        """Close what has been silent for too long. To be called now and then."""
        now = time.monotonic()
        for flow in list(self._flows):
            limit = HALF_CLOSED_IDLE_S if flow.half_closed else IDLE_S
            if now - flow.last_active > limit:
                flow.abort()

    def close(self) -> None:
        self._abort_all()
        if self.media is not None:
            self.media.close()

    def _abort_all(self) -> None:
        for flow in list(self._flows):
            flow.abort()

    def _flow_ended(self, flow: Flow) -> None:
        self._flows.discard(flow)
        self.report_access(flow)

    def report_access(self, flow: Flow) -> None:
        """One line of the access log for what `flow` did since the last one, if there is to be one."""
        event = flow.take_access_event()
        if self.spec.policy.access_log and event is not None:
            self.emit(event)

    def _count_in(self, count: int) -> float:
        self.ledger.count_in(count)
        return self._spend(count)

    def _count_out(self, count: int) -> float:
        self.ledger.count_out(count)
        return self._spend(count)

    def _spend(self, count: int) -> float:
        if self._quota_used():
            self._abort_all()
            return 0.0
        return self._throughput.take(count, time.monotonic()) if self._throughput.rate else 0.0

    def _quota_used(self) -> bool:
        quota = self.spec.policy.byte_quota
        used = bool(quota) and self.ledger.quota_used >= quota
        if used and not self._quota_reported:
            self._quota_reported = True
            self.denied(Reason.QUOTA, "")
        return used

    # -- decisions

    def denied(self, reason: Reason, target: str, *, detail: str = "", status: int = 403) -> DeniedError:
        """Count and report a denial; the error to raise or to show."""
        self.ledger.count_denial(reason)
        error = DeniedError(reason, target, detail=detail, status=status)
        self.emit({"event": "denied", "reason": str(reason), "target": target, "message": error.message})
        return error

    def check_target(self, target: Target) -> None:
        """DeniedError if `target`, as asked for, may not be reached."""
        reason = Reason.QUOTA if self._quota_used() else self._refusal(target, None)
        if reason is not None:
            raise self.denied(reason, target.authority, status=429 if reason is Reason.QUOTA else 403)

    def _refusal(self, target: Target, address: Address | None) -> Reason | None:
        reason = self._ruleset.refuses(target)
        if reason is None and address is not None:
            reason = self._ruleset.refuses_address(target, address)
        if reason is None:
            for upstream in self._upstreams:
                known = (upstream.host, *self.resolver.remembered(upstream.host))
                if target.host in known:
                    return Reason.UPSTREAM_ITSELF
        return reason

    # -- dialing

    async def reach(self, target: Target, flow: Flow, *, absolute: bool = False) -> Way:
        """A connection towards `target`, by the configured way and no other.

        With `absolute`, an HTTP proxy is only connected to, for a request in absolute form. Raises
        DeniedError or UpstreamError, already counted and reported, or UnreachableError.
        """
        self.check_target(target)
        flow.head_for(target)
        started = time.monotonic()
        if self.spec.mode is EgressMode.DIRECT:
            way = Way(await self._reach_direct(target, flow), target)
        else:
            way = await self._reach_by_proxy(target, absolute)
        self.ledger.latency.add(time.monotonic() - started)
        return way

    async def _reach_direct(self, target: Target, flow: Flow) -> Channel:
        flow.resolving = True
        channel = await self.dial_direct(target)
        flow.resolving = False
        flow.address = parse_address(channel.sock.getpeername()[0])
        return channel

    async def dial_direct(self, target: Target) -> SocketChannel:
        """From the host's own address. DeniedError for what its name resolves to, or UnreachableError."""
        try:
            found = await self.resolver.resolve(target.host)
        except OSError as error:
            raise UnreachableError(target.authority, "its name does not resolve") from error
        # Decided and connected to are the very same addresses: a second answer cannot slip in between.
        reasons = {address: self._direct_refusal(target, address) for address in found}
        addresses = tuple(address for address, reason in reasons.items() if reason is None)
        if not addresses:
            raise self.denied(next(r for r in reasons.values() if r is not None), target.authority)
        try:
            return await connect_any(addresses, target.port)
        except TimeoutError as error:
            raise UnreachableError(target.authority, "it does not answer in time", status=504) from error
        except OSError as error:
            detail = "connection refused" if isinstance(error, ConnectionRefusedError) else "no connection"
            raise UnreachableError(target.authority, detail) from error

    def _direct_refusal(self, target: Target, address: Address) -> Reason | None:
        reason = self._ruleset.refuses_address(target, address)
        exempt = any(address in network for network in self._ruleset.exempt)
        if reason is None and not exempt and is_of_this_host(address):
            return Reason.HOST_ITSELF
        return reason

    async def _reach_by_proxy(self, target: Target, absolute: bool) -> Way:
        failure: UpstreamError | None = None
        for upstream in self._by_preference():
            try:
                if absolute and upstream.kind is not UpstreamKind.SOCKS5:
                    channel = await open_upstream(upstream, self.resolver, self.tls_context)
                    return Way(channel, target, upstream)
                way = Way(await open_tunnel(upstream, target, self.resolver, self.tls_context), target)
            except UpstreamError as error:
                self.upstream_failed(upstream, error)
                failure = error
            except UnreachableError:
                self.upstream_works(upstream)
                raise
            else:
                self.upstream_works(upstream)
                return way
        assert failure is not None  # noqa: S101 - mode proxy has at least one upstream
        raise failure

    def _by_preference(self) -> list[Upstream]:
        if not self.spec.failover:
            return list(self._upstreams[:1])
        now = time.monotonic()
        return sorted(self._upstreams, key=lambda u: self._failed_until.get(u, 0.0) > now)

    def upstream_failed(self, upstream: Upstream, error: UpstreamError) -> None:
        """Count that a proxy is at fault; an event when it begins to be, or is in another way."""
        self.ledger.count_upstream_error()
        self.ledger.upstream_ok = False
        self._failed_until[upstream] = time.monotonic() + RETRY_UPSTREAM_S
        if self._faults.get(upstream) is error.fault:
            return
        self._faults[upstream] = error.fault
        self.emit({
            "event": "upstream", "ok": False, "fault": str(error.fault),
            "upstream": error.label, "message": error.message,
        })  # fmt: skip

    def upstream_works(self, upstream: Upstream) -> None:
        """An upstream did as it should; an event when it did not before, or for the first time."""
        self._failed_until.pop(upstream, None)
        first = self.ledger.upstream_ok is None
        self.ledger.upstream_ok = True
        if self._faults.pop(upstream, None) is not None or first:
            self.emit({"event": "upstream", "ok": True, "upstream": upstream.label, "message": ""})

    def tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = tls_context(self.spec.upstream_ca)
        return self._context


def _compile(spec: EgressSpec) -> tuple[Ruleset, tuple[Upstream, ...]]:
    """All faults of a spec together; no message quotes a URL."""
    faults: list[Fault] = []
    ruleset = Ruleset()
    try:
        ruleset = Ruleset.compile(spec)
    except InvalidError as error:
        faults += error.faults
    upstreams: list[Upstream] = []
    for index, secret in enumerate(spec.upstreams):
        try:
            upstreams.append(parse_upstream(secret.reveal()))
        except InvalidError as error:
            faults += [Fault(f"upstreams[{index}].{fault.field}", fault.problem) for fault in error.faults]
    if spec.mode is EgressMode.PROXY and not spec.upstreams:
        faults.append(Fault("upstreams", "mode proxy needs at least one"))
    if spec.policy.max_connections < 1:
        faults.append(Fault("policy.max_connections", "must be at least 1"))
    if spec.upstream_ca:
        try:
            tls_context(spec.upstream_ca)
        except (OSError, ValueError):
            faults.append(Fault("upstream_ca", "must be certificates in PEM"))
    if faults:
        raise InvalidError.of(faults)
    return ruleset, tuple(upstreams) if spec.mode is EgressMode.PROXY else ()
