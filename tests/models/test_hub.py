"""timm's weights from files on this machine: of the cache of ``wsss fetch``, or laid out as the hub lays them out."""

from __future__ import annotations

import socket

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from wsss.errors import WsssError
from wsss.models.backbone import create_backbone
from wsss.models.encoder import create_encoder
from wsss.models.hub import hub_options, told_weights
from wsss.models.patch_features import PatchFeatures
from wsss.models.segmenter import Segmenter
from wsss.store.weights_cache import digest, keep

NET, VIT = "resnet10t.c3_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch):
    """Both caches are empty folders, and a socket is an error."""

    def refused(*_):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setenv("WSSS_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def weights(name, path, seed=5):
    torch.manual_seed(seed)
    state = {k: v.contiguous() for k, v in timm.create_model(name).state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)
    return state


def by_fetch(name, folder):
    """As ``wsss fetch`` puts it there."""
    state = weights(name, folder / "fetched.safetensors")
    source = f"https://huggingface.co/timm/{name}"
    keep("timm", name, "default", folder / "fetched.safetensors", {"source": source, "licence": "apache-2.0"})
    return state, folder / "fetched.safetensors"


def by_the_hub(name, folder):
    """blobs/HASH, snapshots/COMMIT/FILE as a link to it, and refs/main with the commit."""
    repository = folder / "hub" / f"models--timm--{name}"
    state = weights(name, repository / "blobs" / "f00d")
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/f00d")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return state, repository / "blobs" / "f00d"


@pytest.mark.parametrize("put", [by_fetch, by_the_hub])
def test_every_kind_of_network_loads_them_without_a_network(put, tmp_path):
    state, file = put(NET, tmp_path)
    networks = {
        "classifier": create_backbone(NET, 16, True),
        "encoder": create_encoder(NET, 16, True),
        "segmenter": Segmenter("deeplabv3plus", NET, 3, pretrained=True).encoder(),
    }
    for kind, network in networks.items():
        found = network.state_dict()
        assert len(found) > 50, kind
        for name, tensor in found.items():
            assert torch.equal(tensor, state[name]), (kind, name)
    about = told_weights(NET)
    assert about == {
        "model": NET,
        "source": f"https://huggingface.co/timm/{NET}",
        "licence": "apache-2.0",
        "sha256": digest(file),
    }


@pytest.mark.parametrize("put", [by_fetch, by_the_hub])
def test_patches_do_too(put, tmp_path):
    state, _ = put(VIT, tmp_path)
    found = PatchFeatures(VIT, True).network.state_dict()
    assert all(torch.equal(t, state[k]) for k, t in found.items() if not k.startswith("patch_embed"))


def test_what_is_missing_is_one_sentence_with_the_command():
    for build in (
        lambda: create_backbone(NET, 16, True),
        lambda: create_encoder(NET, 16, True),
        lambda: Segmenter("unet", NET, 3, pretrained=True),
        lambda: PatchFeatures(VIT, True),
    ):
        with pytest.raises(WsssError) as error:
            build()
        assert "\n" not in str(error.value) and "`wsss fetch timm:" in str(error.value)
    with pytest.raises(WsssError, match=f"{NET}: its weights are not on this machine, and HF_HUB_OFFLINE forbids"):
        hub_options(NET)
    assert told_weights(NET) == {}


def test_online_timm_fetches_what_is_missing(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert hub_options(NET) == {"pretrained": True}


def test_an_altered_file_is_noticed(tmp_path):
    by_fetch(NET, tmp_path)
    kept = next((tmp_path / "cache").rglob("weights.safetensors"))
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.raises(WsssError, match="is not the file that was fetched"):
        create_backbone(NET, 16, True)
