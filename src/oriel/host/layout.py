"""Every path of ours on a host. Nothing else in the code spells a file name under the home directory.

HOME/
  oriel.toml                    settings of this home (optional)
  recipes/NAME.toml             the operator's own recipes (optional)
  images/NAME@VERSION/          one golden image: root.erofs, initrd, vmlinuz, disk.img, manifest.json
  images/.cache/                build layers, keyed by hash
  images/.templates/KEY/        a moment that desktops begin at: memory, pages, devices, disk.img …
  firecracker/                  firecracker and jailer, as the operator installed them (optional)
  backups/                      what scripts/install keeps before an upgrade (root 0700)
  hostd/                        root:oriel 0750
    hostd.sock                  0660; verbs in docs/internals.md
    hostd.json  hostd.log       pid and start time; log
  desktops/ID/                  root:oriel 0750, one per desktop
    spec.json                   what was asked (no secret)
    journal.jsonl               what happened: the truth the keeper recovers from
    keeper.sock  keeper.json  keeper.log
    console.log                 the machine's console (bounded)
    egress.counters             what its way out was used for: numbers, kept over every restart
    access.log  access.log.1    where it went, if its policy has an access log (bounded)
    disk.img                    the desktop's own writable disk, sparse
    disk/  root/                mount points (container)
    machine/                    the VMM's sockets and files
    paused/                     the moment to go on from; its disk is disk.img itself
    snapshots/NAME/             a moment to return to or to fork
  controller/                   oriel:oriel 0700
    oriel.db  secret.key  admin.token  controller.json  controller.log  stills/
    porter.sock  porter.log
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from oriel.host.template import check_template_key
from oriel.model.spec import check_desktop_id, check_name

__all__ = ["DEFAULT_HOME", "DesktopPaths", "Home", "default_home", "netns_name", "netns_path"]

DEFAULT_HOME = Path("/var/lib/oriel")
NETNS_DIRECTORY = Path("/run/netns")  # where iproute2 keeps named namespaces


def default_home() -> Path:
    """`$ORIEL_HOME`, else /var/lib/oriel."""
    return Path(os.environ.get("ORIEL_HOME") or DEFAULT_HOME)


def netns_name(desktop_id: str, *, guest: bool = False) -> str:
    """The name of a desktop's namespace; `guest`: the container's own."""
    return f"oriel-{check_desktop_id(desktop_id)}" + ("-guest" if guest else "")


def netns_path(desktop_id: str, *, guest: bool = False) -> Path:
    return NETNS_DIRECTORY / netns_name(desktop_id, guest=guest)


@dataclass(frozen=True)
class DesktopPaths:
    """The files of one desktop."""

    root: Path

    @property
    def spec(self) -> Path:
        return self.root / "spec.json"

    @property
    def access_log(self) -> Path:
        return self.root / "access.log"

    @property
    def egress_counters(self) -> Path:
        return self.root / "egress.counters"

    @property
    def journal(self) -> Path:
        return self.root / "journal.jsonl"

    @property
    def keeper_socket(self) -> Path:
        return self.root / "keeper.sock"

    @property
    def keeper_record(self) -> Path:
        return self.root / "keeper.json"

    @property
    def keeper_log(self) -> Path:
        return self.root / "keeper.log"

    @property
    def console_log(self) -> Path:
        return self.root / "console.log"

    @property
    def disk_image(self) -> Path:
        return self.root / "disk.img"

    @property
    def disk_mount(self) -> Path:
        return self.root / "disk"

    @property
    def root_mount(self) -> Path:
        return self.root / "root"

    @property
    def machine(self) -> Path:
        return self.root / "machine"

    @property
    def paused(self) -> Path:
        return self.root / "paused"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    def snapshot(self, name: str) -> Path:
        return self.snapshots / check_name(name, "snapshot")


@dataclass(frozen=True)
class Home:
    """The home directory of one Oriel. `images` may stand elsewhere, shared by several homes."""

    root: Path
    images_directory: Path | None = None

    @property
    def settings(self) -> Path:
        return self.root / "oriel.toml"

    @property
    def serve_record(self) -> Path:
        """`{"pid", "started", "url"}` of the `oriel serve` that holds this home."""
        return self.root / "serve.json"

    @property
    def serve_log(self) -> Path:
        return self.root / "serve.log"

    @property
    def app(self) -> Path:
        return self.root / "app"

    @property
    def recipes(self) -> Path:
        """The operator's own recipes; they come before the shipped ones."""
        return self.root / "recipes"

    @property
    def firecracker(self) -> Path:
        """The two programs, and `release.json`: what they are and where they came from."""
        return self.root / "firecracker"

    @property
    def images(self) -> Path:
        return self.images_directory or self.root / "images"

    @property
    def image_cache(self) -> Path:
        return self.images / ".cache"

    @property
    def templates(self) -> Path:
        """Beside the images, and shared with them: a template is nothing without its image."""
        return self.images / ".templates"

    def template(self, key: str) -> Path:
        return self.templates / check_template_key(key)

    @property
    def hostd(self) -> Path:
        return self.root / "hostd"

    @property
    def hostd_socket(self) -> Path:
        return self.hostd / "hostd.sock"

    @property
    def hostd_record(self) -> Path:
        return self.hostd / "hostd.json"

    @property
    def hostd_log(self) -> Path:
        return self.hostd / "hostd.log"

    @property
    def probes(self) -> Path:
        """Cached results of test boots, valid for one boot of the host."""
        return self.hostd / "probes.json"

    @property
    def desktops(self) -> Path:
        return self.root / "desktops"

    def desktop(self, desktop_id: str) -> DesktopPaths:
        return DesktopPaths(self.desktops / check_desktop_id(desktop_id))

    @property
    def controller(self) -> Path:
        return self.root / "controller"

    @property
    def database(self) -> Path:
        return self.controller / "oriel.db"

    @property
    def secret_key(self) -> Path:
        return self.controller / "secret.key"

    @property
    def admin_token(self) -> Path:
        return self.controller / "admin.token"

    @property
    def controller_record(self) -> Path:
        """`{"pid", "started", "url"}` of the controller that serves this home."""
        return self.controller / "controller.json"

    @property
    def porter_socket(self) -> Path:
        return self.controller / "porter.sock"

    @property
    def porter_log(self) -> Path:
        return self.controller / "porter.log"

    @property
    def controller_log(self) -> Path:
        return self.controller / "controller.log"

    @property
    def stills(self) -> Path:
        return self.controller / "stills"

    def image(self, image_id: str) -> Path:
        return self.images / image_id
