"""Where the program's own files are, so that the controller's user can read them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from oriel.host.layout import Home
from oriel.host.process import run

__all__ = ["CHECKOUT", "readable_program"]

CHECKOUT = Path(__file__).resolve().parents[3]


async def readable_program(home: Home, as_account: Sequence[str]) -> Path:
    """A directory with `.venv`, `src` and `web/dist` that the controller's user can read.

    That is the checkout itself where it can be (`as_account` is the command prefix that tries it),
    else a copy in the home, one per version of the code: a checkout under /root is closed to others.
    """
    probe = [*as_account, str(CHECKOUT / ".venv/bin/python"), "-c", "import oriel.model.errors, uvicorn"]
    if (await run(probe, check=False)).code == 0:
        return CHECKOUT
    listing = await run(
        ["find", CHECKOUT / "src", CHECKOUT / "web/dist", "-type", "f", "-printf", "%p %T@ %s\n"]
    )
    version = hashlib.sha256(b"".join(sorted(listing.stdout.splitlines()))).hexdigest()[:16]
    target = home.app / version
    if target.exists():
        return target
    # Older copies stay while keepers may still run from them; they are small beside one desktop's disk.
    partial = home.app / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "web").mkdir(parents=True)
    for part in (".venv", "src", "web/dist"):
        await run(["cp", "--archive", "--reflink=auto", CHECKOUT / part, partial / part], deadline_s=300)
    for link in partial.glob(".venv/lib/python*/site-packages/__editable__*oriel*.pth"):
        link.write_text(f"{target / 'src'}\n")
    await run(["chmod", "--recursive", "a+rX", partial])
    partial.rename(target)
    return target
