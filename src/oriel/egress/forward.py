"""Plain HTTP on behalf of the guest: one request forwarded, its answer brought back."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from oriel.egress.body import LAST_CHUNK, as_chunk, read_body
from oriel.egress.channel import HeadTooLargeError, read_head
from oriel.egress.failure import Fault, UnreachableError, UpstreamError
from oriel.egress.flow import Flow
from oriel.egress.gateway import Gateway, Way
from oriel.egress.head import (
    MAX_HEAD,
    Body,
    Framing,
    HeadError,
    Headers,
    RequestHead,
    ResponseHead,
    encode_head,
    end_to_end,
    parse_response,
    request_target,
    response_framing,
)
from oriel.egress.target import Target

__all__ = ["Forwarder"]

RESPONSE_HEAD_S = 600.0  # long polls wait that long
MAX_INTERIM = 16  # heads before the answer proper
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))


class SilentError(Exception):
    """The other end closed before it answered anything."""


class GuestGoneError(Exception):
    """The guest went away, or broke off its body: nobody is left to answer."""


class Forwarder:
    """For one guest connection. Keeps one connection towards the origin (or proxy) open between requests."""

    def __init__(self, gateway: Gateway, flow: Flow) -> None:
        self._gateway = gateway
        self._flow = flow
        self._way: Way | None = None
        self.keeps_alive = False  # whether another request may follow the last one
        self.began_answering = False  # whether an error page would land inside an answer

    async def exchange(self, head: RequestHead) -> Way | None:
        """Forward the request in absolute form whose head was just read, and its answer.

        Returns the way if the connection was upgraded: its bytes are then relayed. Raises HeadError,
        DeniedError, UpstreamError, UnreachableError, or OSError when nothing more can be said.
        """
        target, path = request_target(head)
        self.began_answering = self.keeps_alive = False
        reused = self._reusable(target, head)
        way = reused or await self._dial(target, head)
        try:
            try:
                return await self._converse(way, head, _request_bytes(way, target, head, path))
            except SilentError:
                if reused is None:
                    raise
            # A kept connection was closed in the same moment: that is nobody's fault.
            way = await self._dial(target, head)
            return await self._converse(way, head, _request_bytes(way, target, head, path))
        except SilentError:
            raise self._fault(way, Fault.CLOSED, "it closed the connection without an answer") from None
        except GuestGoneError as error:
            raise ConnectionResetError("the guest went away") from error

    def _reusable(self, target: Target, head: RequestHead) -> Way | None:
        self._gateway.check_target(target)
        way = self._way
        # Bytes that nobody asked for would be taken for the next answer. And only a request that can be
        # sent again may meet a connection that is just being closed.
        fits = way is not None and way.serves(target) and way.channel.quiet() and not head.upgrade
        if fits and head.framing.body is Body.NONE and head.method in IDEMPOTENT:
            self._flow.head_for(target, kept=True)
            return way
        return None

    async def _dial(self, target: Target, head: RequestHead) -> Way:
        if self._way is not None:
            self._way.channel.close()
            self._way = self._flow.upstream = None
        # Few proxies pass an upgrade on in absolute form; all do inside a tunnel.
        way = await self._gateway.reach(target, self._flow, absolute=not head.upgrade)
        self._way, self._flow.upstream = way, way.channel
        return way

    async def _converse(self, way: Way, head: RequestHead, opening: bytes) -> Way | None:
        try:
            await self._send(way, opening)
            if head.framing.body is Body.NONE:
                return await self._answer(way, head, body_sent=None)
            return await self._send_and_answer(way, head)
        except OSError as error:
            if self.began_answering or self._flow.over:
                raise
            raise SilentError from error

    async def _send_and_answer(self, way: Way, head: RequestHead) -> Way | None:
        """Both at once: an origin may refuse a body before it has all of it."""
        try:
            async with asyncio.TaskGroup() as group:
                body = group.create_task(self._send_body(way, head.framing))
                upgraded = await self._answer(way, head, body_sent=body)
                if not body.done():
                    body.cancel()
                    self.keeps_alive = False
            return upgraded
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _send(self, way: Way, data: bytes) -> None:
        delay = self._flow.count_out(len(data))
        await way.channel.write(data)
        if delay:
            await asyncio.sleep(delay)

    async def _send_body(self, way: Way, framing: Framing) -> None:
        chunked = framing.body is Body.CHUNKED
        pieces = read_body(self._flow.guest, framing)
        async with aclosing(pieces):
            while True:
                try:
                    piece = await anext(pieces, b"")
                except OSError as error:
                    raise GuestGoneError from error
                try:
                    if piece:
                        await self._send(way, as_chunk(piece) if chunked else piece)
                    elif chunked:
                        await way.channel.write(LAST_CHUNK)
                except OSError:
                    # It answered early and closed; the answer is still to be read.
                    return
                if not piece:
                    return

    async def _answer(self, way: Way, head: RequestHead, body_sent: asyncio.Task[None] | None) -> Way | None:
        response = await self._final_head(way, head)
        if response.status == 101:
            await self._reply(_response_bytes(response, [(b"Connection", b"Upgrade"), *_upgrades(response)]))
            return way
        framing = response_framing(head.method, response)
        chunked = framing.body is Body.CHUNKED and head.minor == 1
        ends_itself = framing.body is not Body.UNTIL_CLOSE and (chunked or framing.body is not Body.CHUNKED)
        self.keeps_alive = head.keep_alive and ends_itself
        await self._reply(_response_bytes(response, self._framing_headers(response, framing, chunked)))
        try:
            async with aclosing(read_body(way.channel, framing)) as pieces:
                async for piece in pieces:
                    await self._reply(as_chunk(piece) if chunked else piece)
        except HeadError as error:
            raise ConnectionResetError("the answer's chunks are malformed") from error
        if chunked:
            await self._reply(LAST_CHUNK)
        whole = body_sent is None or body_sent.done()
        if not (response.keep_alive and whole and framing.body is not Body.UNTIL_CLOSE):
            way.channel.close()
            self._way = self._flow.upstream = None
        return None

    async def _final_head(self, way: Way, head: RequestHead) -> ResponseHead:
        """The answer's head; interim ones (100, 103) are passed on."""
        for _ in range(MAX_INTERIM):
            try:
                async with asyncio.timeout(RESPONSE_HEAD_S):
                    data = await read_head(way.channel, MAX_HEAD)
                if not data:
                    raise SilentError
                response = parse_response(data)
                if response.status != 101:
                    response_framing(head.method, response)
            except TimeoutError as error:
                raise self._fault(way, Fault.TIMEOUT, "it does not answer in time", 504) from error
            except (HeadError, HeadTooLargeError) as error:
                raise self._fault(way, Fault.PROTOCOL, "its answer is not proper HTTP") from error
            if response.status == 407:
                # Handed on, it would make the browser ask the user for a password that is not theirs.
                raise self._fault(way, Fault.AUTHENTICATION, "it asks for a proxy's password")
            if response.status == 101:
                if head.upgrade:
                    return response
                raise self._fault(way, Fault.PROTOCOL, "it switched protocols unasked")
            if way.upstream is not None:
                self._gateway.upstream_works(way.upstream)
            if response.status >= 200:
                return response
            if head.minor == 1:
                await self._reply(_response_bytes(response, []))
                self.began_answering = False
        raise self._fault(way, Fault.PROTOCOL, "it never comes to its answer")

    def _fault(
        self, way: Way, fault: Fault, detail: str, status: int = 502
    ) -> UpstreamError | UnreachableError:
        if way.upstream is None:
            return UnreachableError(way.target.authority, detail, status=status)
        error = UpstreamError(fault, way.upstream.label)
        self._gateway.upstream_failed(way.upstream, error)
        return error

    async def _reply(self, data: bytes) -> None:
        self.began_answering = True
        delay = self._flow.count_in(len(data))
        try:
            await self._flow.guest.write(data)
        except OSError as error:
            raise GuestGoneError from error
        if delay:
            await asyncio.sleep(delay)

    def _framing_headers(self, response: ResponseHead, framing: Framing, chunked: bool) -> Headers:
        headers: Headers = []
        if chunked:
            headers.append((b"Transfer-Encoding", b"chunked"))
        elif framing.body is Body.LENGTH:
            headers.append((b"Content-Length", b"%d" % framing.length))
        elif framing.body is Body.NONE:
            # Of HEAD and 304: the length the body would have.
            lengths = [item for item in response.headers if item[0].lower() == b"content-length"]
            headers += lengths[:1] if response.status not in (204, 205) else []
        headers.append((b"Connection", b"keep-alive" if self.keeps_alive else b"close"))
        return headers


def _request_bytes(way: Way, target: Target, head: RequestHead, path: bytes) -> bytes:
    host = target.url_host if target.port == 80 else target.authority
    authority = host.encode("ascii")
    headers: Headers = [(b"Host", authority), *end_to_end(head.headers)]
    line_target = path
    if way.upstream is not None:
        line_target = b"http://" + authority + (b"" if path == b"*" else path)
        if way.upstream.has_credentials:
            headers.append((b"Proxy-Authorization", way.upstream.basic().reveal().encode("ascii")))
    if head.framing.body is Body.CHUNKED:
        headers.append((b"Transfer-Encoding", b"chunked"))
    elif head.framing.body is Body.LENGTH or any(n.lower() == b"content-length" for n, _ in head.headers):
        headers.append((b"Content-Length", b"%d" % head.framing.length))
    if head.upgrade:
        headers += [(b"Connection", b"Upgrade"), (b"Upgrade", head.upgrade)]
    return encode_head(head.method + b" " + line_target + b" HTTP/1.1", headers)


def _response_bytes(response: ResponseHead, framing: Headers) -> bytes:
    line = b"HTTP/1.1 %d %b" % (response.status, response.reason)
    return encode_head(line, [*end_to_end(response.headers), *framing])


def _upgrades(response: ResponseHead) -> Headers:
    return [(name, value) for name, value in response.headers if name.lower() == b"upgrade"]
