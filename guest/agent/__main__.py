"""`python3 -m agent`: listen, announce, serve until told to end."""

from __future__ import annotations

import asyncio
import sys

from agent.server import serve
from agent.settings import parse

if __name__ == "__main__":
    asyncio.run(serve(parse(sys.argv[1:])))
