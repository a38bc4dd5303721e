"""What an image's files say about it: one hash for the same content, sizes by part, nothing private."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from oriel.image.listing import Item, content_hash, list_tree, private_items, sizes_by_part
from oriel.image.sbom import bill_of_materials

BESIDE = {"vmlinuz": b"kernel", "initrd": b"first"}


def make_tree(root: Path) -> Path:
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/tool").write_bytes(b"\x7fELF")
    (root / "usr/bin/tool").chmod(0o755)
    (root / "bin").symlink_to("usr/bin")
    (root / "etc").mkdir()
    (root / "etc/machine-id").write_text("")
    return root


def hash_of(root: Path) -> str:
    return content_hash(list_tree(root), BESIDE)


def test_the_same_content_has_the_same_hash_anywhere_and_any_day(tmp_path: Path) -> None:
    one, other = make_tree(tmp_path / "one"), make_tree(tmp_path / "other")
    for path in other.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert hash_of(one) == hash_of(other)
    assert content_hash(list_tree(one), BESIDE | {"initrd": b"second"}) != hash_of(one)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "usr/bin/tool").write_bytes(b"\x7fELG"),
        lambda root: (root / "usr/bin/tool").chmod(0o4755),
        lambda root: (root / "usr/bin/tool").rename(root / "usr/bin/tools"),
        lambda root: ((root / "bin").unlink(), (root / "bin").symlink_to("usr/sbin")),
        lambda root: (root / "usr/empty").mkdir(),
        lambda root: os.setxattr(root / "usr/bin/tool", "user.note", b"1"),
    ],
    ids=["content", "mode", "name", "link", "directory", "attribute"],
)
def test_every_change_changes_the_hash(tmp_path: Path, change: object) -> None:
    root = make_tree(tmp_path / "root")
    before = hash_of(root)
    change(root)  # type: ignore[operator]
    assert hash_of(root) != before


def test_the_parts_sum_up_to_all_files(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root")
    (root / "usr/lib/chromium").mkdir(parents=True)
    (root / "usr/lib/chromium/chromium").write_bytes(b"x" * 1000)
    (root / "srv").write_bytes(b"y" * 10)
    assert sizes_by_part(list_tree(root)) == {"browser": 1000, "the rest": 10, "programs": 4}


def test_what_is_private_is_found() -> None:
    plain = Item(path="etc/hosts", kind="-", mode=0o644, owner=(0, 0), size=9, digest="d")
    wrong = ("etc/ssh/ssh_host_rsa_key", "var/lib/systemd/random-seed", "var/log/dpkg.log", "root/.npmrc",
             "etc/machine-id", "var/lib/apt/lists/mirror_InRelease")  # fmt: skip
    assert private_items([plain, *(replace(plain, path=path) for path in wrong)]) == list(wrong)
    assert private_items([replace(plain, path="etc/machine-id", size=0)]) == []
    assert private_items([replace(plain, path="var/log/journal", kind="d")]) == []


def test_the_bill_of_materials_names_every_version() -> None:
    manifest = {
        "id": "default@0123456789ab", "name": "default", "version": "0123456789ab", "content": "c0ffee",
        "plan": {"recipe": {"distribution": "debian", "suite": "trixie"}},
        "packages": {"g++": {"version": "4:14.2.0-1", "architecture": "amd64", "kib": 1}},
        "npm": {"@openai/codex": ["1.2.3"], "yallist": ["4.0.0", "5.0.0"]},
    }  # fmt: skip
    bill = bill_of_materials(manifest)
    assert json.dumps(bill) == json.dumps(bill_of_materials(manifest))
    assert [item["purl"] for item in bill["components"]] == [
        "pkg:deb/debian/g%2B%2B@4%3A14.2.0-1?arch=amd64&distro=trixie",
        "pkg:npm/%40openai/codex@1.2.3",
        "pkg:npm/yallist@4.0.0",
        "pkg:npm/yallist@5.0.0",
    ]
    assert bill["components"][1]["group"] == "@openai"
    assert len(bill["dependencies"][0]["dependsOn"]) == 4
