"""Settings: where they come from, in which order, and that a wrong one is never passed over."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from oriel.host.settings import Settings, add_flags, load_settings, reference, to_flags
from oriel.model.errors import InvalidError


def test_flags_win_over_variables_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "oriel.toml"
    file.write_text('port = 1\nvcpus = 3\nmemory_mib = 1024\ndirect_allow = ["203.0.113.0/24"]\n')
    settings = load_settings(file, {"port": "3", "host": None}, {"ORIEL_PORT": "2", "ORIEL_VCPUS": "4"})
    assert (settings.port, settings.vcpus, settings.memory_mib) == (3, 4, 1024)
    assert settings.direct_allow == ("203.0.113.0/24",)
    assert settings.host == Settings().host


def test_all_faults_come_together_with_their_places(tmp_path: Path) -> None:
    file = tmp_path / "oriel.toml"
    file.write_text('vcpus = "many"\nnonsense = 1\n')
    with pytest.raises(InvalidError) as refusal:
        load_settings(
            file, {"port": "70000"}, {"ORIEL_RUNTIME": "vmware", "ORIEL_ALLOWED_ORIGINS": "javascript:x"}
        )
    fields = {fault.field for fault in refusal.value.faults}
    assert fields == {
        "--port",
        "ORIEL_RUNTIME",
        "ORIEL_ALLOWED_ORIGINS",
        f"{file}: vcpus",
        f"{file}: nonsense",
    }


@pytest.mark.parametrize("text", ["= 1", "\xff", 'port = "1'])
def test_a_file_that_is_no_toml_is_said_as_such(tmp_path: Path, text: str) -> None:
    file = tmp_path / "oriel.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidError, match="is no TOML"):
        load_settings(file, {}, {})


@pytest.mark.parametrize(
    ("name", "text"),
    [("port", ""), ("port", "1e3"), ("port", "8080x"), ("still_interval_s", "nan"),
     ("images_directory", "here"), ("direct_allow", "10.0.0.0/99"), ("default_proxy", "My Proxy"),
     ("public_url", "ftp://x")],
)  # fmt: skip
def test_wrong_values(name: str, text: str) -> None:
    with pytest.raises(InvalidError):
        load_settings(Path("/nonexistent/oriel.toml"), {name: text}, {})


def test_flags_carry_settings_to_another_process() -> None:
    settings = Settings(
        port=0, direct_allow=("203.0.113.0/24", "198.51.100.1"), images_directory=Path("/srv/images")
    )
    parser = argparse.ArgumentParser()
    add_flags(parser)
    again = load_settings(Path("/nonexistent"), vars(parser.parse_args(to_flags(settings))), {})
    assert again == settings
    assert "images" not in " ".join(to_flags(settings, without=["images_directory"]))


def test_every_setting_is_in_the_reference() -> None:
    text = reference()
    for name in Settings.__dataclass_fields__:
        assert f"`{name}`" in text


def test_the_reference_page_is_up_to_date() -> None:
    page = Path(__file__).resolve().parents[2] / "docs/reference/settings.md"
    assert page.read_text().endswith(reference()), "generate it again from oriel.host.settings.reference()"
