"""A model that has another name at the other hub is asked for by the right one."""

from __future__ import annotations

import fake_hub
import pytest
from bringing import Bring
from fake_hub import FakeHub

from appliance.errors import ApplianceError
from appliance.hub import manifest
from appliance.jobs import prepare

HUGGINGFACE, MODELSCOPE = "meta-llama/Llama-3.2-1B-Instruct", "LLM-Research/Llama-3.2-1B-Instruct"


@pytest.mark.parametrize(
    ("hub", "there", "asked"), [("modelscope", MODELSCOPE, HUGGINGFACE), ("huggingface", HUGGINGFACE, MODELSCOPE)]
)
def test_each_hub_by_its_own_name(
    hub: str, there: str, asked: str, hubs: dict[str, FakeHub], bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_hub, "MODEL", there)
    folder = bring(asked, source=hub)
    written = manifest.read(folder)
    assert written is not None
    assert (written["source"], written["reference"]) == (hub, asked)
    bring(asked, source=hub)
    assert "Already here" in bring.notes[-1]


def test_a_catalogue_name_is_downloaded_as_what_it_stands_for() -> None:
    assert prepare.download("Llama-3.2-1b").spec["reference"] == HUGGINGFACE
    with pytest.raises(prepare.NotHere) as missing:
        prepare.model_folder("llama-3.2-1b")
    assert missing.value.reference == HUGGINGFACE
    with pytest.raises(ApplianceError):
        prepare.download("no-such-name")
