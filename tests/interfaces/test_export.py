"""Exported files against the networks they were made of; what is refused leaves no file."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from wsss.cli import main
from wsss.data.transforms import MEAN, STD
from wsss.interfaces import export as module
from wsss.models.classifier import load_classifier
from wsss.models.segmenter import load_segmenter

SIZES = [(1, 64, 160), (4, 128, 96)]
"""Neither is one that the files are traced or compared with."""


def onnx() -> None:
    for package in module.ONNX_PACKAGES:
        pytest.importorskip(package, reason="pip install '.[onnx]'")


def exported(folder, out, *flags):
    return main(["export", str(folder), "--out", str(out), *flags])


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


def test_a_segmenter_as_onnx_takes_any_multiples_of_32(networks, tmp_path, capsys):
    onnx()
    import onnxruntime

    assert exported(networks["unet"], tmp_path / "net.onnx", "--to", "onnx") == 0
    said = capsys.readouterr().out
    assert "segmenter of any size in multiples of 32" in said and "largest difference to the network" in said
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    network = load_segmenter(networks["unet"])[0].eval()
    for count, height, width in SIZES:
        images = torch.randn(count, 3, height, width)
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        close(torch.from_numpy(logits), network(images).detach())
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == ["cat", "dog"] and json.loads(facts["mean"]) == [0.485, 0.456, 0.406]


def test_a_dilated_classifier_as_program_that_normalises_gives_scores_and_maps(networks, tmp_path):
    assert exported(networks["classifier"], tmp_path / "net.pt2", "--to", "torch.export", "--normalise") == 0
    facts = {"classes": "", "input": ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=facts).module()
    assert (facts["classes"], facts["input"]) == ('["cat", "dog"]', '"RGB in 0..1"')
    network = load_classifier(networks["classifier"])[0].eval()
    for count, height, width in SIZES:
        images = torch.rand(count, 3, height, width)
        logits, maps = program(images)
        normalised = (images - torch.from_numpy(MEAN)[:, None, None]) / torch.from_numpy(STD)[:, None, None]
        close(maps.detach(), network(normalised).detach())
        close(logits.detach(), network(normalised).detach().mean((2, 3)))


def test_a_file_that_disagrees_is_not_written(networks, tmp_path, capsys, monkeypatch):
    out = tmp_path / "net.pt2"
    out.write_text("an older one")
    read = module._read_program
    monkeypatch.setitem(
        module.READERS, "torch.export", lambda path: lambda images: tuple(o * 1.001 for o in read(path)(images))
    )
    assert exported(networks["classifier"], out, "--to", "torch.export", "--size", "64", "64") == 2
    assert "net.pt2: not written, for it differs from the network by" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt2"] and out.read_text() == "an older one"


def test_a_network_that_cannot_be_written_is_explained(networks, tmp_path, capsys, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no such operator\nand much more")

    monkeypatch.setitem(module.WRITERS, "torch.export", refuse)
    assert exported(networks["classifier"], tmp_path / "net.pt2", "--to", "torch.export", "--size", "64", "64") == 2
    said = capsys.readouterr().err
    assert "this network cannot be written as torch.export (no such operator); try the other format" in said
    monkeypatch.setattr(torch.export, "export", refuse)
    assert exported(networks["classifier"], tmp_path / "net.pt2", "--to", "torch.export") == 2
    said = capsys.readouterr().err
    assert "torch.export cannot follow this network (no such operator); give one size with --size" in said
    assert not any(tmp_path.iterdir())


def test_what_cannot_be_exported_is_refused_at_once(networks, tmp_path, capsys, monkeypatch):
    out = tmp_path / "net.onnx"
    assert exported(networks["saliency"], out, "--to", "torch.export") == 2
    assert "only segmenters and classifiers can be exported, this is of the stage 'saliency'" in capsys.readouterr().err
    assert exported(networks["unet"], out, "--to", "torch.export", "--size", "64", "100") == 2
    assert "--size 64 100: both sides must be multiples of 32 of at least 32" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for package in ("onnx", "onnxscript"):
        monkeypatch.setitem(sys.modules, package, object())
    assert exported(networks["unet"], out, "--to", "onnx") == 2
    assert "--to onnx needs the package onnxruntime: install wsss[onnx]" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
