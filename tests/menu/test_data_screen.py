"""The menu's way to look at a file and to find a public data set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Menu
from screen import ENTER, squeezed

from appliance.locale import _


@pytest.mark.parametrize("language", ["zh", "en"])
def test_clean_by_keys(menu: Menu, tmp_path: Path, language: str) -> None:
    rows = [{"question": f"{n} + {n}?", "answer": f"{2 * n}"} for n in range(20)]
    rows += [{"question": "who?", "answer": "{{name}} 13812345678"}, {"question": "", "answer": "x"}]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    screen = menu(language)
    screen.keys("7", ENTER).asks(_("What about your data?")).pick(_("clean: write a better copy"))
    screen.asks(_("Your data file (Excel, CSV, JSON, text):")).keys(str(file), ENTER)
    screen.wait_for(_("What should stand for {name}?").format(name="{{name}}"))
    assert any("appliance data clean FILE --mask" in line for line in screen.seen)
    screen.keys("Ada", ENTER)
    screen.asks(_("Mask what looks like personal data and keys?")).keys(ENTER)
    screen.asks(_("Write the copy?")).keys(ENTER).waits_for_any_key()
    assert squeezed(_("Row by row")) in screen.flat and not screen.too_wide()
    copy = (tmp_path / "rows-clean.jsonl").read_text()
    assert "Ada [PHONE]" in copy and len(copy.splitlines()) == 21


def test_a_public_data_set_is_found_by_words(menu: Menu) -> None:
    screen = menu("en")
    screen.keys("7", ENTER).asks(_("What about your data?")).pick(_("public data sets"))
    screen.asks(_("What should it be about? (empty: all)")).keys("medical chinese lite", ENTER)
    screen.asks(_("Which one? ({n} found)").format(n=1)).keys(ENTER)
    screen.wait_for("FreedomIntelligence/Huatuo26M-Lite")
    screen.asks(_("Bring it here?")).pick(_("no")).waits_for_any_key()
