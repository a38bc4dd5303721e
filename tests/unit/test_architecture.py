"""The house's rules: arrows one way, one path per name, nothing secret or foreign in the repository."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src/oriel").rglob("*.py"))


def test_arrows_run_downwards_only() -> None:
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_model_imports_only_the_standard_library() -> None:
    for path in (ROOT / "src/oriel/model").glob("*.py"):
        for name in imported(path):
            top = name.partition(".")[0]
            assert top in sys.stdlib_module_names or name.startswith("oriel.model"), (
                f"{path.name} imports {name}"
            )


def test_only_the_door_starts_programs() -> None:
    """Programs are started through host/process.py; asyncio's own door is for supervisors that say so."""
    allowed = {"host/process.py"}
    for path in SOURCES:
        if str(path.relative_to(ROOT / "src/oriel")) in allowed:
            continue
        text = path.read_text()
        assert "shell=True" not in text, path
        assert "os.system" not in text, path
        assert "os.popen" not in text, path
        assert "create_subprocess_shell" not in text, path


def test_init_files_only_export() -> None:
    for path in SOURCES:
        if path.name != "__init__.py":
            continue
        for node in ast.parse(path.read_text()).body:
            lazily = isinstance(node, ast.FunctionDef) and node.name == "__getattr__"
            types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            exports = isinstance(node, ast.Import | ast.ImportFrom | ast.Expr | ast.Assign)
            assert exports or lazily or types, f"{path}: {ast.unparse(node)}"


@pytest.mark.parametrize("pattern", ["web/package-lock.json", "requirements*.txt"])
def test_lock_files_record_no_download_address(pattern: str) -> None:
    files = list(ROOT.glob(pattern))
    assert files, pattern
    for path in files:
        text = path.read_text()
        assert '"resolved"' not in text, path
        assert "index-url" not in text.replace("--no-emit-index-url", ""), path
        assert "find-links" not in text.replace("--no-emit-find-links", ""), path


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names
