"""`python -m oriel.controller --home HOME`: the API, the page and the supervision of a home's desktops.

`oriel serve` starts it as the user `oriel` with an inherited listening socket (`--listen-fd`, `--url`),
and so does systemd (deploy/systemd), by its own protocol for sockets.
By hand, for work on the page or the API, without root and without machines:

    python -m tests.fakes.hostd --home DIR &
    python -m oriel.controller --home DIR --port 8080
    cat DIR/controller/admin.token

Every setting of oriel.host.settings is a flag here.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
import uvloop

from oriel.controller.composition import Address, serve
from oriel.controller.log import configure
from oriel.controller.tracing import traced
from oriel.host.layout import Home, default_home
from oriel.host.settings import Settings, add_flags, load_settings
from oriel.host.systemd import activated
from oriel.model.errors import OrielError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM. 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m oriel.controller", description="The API and the page.", allow_abbrev=False
    )
    parser.add_argument("--home", type=Path, default=None, help="the home directory")
    parser.add_argument("--listen-fd", type=int, default=None, help="a listening socket to serve on")
    parser.add_argument("--url", default="", help="what people type to reach that socket")
    add_flags(parser)
    options = parser.parse_args(argv)
    root = (options.home or default_home()).resolve()
    configure("info")
    os.umask(0o077)
    try:
        flags = {
            name: value for name, value in vars(options).items() if name in Settings.__dataclass_fields__
        }
        settings = load_settings(Home(root).settings, flags, os.environ)
        configure(settings.log_level)
        scheme = "https" if settings.tls_certificate else "http"
        fd = activated() if options.listen_fd is None else options.listen_fd
        address = (
            Address.open(settings.host, settings.port, scheme)
            if fd is None
            else Address.inherited(fd, scheme, options.url)
        )
        with traced(settings.otlp_endpoint):
            uvloop.run(serve(Home(root, settings.images_directory), settings, address))
    except OrielError as error:
        structlog.get_logger("oriel.controller").error(
            "the controller cannot go on", reason=error.message, hint=error.hint
        )
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
