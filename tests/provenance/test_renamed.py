"""Settings under another name than before: results from before stand."""

from __future__ import annotations

import json

from wsss.settings import PNocSettings
from wsss.settings.renamed import FORMER, RENAMED, renewed
from wsss.store.manifest import read_manifest

SETTINGS = PNocSettings(ordinary="x", poly_power=0.5, head_lr_mult=3, erase_class="focal", erase_saturation=0.5)


def test_identities_have_the_former_names_at_any_depth():
    counted = SETTINGS.counted()
    assert counted["power"] == 0.5 and counted["new_factor"] == 3 and counted["choose"] == "focal"
    assert counted["adversary"] == {"start": 0.0, "end": 1.0, "share": 1.0}
    assert not set(counted) & set(FORMER) and not set(counted["adversary"]) & set(FORMER)


def test_manifests_from_before_are_read_under_the_names_of_today(tmp_path):
    now = json.loads(SETTINGS.canonical())

    def aged(values):
        return {FORMER.get(k, k): aged(v) for k, v in values.items()} if isinstance(values, dict) else values

    assert set(aged(now)) & set(RENAMED)
    (tmp_path / "manifest.json").write_text(json.dumps({"settings": aged(now)}))
    assert read_manifest(tmp_path)["settings"] == now == renewed(now)
