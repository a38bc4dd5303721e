"""Recipes are read strictly, and a plan changes exactly where its inputs do."""

from __future__ import annotations

from pathlib import Path

import pytest

from oriel.image.layers import mmdebstrap_argv, npm_argv, sources_of
from oriel.image.plan import Sources, make_plan
from oriel.image.recipe import Recipe, load_recipe
from oriel.model.errors import InvalidError, NotFoundError

SHIPPED = Path(__file__).resolve().parents[2] / "recipes"


def load(directory: Path, name: str, text: str) -> Recipe:
    (directory / f"{name}.toml").write_text(text)
    return load_recipe(name, (directory, SHIPPED))


def test_every_shipped_recipe_is_right() -> None:
    names = [path.stem for path in SHIPPED.glob("*.toml")]
    assert "default" in names
    for name in names:
        assert load_recipe(name, (SHIPPED,)).packages


def test_all_faults_are_told_together_with_their_lines(tmp_path: Path) -> None:
    text = """extends = "default"
sumary = "typo"
[system]
packages = ["Good", "git"]
locale = 7
[tools]
x = "latest"
"""
    with pytest.raises(InvalidError) as caught:
        load(tmp_path, "mine", text)
    told = {fault.field: fault.problem for fault in caught.value.faults}
    assert told["sumary (line 2)"].startswith("is unknown")
    assert told["system.packages (line 4)"] == "'Good' is not names of packages"
    assert told["system.locale (line 5)"].startswith("must be text")
    assert told["tools (line 6)"] == "'latest' is not a version, as 1.2.3"
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


def test_a_missing_overlay_is_said(tmp_path: Path) -> None:
    recipe = load(tmp_path, "mine", 'extends = "default"\n[files]\noverlays = ["extra"]\n')
    with pytest.raises(InvalidError, match="no directory"):
        make_plan(recipe, repository(tmp_path))


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
    bootstrap = [str(word) for word in mmdebstrap_argv(recipe, Path("/r"), ["deb u trixie main"])]
    assert bootstrap[-3:] == ["trixie", "/r", "deb u trixie main"]
    assert next(word for word in bootstrap if word.startswith("--include=")).count("chromium") == 2
    install = [str(word) for word in npm_argv(recipe, Path("/r"), "/etc/npmrc")]
    assert install[install.index("--prefix") + 1] == "/r/usr/local"
    assert "--ignore-scripts" in install
    assert {f"{name}@{version}" for name, version in recipe.tools.items()} <= set(install)
