"""CLIP's towers beside open_clip itself, and what is refused before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from tests.tiny_clip import write_clip
from wsss.errors import WsssError
from wsss.models.clip_tower import after_attention, attended, find_weights, load_clip
from wsss.store import weights_cache

open_clip = pytest.importorskip("open_clip", reason="pip install '.[foundation]'")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WSSS_WEIGHTS", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_both_towers_are_those_of_the_library(named):
    """Block by block and opened up, the towers say what the library says in one go."""
    tower = load_clip(**named, path=Path(named["weights"]), device=CPU)
    torch.manual_seed(1)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        tokens = tower.tokens(images)
        for block in tower.blocks:
            tokens = after_attention(block, tokens, attended(block, block.ln_1(tokens))[0])
        torch.testing.assert_close(tower.project(tokens[:, 0]), tower.model.encode_image(images), atol=1e-5, rtol=1e-4)
        texts = [f"a photo of {number} cats" for number in range(70)]  # more than are seen at once
        expected = F.normalize(tower.model.encode_text(tower.tokenizer(texts)), dim=-1)
    torch.testing.assert_close(tower.texts(texts), expected, atol=1e-5, rtol=1e-4)
    assert tower.patch == 16 and tower.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert not any(parameter.requires_grad for parameter in tower.model.parameters())


@pytest.mark.parametrize(
    ("model", "weights", "said"),
    [
        ("ViT-B-16", "openai", "trained with QuickGELU, and ViT-B-16 computes GELU.*use model: ViT-B-16-quickgelu"),
        ("ViT-B-16-quickgelu", "laion2b_s34b_b88k", "trained with GELU.*computes QuickGELU.*use model: ViT-B-16$"),
        ("ViT-B-16", "weights/openai/open_clip_model.safetensors", "use model: ViT-B-16-quickgelu"),
        ("ViT-B-16-quickgelu", "w/vit-b-16.laion2b-s34b-b88k.bin", "use model: ViT-B-16$"),
        ("ViT-B-16-quickgelu", "opneai", "none of open_clip's for ViT-B-16-quickgelu; did you mean 'openai'"),
        ("ViT-B-16-quickgleu", "openai", "none of open_clip's; did you mean 'ViT-B-16-quickgelu'"),
        ("hf-hub:timm/some", "openai", "would be fetched while a stage runs"),
        ("local-dir:nowhere", "a.pt", "its open_clip_config.json cannot be read"),
        ("ViT-B-16-quickgelu", "nowhere.pt", "nowhere.pt: no such file of weights"),
    ],
)
def test_what_does_not_go_together(model, weights, said):
    with pytest.raises(WsssError, match=said):
        find_weights(model, weights)


def test_weights_that_were_not_fetched_are_one_sentence_with_the_command(cache):
    with pytest.raises(WsssError) as error:
        find_weights("ViT-B-16-quickgelu", "openai")
    said = str(error.value)
    assert "run `wsss fetch clip:ViT-B-16-quickgelu:openai`" in said and str(cache) in said and "\n" not in said


def test_fetched_weights_are_found_and_checked(cache, tmp_path, named):
    file = Path(named["weights"])
    about = {"source": "https://example.org/clip", "licence": "MIT"}
    kept = weights_cache.keep("clip", "ViT-B-16-quickgelu", "openai", file, about)
    found = find_weights("ViT-B-16-quickgelu", "openai")
    assert (found.path, found.source, found.licence) == (kept.path, "https://example.org/clip", "MIT")
    assert found.sha256 == weights_cache.digest(file) and found.path.read_bytes() == file.read_bytes()
    with found.path.open("ab") as damaged:
        damaged.write(b"!")
    with pytest.raises(
        WsssError, match=r"its SHA-256 differs\); run `wsss fetch clip:ViT-B-16-quickgelu:openai` again"
    ):
        find_weights("ViT-B-16-quickgelu", "openai")


def test_weights_that_do_not_fit_are_refused(named, tmp_path):
    weights = load_file(named["weights"])
    path = tmp_path / "cut.safetensors"
    save_file({name: tensor for name, tensor in weights.items() if name != "visual.proj"}, path)
    with pytest.raises(WsssError, match=r"these weights do not fit local-dir.*visual.proj"):
        load_clip(named["model"], str(path), path, CPU)


@pytest.mark.parametrize(("model", "said"), [("RN50-quickgelu", "no vision transformer of CLIP's own form")])
def test_other_networks_are_refused(model, said, named, monkeypatch):
    small = {"embed_dim": 32, "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}}
    config = {**small, "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, model, config)
    with pytest.raises(WsssError, match=said):
        load_clip(model, named["weights"], Path(named["weights"]), CPU)
