"""A window's kind, from what its program says it is."""

from __future__ import annotations

import pytest

from agent.windows import kind_of


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        (("xterm", "XTerm"), "terminal"),
        (("xfce4-terminal", "Xfce4-terminal"), "terminal"),
        (("gnome-terminal-server", "Gnome-terminal"), "terminal"),
        (("custom-name", "XTerm"), "terminal"),
        (("chromium", "Chromium"), "browser"),
        (("chromium (/home/user/.config/chromium)", "Chromium"), "browser"),
        (("google-chrome", "Google-chrome"), "browser"),
        (("Navigator", "firefox-esr"), "browser"),
        (("tint2", "Tint2"), "panel"),
        (("xfce4-panel", "Xfce4-panel"), "panel"),
        (("pcmanfm", "Pcmanfm"), "other"),
        (("", ""), "other"),
        (("not-an-xterm", "Other"), "other"),
    ],
)
def test_kinds(classes: tuple[str, str], kind: str) -> None:
    assert kind_of(classes) == kind


def test_a_dock_is_a_panel_whatever_it_is_called() -> None:
    assert kind_of(("xterm", "XTerm"), dock=True) == "panel"
