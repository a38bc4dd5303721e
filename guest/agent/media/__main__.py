"""`python3 -m agent.media`: the live view's service, on the socket that systemd hands over."""

from __future__ import annotations

import asyncio

from agent.media.service import inherited, serve

if __name__ == "__main__":
    asyncio.run(serve(inherited()))
