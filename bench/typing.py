"""Whether what is typed arrives as it was typed: random keystrokes of several keyboards, byte for byte.

    .venv/bin/python -m bench.typing [--strokes 10000] [--keyboard de]

Keys go down and up one by one over the data channel, by the keysyms that a us, de, fr or ru keyboard gives;
what an input method writes (Japanese) and emoji go as text, a line at a time. `cat` in the desktop's terminal
writes down what it reads.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import Any

from bench.live.place import chromium, desktop, page_of
from bench.report import publish
from bench.server import serving

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PLAIN = LETTERS + LETTERS.upper() + "0123456789 "
KEYBOARDS = {
    "us": PLAIN + "`~!@#$%^&*()-_=+[{]}\\|;:'\",<.>/?",
    "de": PLAIN + "äöüßÄÖÜ°§€²³µ{[]}\\@~|<>^´`'#+*",
    "fr": PLAIN + "éèàùçâêîôûëïüÉÈÀ£µ§€²&\"'(-_)=^¨$*%!:;,?./",
    "ru": 'абвгдежзийклмнопрстуфхцчшщъыьэюяАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯёЁ№0123456789 .,;:"!?',
}
TEXTS = {
    "jp": "あいうえおかきくけこさしすせそたちつてと日本語入力漢字変換東京大阪今日明日。、「」ー",
    "emoji": "😀😂🦊🚀🌍🎉🐧🔥💡🧪✨👍❤🥐🍣",
}
# What is sent, as keys or as text, by which keyboard, and its signs.
BOARDS = [("keys", *one) for one in KEYBOARDS.items()] + [("text", *one) for one in TEXTS.items()]
WORD = 40
SEND = """([kind, what]) => {
  const say = (message) => state.channels.input.send(JSON.stringify(message));
  if (kind === "text") return say({ type: "text", text: what });
  for (const sign of what) {
    const point = sign.codePointAt(0);
    const latin = (point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff);
    const keysym = sign === "\\n" ? 0xff0d : latin ? point : 0x1000000 + point;
    for (const down of [true, false]) say({ type: "key", keysym, down });
  }
}"""


END = """() => { for (const [keysym, down] of [[0xffe3, true], [0x64, true], [0x64, false], [0xffe3, false]])
  state.channels.input.send(JSON.stringify({ type: "key", keysym, down })); }"""
FOCUS = """() => { for (const down of [true, false]) state.channels.input.send(
  JSON.stringify({ type: "button", button: 1, down, x: 300, y: 400 })); }"""


def lines_of(signs: str, strokes: int, seed: int) -> list[str]:
    chosen = random.Random(seed)
    return ["".join(chosen.choices(signs, k=WORD)).strip() or "x" for _ in range(strokes // WORD)]


def until_there(made: Any, path: str) -> None:
    made.exec(
        ["sh", "-c", f"for n in $(seq 6000); do [ -e {path} ] && break; sleep 0.1; done"], timeout_s=620
    )


def try_one(page: Any, made: Any, name: str, signs: str, strokes: int, kind: str) -> dict[str, Any]:
    """Into a `cat` of its own, until Ctrl D."""
    lines = lines_of(signs, strokes, sum(name.encode()))
    path = f"/home/user/typed-{name}"
    page.evaluate(SEND, ["keys", f"cat > {path}.part; mv {path}.part {path}\n"])
    until_there(made, f"{path}.part")
    began = time.monotonic()
    for number, line in enumerate(lines, 1):
        page.evaluate(SEND, [kind, line])
        page.evaluate(SEND, ["keys", "\n"])
        # What waits for the desktop is bounded: as a person would, see a line before writing the next.
        seen = f"[ $(wc -l <{path}.part) -ge {number} ]"
        made.exec(["sh", "-c", f"for n in $(seq 600); do {seen} && break; sleep 0.05; done"])
    page.evaluate(END)
    until_there(made, path)
    found = made.exec(["cat", path]).stdout
    wanted = "".join(f"{line}\n" for line in lines)
    wrong = sum(one != other for one, other in zip(found, wanted, strict=False)) + abs(
        len(found) - len(wanted)
    )
    seconds = round(time.monotonic() - began, 1)
    if wrong:
        print(f"{name}: {wanted[:60]!r} came as {found[:60]!r}", file=sys.stderr)
    return {"strokes": len(wanted), "exact": found == wanted, "wrong": wrong, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.typing", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the default: one JSON document on stdout")
    parser.add_argument("--strokes", type=int, default=10_000, help="in all")
    parser.add_argument("--keyboard", action="append", choices=(*KEYBOARDS, *TEXTS))
    options = parser.parse_args()
    each = options.strokes // (len(KEYBOARDS) + len(TEXTS))
    document: dict[str, Any] = {"figure": "keystrokes that arrived as they were typed"}
    with (
        serving() as client,
        chromium() as browser,
        desktop(client) as made,
        page_of(browser, client.access.url) as page,
    ):
        where = {"desktop": made.info.name, "token": client.access.token.reveal()}
        page.evaluate("where => openWebrtc(where)", where)
        page.evaluate(FOCUS)
        for kind, name, signs in BOARDS:
            if name in (options.keyboard or (*KEYBOARDS, *TEXTS)):
                document[name] = try_one(page, made, name, signs, each, kind)
    rows = [{"keyboard": name, **told} for name, told in document.items() if isinstance(told, dict)]
    publish("Keystrokes", rows, document)


if __name__ == "__main__":
    main()
