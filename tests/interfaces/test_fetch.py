"""Weights that a configuration names: which, from where, what lies in the cache afterwards. Nothing is fetched here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsss.cli import main
from wsss.config.loader import load
from wsss.errors import WsssError
from wsss.interfaces import fetch as fetching
from wsss.interfaces.fetch import Wanted, address, fetch, licence, wanted_by
from wsss.store import weights_cache

pytest.importorskip("open_clip", reason="pip install '.[foundation]'")

CLIP = Wanted("clip", "ViT-B-16-quickgelu", "openai")
DINO = Wanted("timm", "vit_small_patch14_dinov2.lvd142m", "default")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_WEIGHTS", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_a_configuration_names():
    cams = {
        "a": {"source": "text"},
        "b": {"source": "text", "method": "proxy"},
        "c": {"source": "text", "weights": "weights/clip.safetensors"},
    }
    config = load({"dataset": "scenes", "datasets": {"scenes": {"kind": "scenes"}}, "cams": cams})
    assert list(wanted_by(config)) == [CLIP, DINO]
    cams["d"] = {"source": "feature-walk", "cams": "c", "features": "keys", "backbone": "vit_small_patch16_224.dino"}
    config = load({"dataset": "scenes", "datasets": {"scenes": {"kind": "scenes"}}, "cams": cams})
    assert list(wanted_by(config)) == [CLIP, DINO, Wanted("timm", "vit_small_patch16_224.dino", "default")]


def test_whatever_starts_from_timms_weights_is_named():
    raw = {
        "dataset": "scenes",
        "datasets": {"scenes": {"kind": "scenes"}},
        "classifiers": {
            "a": {"objective": "vanilla", "backbone": "resnet50"},
            "b": {"objective": "vanilla", "backbone": "resnet18", "warm_start": "a"},
            "c": {"objective": "vanilla", "backbone": "resnet26", "pretrained": False},
            "d": {"objective": "vanilla", "backbone": "tf_efficientnet_lite0", "pretrained": "packaged"},
            "e": {
                "objective": "vanilla",
                "backbone": "wide_resnet38d",
                "pretrained": "weights.pth",
                "output_stride": 8,
            },
            "g": {"objective": "guided", "backbone": "resnet34"},
        },
        "cams": {
            "a": {"classifier": "a"},
            "near": {"source": "feature-walk", "cams": "a", "backbone": "mobilenetv2_100"},
            "patches": {"source": "feature-walk", "cams": "a", "features": "patches", "backbone": DINO.model},
        },
        "saliency": {"c": {"objective": "c2am", "backbone": "resnet50"}, "t": {"objective": "token-cut"}},
        "affinity": {"f": {"cams": "a", "backbone": "resnet101"}},
        "masks": {"m": {"cams": "a"}},
        "segmenters": {
            "s": {"masks": "m", "backbone": "resnet50d"},
            "h": {"supervision": "classifier", "classifier": "g", "backbone": "resnet152"},
        },
    }
    expected = ["resnet50", "resnet34", "mobilenetv2_100", DINO.model, "vit_small_patch16_224.dino", "resnet101"]
    found = list(wanted_by(load(raw)))
    assert found == [Wanted("timm", name, "default") for name in [*expected, "resnet50d"]]
    assert {licence(one) for one in found} == {"apache-2.0"}, "nothing behind a licence of its own is a default"
    assert licence(Wanted("timm", "vit_small_patch16_dinov3.lvd1689m", "default")) == "dinov3-license"


def test_addresses():
    assert address(CLIP) == "https://huggingface.co/timm/vit_base_patch16_clip_224.openai"
    assert address(DINO) == "https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m"
    with pytest.raises(WsssError, match="open_clip's list has no weights 'nothing'"):
        address(Wanted("clip", "ViT-B-16", "nothing"))
    for wrong in ("clip:ViT-B-16", "hub:a:b", "clip::b"):
        with pytest.raises(WsssError, match="wanted is KIND:MODEL:TAG"):
            Wanted.parse(wrong)
    assert Wanted.parse("clip:ViT-B-16-quickgelu:openai") == CLIP


def test_what_is_fetched_lies_in_the_cache_with_its_checksum(tmp_path, monkeypatch, cache):
    def download(wanted: Wanted, folder: str) -> str:
        path = Path(folder) / "open_clip_model.safetensors"
        path.write_bytes(b"weights of " + wanted.model.encode())
        return str(path)

    monkeypatch.setitem(fetching.SOURCES, "clip", (fetching.SOURCES["clip"][0], download))
    found = fetch(CLIP)
    assert found == weights_cache.cached(*("clip", "ViT-B-16-quickgelu", "openai"))
    assert found.path.read_bytes() == b"weights of ViT-B-16-quickgelu" and found.path.is_relative_to(cache)
    about = json.loads((found.path.parent / "source.json").read_text())
    assert about["sha256"] == found.sha256 == weights_cache.digest(found.path)
    assert about["source"] == address(CLIP) and about["licence"].startswith("MIT") and about["bytes"] == 29


def test_the_command(monkeypatch, capsys):
    def download(wanted: Wanted, folder: str) -> str:
        path = Path(folder) / "a.bin"
        path.write_bytes(b"weights")
        return str(path)

    monkeypatch.setitem(fetching.SOURCES, "clip", (fetching.SOURCES["clip"][0], download))
    for state in ("fetched", "there already"):
        assert main(["fetch", "clip:ViT-B-16-quickgelu:openai"]) == 0
        said = capsys.readouterr().out
        assert f"openai: {state}" in said and "sha256" in said and address(CLIP) in said and "MIT" in said


def test_what_cannot_be_had_is_one_sentence(monkeypatch, cache):
    def refused(wanted: Wanted, folder: str) -> str:
        raise OSError("403: gated\nmore lines")

    monkeypatch.setitem(fetching.SOURCES, "timm", (fetching.SOURCES["timm"][0], refused))
    with pytest.raises(WsssError) as error:
        fetch(DINO)
    said = str(error.value)
    assert "\n" not in said and address(DINO) in said and "403: gated" in said
    assert "wsss fetch timm:vit_small_patch14_dinov2.lvd142m:default" in said and not cache.exists()
