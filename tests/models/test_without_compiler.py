"""Programs of inference start without torch's compiler, which is whole when somebody wants it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

APPLYING = ("cams", "walk", "predictions", "explanation")
"""Stages that apply networks and train none."""
FORKING = """
import importlib, os, sys, traceback
import torch  # once for all: each try goes on from here in a process of its own

def alone(work, name):
    if (child := os.fork()) == 0:
        try:
            work(name)
        except BaseException:
            print(name, traceback.format_exc(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
LEFT_OUT = """
def begins(name):
    importlib.import_module(f"wsss.stages.{name}")
    assert "timm" in sys.modules and "torch._dynamo" not in sys.modules

def computes(_):
    from wsss.models.classifier import Classifier
    with torch.inference_mode():
        Classifier("test_resnet", 2, 16).eval()(torch.zeros(1, 3, 32, 32))
    assert "torch._dynamo" not in sys.modules

for name in sys.argv[1:]:
    alone(begins, name)
alone(computes, "a forward pass")
"""
WANTED = """
def wants(package):
    from wsss.models.without_compiler import COMPILER, UTILS, import_packages
    assert COMPILER not in sys.modules and UTILS not in sys.modules
    import_packages(package)
    there = importlib.import_module(package)
    import timm.models.naflexvit
    from torchvision.ops import roi_align
    boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
    assert roi_align(torch.ones(1, 1, 8, 8), boxes, 2, aligned=True).tolist() == [[[[1, 1], [1, 1]]]]
    from torch._dynamo.utils import is_compile_supported
    importlib.import_module(UTILS)
    assert is_compile_supported is sys.modules[UTILS].is_compile_supported is torch._dynamo.utils.is_compile_supported
    assert torch._dynamo is sys.modules[COMPILER] and torch._dynamo.__file__ and sys.modules[UTILS].__file__
    assert torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(2)).tolist() == [2, 2]
    assert there.excepted(2) == 4 and there.found is torch._dynamo.utils.counters

sys.path.insert(0, sys.argv[1])
for package in sys.argv[2:]:
    alone(wants, package)
"""
PACKAGES = {
    "only_utils": "from torch._dynamo.utils import counters as found\n",
    "the_package": "from torch._dynamo import utils\nfound = utils.counters\n",
    "calling": "excepted(2)\nimport torch._dynamo.utils as utils\nfound = utils.counters\n",
    "afterwards": "def __getattr__(name):\n    import torch._dynamo.utils as utils\n    return utils.counters\n",
}
"""Packages that want more of the compiler than timm and torchvision do: a name, and the text of the module."""


def said(text: str, *args: str) -> str:
    done = subprocess.run([sys.executable, "-c", FORKING + text, *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_applies_networks_imports_no_compiler() -> None:
    wrong = said(LEFT_OUT, "no_such_stage", *APPLYING)
    assert wrong.startswith("no_such_stage Traceback") and wrong.count("Traceback") == 1, wrong


def test_the_compiler_is_whole_when_it_is_wanted(tmp_path: Path) -> None:
    excepted = "import torch.compiler\n@torch.compiler.disable\ndef excepted(x):\n    return 2 * x\n"
    for name, text in PACKAGES.items():
        (tmp_path / f"{name}.py").write_text(excepted + text)
    assert said(WANTED, str(tmp_path), *PACKAGES) == ""


def test_another_torch_imports_as_ever() -> None:
    """One without the function that stands in: nothing does, and nothing fails."""
    text = """
def imports(_):
    import torch._compile
    del torch._compile._disable_dynamo
    from wsss.models import without_compiler
    assert without_compiler._disable_dynamo is None
    from wsss.models.classifier import Classifier
    assert not isinstance(sys.modules.get("torch._dynamo"), without_compiler.StandIn)

alone(imports, "another torch")
"""
    assert said(text) == ""
