"""Sound of a real desktop: what it plays is heard in the page, and a voice of the page in it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.browser.conftest import CHROMIUM, show_bar, until
from tests.conftest import Server

PITCH = 440
# Plays a sine for a minute, or prints the loudest of what the microphone gives once it gives anything.
PLAY = """
import array, math, sys
import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
CAPS = "audio/x-raw,format=S16LE,rate=48000,channels=1,layout=interleaved"
if sys.argv[1] == "play":
    line = Gst.parse_launch(f"appsrc name=it caps={CAPS} format=time ! pulsesink")
    line.set_state(Gst.State.PLAYING)
    it = line.get_by_name("it")
    wave = array.array("h", (int(12000 * math.sin(2 * math.pi * PITCH * n / 48000)) for n in range(48000)))
    for second in range(60):
        buffer = Gst.Buffer.new_wrapped(wave.tobytes())
        buffer.pts, buffer.duration = second * Gst.SECOND, Gst.SECOND
        it.emit("push-buffer", buffer)
    it.emit("end-of-stream")
    line.get_bus().timed_pop_filtered(70 * Gst.SECOND, Gst.MessageType.EOS | Gst.MessageType.ERROR)
else:
    line = Gst.parse_launch(f"pulsesrc ! {CAPS} ! appsink name=it sync=false")
    line.set_state(Gst.State.PLAYING)
    it = line.get_by_name("it")
    while True:
        sample = it.emit("pull-sample")
        buffer = sample.get_buffer()
        loudest = max(map(abs, array.array("h", buffer.extract_dup(0, buffer.get_size()))), default=0)
        if loudest > 1000:
            print(loudest)
            break
""".replace("PITCH", str(PITCH))
# The strongest frequency of what the page's audio element plays, in Hz; 0 in silence.
HEARD = """() => {
  const stream = document.querySelector("audio.remote")?.srcObject;
  if (!stream) return 0;
  if (!window.ear) {
    const context = new AudioContext({ sampleRate: 48000 });
    window.ear = context.createAnalyser();
    window.ear.fftSize = 8192;
    context.createMediaStreamSource(stream).connect(window.ear);
  }
  const found = new Float32Array(window.ear.frequencyBinCount);
  window.ear.getFloatFrequencyData(found);
  const top = found.indexOf(Math.max(...found));
  return found[top] > -60 ? top * 48000 / 8192 : 0;
}"""


@pytest.fixture(scope="module")
def desktop(server: Server) -> Iterator[str]:
    name = f"sound-{secrets.token_hex(2)}"
    server.json("create", name, "--runtime", "container")
    yield name
    server.oriel("delete", name)


@pytest.fixture(scope="module")
def with_voice(playwright: Playwright) -> Iterator[Browser]:
    """A browser whose microphone beeps, and whose user allows it."""
    browser = playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=["--no-sandbox", "--disable-gpu", "--use-fake-device-for-media-stream",
              "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required"],
    )  # fmt: skip
    yield browser
    browser.close()


@pytest.fixture
def view(server: Server, desktop: str, with_voice: Browser) -> Iterator[Page]:
    page = with_voice.new_page(viewport={"width": 1280, "height": 720})
    page.set_default_timeout(120_000)
    page.goto(f"{server.url}/desktops/{desktop}#token={server.token}")
    expect(page.locator(".latency-rung")).to_have_text("UDP", timeout=120_000)
    yield page
    page.close()


def in_desktop(server: Server, desktop: str, *argv: str) -> str:
    script = ("exec", desktop, "--", *argv)
    return server.oriel(*script).stdout


def test_what_a_program_plays_is_heard_and_can_be_muted(server: Server, desktop: str, view: Page) -> None:
    start = ["sudo", "systemd-run", "--quiet", "--uid=user", "--setenv=XDG_RUNTIME_DIR=/run/user/1000"]
    in_desktop(server, desktop, *start, "--unit=tone", "python3", "-c", PLAY, "play")
    until(view, lambda: abs(view.evaluate(HEARD) - PITCH) < 10, "the tone")
    show_bar(view)
    button = view.get_by_role("button", name="Sound")
    expect(button).to_have_attribute("aria-pressed", "true")
    view.keyboard.press("Control+Alt+Shift+A")
    expect(button).to_have_attribute("aria-pressed", "false")
    assert view.evaluate("document.querySelector('audio.remote').muted")
    in_desktop(server, desktop, "sudo", "systemctl", "stop", "tone")
    until(view, lambda: view.evaluate(HEARD) == 0, "silence")


def test_a_voice_is_heard_in_the_desktop_once_it_is_allowed(server: Server, desktop: str, view: Page) -> None:
    sources = in_desktop(
        server, desktop, "env", "XDG_RUNTIME_DIR=/run/user/1000", "pactl", "get-default-source"
    )
    assert sources.strip() == "microphone"
    listen = ["env", "XDG_RUNTIME_DIR=/run/user/1000", "timeout"]
    # Nothing is heard before it is allowed, however long one listens.
    assert not server.oriel(
        "exec", desktop, "--", *listen, "3", "python3", "-c", PLAY, "listen", check=False
    ).stdout
    view.keyboard.press("Control+Alt+Shift+V")
    view.get_by_role("button", name="Let the desktop hear me").click()
    expect(view.get_by_text("The desktop hears you.")).to_be_visible()
    loudest = in_desktop(server, desktop, *listen, "90", "python3", "-c", PLAY, "listen")
    assert int(loudest) > 1000
    view.get_by_role("button", name="Turn the microphone off").click()
    expect(view.get_by_role("button", name="Let the desktop hear me")).to_be_visible()
