"""Behind a proxy: every program of a real desktop goes out by its user's address, at once by another when it
is changed, by none when the proxy fails, and never by somebody else's. On a container and an emulated VM."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.attack.desktops import DEADLINE_S, Desktop, Provider, until
from tests.attack.world import EXITS, PUBLIC, World
from tests.fakes.broken import closes, drips, resets, says
from tests.fakes.origin import Authority, Origin, Seen
from tests.fakes.server import TcpServer

Providers = tuple[Provider, Provider]
CLI_DEADLINE_S = 400  # Node reads a CLI of ten megabytes, on an emulated processor
GET_IP = "GET http://origin.test/ip"


@pytest.fixture
def trusting(desktop: Desktop, authority: Authority) -> str:
    """Environment in which the programs of the desktop trust the tests' certificates."""
    desktop.server.oriel(
        "exec", desktop.name, "--", "sh", "-c", "cat > /tmp/ca.pem", stdin=authority.pem, timeout=120
    )
    return "CURL_CA_BUNDLE=/tmp/ca.pem NODE_EXTRA_CA_CERTS=/tmp/ca.pem GIT_SSL_CAINFO=/tmp/ca.pem"


def by_whom(origin: Origin, path: str, begun: Callable[[], contextlib.AbstractContextManager[None]]) -> Seen:
    """The first request for `path` while a program runs that makes it."""
    origin.seen.clear()
    with begun():
        return until(
            lambda: next((seen for seen in list(origin.seen) if path in seen.path), None),
            f"a request {path}",
            CLI_DEADLINE_S,
        )


def running(desktop: Desktop, script: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A program that need not come to an end: what it asks for is all that matters."""

    @contextlib.contextmanager
    def run() -> Iterator[None]:
        thread = threading.Thread(
            target=lambda: desktop.sh(
                f"timeout {CLI_DEADLINE_S} {script} < /dev/null", check=False, timeout=CLI_DEADLINE_S + 60
            ),
            daemon=True,
        )
        thread.start()
        try:
            yield
        finally:
            desktop.sh("pkill -9 -x 'codex|claude|gemini|node|MainThread' ; true", check=False)
            thread.join(DEADLINE_S)

    return run


def test_two_desktops_two_addresses_at_once(
    desktop: Desktop, neighbour: Desktop, providers: Providers, origin: Origin, secure: Origin, trusting: str
) -> None:
    desktop.way_out("one")
    script = (
        "curl -sS http://origin.test/ip; echo; "
        f"{trusting} curl -sS https://origin.test/ip; echo; "
        f"{trusting} curl -sS --noproxy '*' https://origin.test/ip; echo; "
        f"{trusting} node -e \"fetch('https://origin.test/ip').then(r => r.text()).then(console.log)\"; "
        f"{trusting} env -i PATH=$PATH CURL_CA_BUNDLE=/tmp/ca.pem curl -sS https://origin.test/ip"
    )
    others: list[str] = []
    beside = threading.Thread(
        target=lambda: others.extend(
            neighbour.sh("for n in 1 2 3; do curl -sS http://origin.test/ip; echo; done").split()
        )
    )
    beside.start()
    ours = desktop.sh(script).split()
    beside.join()
    assert ours == [EXITS[0]] * 5
    assert others == [EXITS[1]] * 3
    assert desktop.chrome("http://origin.test/ip", "document.body.innerText") == EXITS[0]
    assert neighbour.chrome("http://origin.test/ip", "document.body.innerText") == EXITS[1]


CLIS = {
    "claude": (
        "/v1/messages",
        "env ANTHROPIC_BASE_URL=http://origin.test ANTHROPIC_API_KEY=x claude -p hi",
    ),
    "codex": (
        "/v1/responses",
        "codex exec --skip-git-repo-check -c model_provider=t -c model_providers.t.name=t "
        "-c model_providers.t.base_url=http://origin.test/v1 -c model_providers.t.wire_api=responses hi",
    ),
}


@pytest.mark.parametrize("tool", CLIS)
def test_each_cli_goes_out_by_it(desktop: Desktop, providers: Providers, origin: Origin, tool: str) -> None:
    desktop.way_out("one")
    path, command = CLIS[tool]
    seen = by_whom(origin, path, running(desktop, command))
    assert seen.peer == EXITS[0]


def test_gemini_goes_out_by_it(desktop: Desktop, providers: Providers) -> None:
    """Its service's address cannot be changed: what its provider is asked for has to do."""
    desktop.way_out("one")
    asked = len(providers[0].proxy.asked)
    with running(desktop, "env GEMINI_API_KEY=x gemini --skip-trust -p hi")():
        until(
            lambda: "generativelanguage.googleapis.com:443" in [
                one.authority for one in providers[0].proxy.asked[asked:] if one.authorized
            ],
            "a request for its service",
            CLI_DEADLINE_S,
        )  # fmt: skip


def test_git_over_ssh_becomes_https(
    desktop: Desktop, providers: Providers, secure: Origin, trusting: str
) -> None:
    desktop.way_out("one")
    secure.seen.clear()
    desktop.sh(f"{trusting} git ls-remote git@github.com:someone/something.git; true", check=False)
    assert secure.seen[0].path.partition("?")[0] == "/someone/something.git/info/refs"
    assert {seen.peer for seen in secure.seen} == {EXITS[0]}


def test_apt_goes_out_by_it(desktop: Desktop, providers: Providers, origin: Origin) -> None:
    desktop.way_out("one")
    origin.seen.clear()
    source = "deb [trusted=yes] http://origin.test/debian x main"
    desktop.sh(
        f"echo '{source}' > /tmp/x.list; sudo apt-get -o Dir::Etc::SourceList=/tmp/x.list "
        "-o Dir::Etc::SourceParts=/dev/null -o Acquire::Retries=0 update; true",
        check=False,
    )
    assert origin.seen, "apt asked for its lists"
    assert {seen.peer for seen in origin.seen} == {EXITS[0]}


def test_another_proxy_is_in_force_at_once_without_a_new_chrome(
    desktop: Desktop, providers: Providers, origin: Origin
) -> None:
    desktop.way_out("one")
    assert desktop.chrome("http://origin.test/ip", "document.body.innerText") == EXITS[0]
    chrome = desktop.sh("pgrep -o chromium")
    connection = (
        "import socket; s = socket.create_connection(('192.168.0.1', 3128));"
        "s.sendall(b'CONNECT origin.test:80 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); s.recv(999);"
        "open('/tmp/open', 'w').close()\n"
        "try:\n print('closed' if not s.recv(1) else 'data')\n"
        "except ConnectionResetError: print('reset')"
    )
    said: list[str] = []
    holding = threading.Thread(
        target=lambda: said.append(desktop.sh(f'rm -f /tmp/open; python3 -c "{connection}"'))
    )
    holding.start()
    until(lambda: "yes" in desktop.sh("test -e /tmp/open && echo yes; true"), "it is open")
    desktop.way_out("two")
    holding.join(60)
    assert [text.strip() for text in said] == ["reset"]
    assert desktop.sh("curl -sS http://origin.test/ip") == EXITS[1]
    assert desktop.chrome("http://origin.test/ip?again", "document.body.innerText") == EXITS[1]
    assert desktop.sh("pgrep -o chromium") == chrome
    until(lambda: desktop.api("GET", "")["exit"]["ip"] == EXITS[1], "the badge tells it")
    assert desktop.api("GET", "")["exit"]["was"] == ""  # it was changed on purpose
    desktop.way_out("one")


def test_a_tightened_policy_under_load(
    desktop: Desktop, providers: Providers, origin: Origin, outside: World
) -> None:
    """Nothing passes under the wider rule once the change has answered."""
    desktop.way_out("one")
    stop = threading.Event()
    statuses: list[int] = []

    def hammer() -> None:
        while not stop.is_set():
            statuses.extend(desktop.ask_proxy(*["GET http://origin.test/load"] * 20))

    origin.seen.clear()
    thread = threading.Thread(target=hammer)
    thread.start()
    try:
        until(lambda: len([seen for seen in list(origin.seen) if seen.path == "/load"]) > 50, "it is loaded")
        desktop.way_out("one", deny=["origin.test"])
        # What was on its way inside the world then has arrived when a connection of our own has.
        with socket.create_connection((PUBLIC, origin.port), timeout=10) as mark:
            mark.sendall(b"GET /mark HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while mark.recv(4096):
                pass
        passed = len([seen for seen in list(origin.seen) if seen.path == "/load"])
        refused = statuses.count(403)
        until(lambda: statuses.count(403) > refused + 60, "it is refused under load")
    finally:
        stop.set()
        thread.join(60)
    assert len([seen for seen in origin.seen if seen.path == "/load"]) == passed


def test_ports_and_smuggled_requests(desktop: Desktop, providers: Providers, origin: Origin) -> None:
    desktop.way_out("one", allow=["origin.test:80"])
    assert desktop.ask_proxy(GET_IP) == [200]
    origin.seen.clear()
    odd = [f"CONNECT origin.test:{port}" for port in (0, 22, 25, 443, 65536)]
    assert set(desktop.ask_proxy(*odd, "CONNECT origin.test", "GET ftp://origin.test/")) <= {400, 403}
    head = "POST http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n"
    inner = "GET http://origin.test/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    smuggling = [
        f"{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
        f"{head}Content-Length: 0\r\nContent-Length: {len(inner)}\r\n\r\n{inner}",
        f"{head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{inner}",
        f"{head}X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
        f"{head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{inner}",
    ]
    answers = desktop.do("proxy", requests=smuggling)
    assert {answer.split(" ")[1] for answer in answers} <= {"400", "501"}, answers
    assert [seen.path for seen in origin.seen if "smuggled" in seen.path] == []


def test_somebody_elses_proxy(
    desktop: Desktop, neighbour: Desktop, providers: Providers, origin: Origin
) -> None:
    """Neither by its address, nor by asking our own gateway for it, nor with headers."""
    desktop.way_out("one")
    port = providers[1].proxy.port
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        pass  # the host reaches it
    asked = len(providers[1].proxy.asked)
    assert "open" not in desktop.do("tcp", targets=[("192.168.0.1", port), ("203.0.113.1", port)])
    assert set(desktop.ask_proxy(f"CONNECT 127.0.0.1:{port}", f"GET http://localhost:{port}/")) == {403}
    forged = (
        "GET http://origin.test/ip HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n"
        "Proxy-Authorization: Basic dHdvOng=\r\nX-Forwarded-For: 203.0.113.22\r\n"
        "X-Oriel-Desktop: neighbour\r\n\r\n"
    )  # fmt: skip
    assert desktop.do("proxy", requests=[forged])[0].endswith(EXITS[0])
    # Its own gateway may ask for its own exit meanwhile; nothing of ours is among what it asks.
    assert {one.authority for one in providers[1].proxy.asked[asked:]} <= {"origin.test:80"}


BROKEN = {
    "refuses_the_password": says(b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\n\r\n"),
    "closes": closes,
    "resets": resets,
    "garbage": says(b"\x00\xff\x13 not a proxy\r\n\r\n"),
    "half_an_answer": says(b"HTTP/1.1 200 Conn"),
}


def test_a_proxy_that_fails_is_a_page_that_says_so(
    desktop: Desktop, providers: Providers, origin: Origin, outside: World
) -> None:
    """Every way of failing, and a certificate that is not its own; never a prompt, never around it."""
    outside.show(PUBLIC)
    server = desktop.server
    origin.seen.clear()
    with contextlib.ExitStack() as stack:
        urls = {}
        for name, handle in BROKEN.items():
            made = stack.enter_context(TcpServer(handle))
            urls[name] = f"http://u:p@127.0.0.1:{made.port}"
        urls["wrong_certificate"] = f"https://u:p@{PUBLIC}:8443"
        urls["nobody"] = "http://u:p@127.0.0.1:1"
        for name, url in urls.items():
            proxy = f"broken-{name.replace('_', '-')}-{desktop.runtime}"
            server.oriel("proxy", "add", proxy, stdin=url + "\n")
            desktop.way_out(proxy)
            answers = desktop.do(
                "proxy",
                requests=[
                    f"{line} HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
                    for line in (GET_IP, "CONNECT origin.test:443")
                ],
            )
            for answer in answers:
                assert answer.startswith("HTTP/1.1 502 "), (name, answer)
                assert "Proxy-Authenticate" not in answer
                assert "the proxy of this desktop does not work" in answer.lower()
            assert desktop.api("GET", "/egress")["upstream_ok"] is False, name
            assert "egress.upstream" in server.oriel("events", desktop.name, "--json").stdout
            desktop.way_out("one")
            server.oriel("proxy", "delete", proxy)
    assert {seen.peer for seen in origin.seen} <= {EXITS[0]}, (
        "only the working proxy's own exit was asked for"
    )
    outside.settle()
    assert outside.arrived == []


def test_a_proxy_that_drips_is_given_up(
    desktop: Desktop, providers: Providers, origin: Origin, outside: World
) -> None:
    """It answers a byte at a time, for ever: a tunnel waits for so long and no longer, then says so."""
    outside.show(PUBLIC)
    server, proxy = desktop.server, f"dripping-{desktop.runtime}"
    origin.seen.clear()
    with TcpServer(drips) as made:
        server.oriel("proxy", "add", proxy, stdin=f"http://u:p@127.0.0.1:{made.port}\n")
        desktop.way_out(proxy)
        request = "CONNECT origin.test:443 HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n"
        answer = desktop.do("proxy", requests=[request], wait=DEADLINE_S)[0]
        assert answer.startswith("HTTP/1.1 504 "), answer
        assert "the proxy of this desktop does not work" in answer.lower()
        assert desktop.api("GET", "/egress")["upstream_ok"] is False
        desktop.way_out("one")
        server.oriel("proxy", "delete", proxy)
    assert {seen.peer for seen in origin.seen} <= {EXITS[0]}
    outside.settle()
    assert outside.arrived == []
