"""`python3 -m agent`: listen, announce, serve until told to end."""

from __future__ import annotations

import sys

# asyncio does without it, and a fifth of our start is saved: this runs in the first second of a boot.
sys.modules["ssl"] = None  # type: ignore[assignment]

import asyncio  # noqa: E402

from agent.server import serve  # noqa: E402
from agent.settings import parse  # noqa: E402

if __name__ == "__main__":
    asyncio.run(serve(parse(sys.argv[1:])))
