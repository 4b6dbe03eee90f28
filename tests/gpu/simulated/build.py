"""The environment in which Python programs find simulated GPUs: a stand-in of CUDA's runtime library is compiled and
loaded in its place, and ``device.py`` is switched on in every process that imports torch."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
ON = "WSSS_SIMULATED_GPU"
"""Set in the environment of processes that have them."""


def why_not() -> str | None:
    """What is missing here for simulated GPUs; None: nothing."""
    packages = _packages()
    if packages is None or _runtime(packages) is None:
        return "torch is installed without its CUDA libraries"
    if not any(_headers(packages)):
        return "CUDA's headers are not installed"
    return None


def environment(**given: str) -> dict[str, str]:
    """All variables for a child process; ``given`` goes before, as in ``SIM_GPUS="4"``."""
    packages = _packages()
    assert packages is not None
    real = _runtime(packages)
    assert real is not None
    stub = packages / "torch" / "lib" / "libcaffe2_nvrtc.so"
    runtime = _compiled(HERE / "runtime.cpp", real.name, _names(real, "--defined-only"), packages, versioned=True)
    driver = _compiled(
        HERE / "driver.cpp",
        "libcuda.so.1",
        {n for n in _names(stub, "--undefined-only") if n.startswith("cu")},
        packages,
    )
    path = os.pathsep.join([str(HERE / "hook"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    hidden = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    return {**hidden, "LD_PRELOAD": f"{runtime} {driver}", "PYTHONPATH": path, ON: "1", **given}


def _packages() -> Path | None:
    found = importlib.util.find_spec("torch")
    return None if found is None or found.origin is None else Path(found.origin).parents[1]


def _runtime(packages: Path) -> Path | None:
    return next(iter(sorted(packages.glob("nvidia/*/lib/libcudart.so.*"))), None)


def _headers(packages: Path) -> list[Path]:
    """Where CUDA's headers are; triton has some that the runtime's package lacks."""
    places = [*packages.glob("nvidia/*/include"), packages / "triton/backends/nvidia/include"]
    return [place for place in places if (place / "cuda_runtime_api.h").is_file()]


def _names(library: Path, which: str) -> set[str]:
    """Functions that a library defines or needs, without their versions."""
    text = subprocess.run(["nm", "-D", which, str(library)], capture_output=True, text=True, check=True).stdout
    kinds = r"[TU]"
    return {found[1] for line in text.splitlines() if (found := re.search(rf" {kinds} ([^@\s]+)", line))}


def _compiled(source: Path, name: str, wanted: set[str], packages: Path, versioned: bool = False) -> Path:
    """A library called ``name`` of the functions of ``source``, and of a stub for each other one that is wanted."""
    code = source.read_text()
    own = set(re.findall(r"^EXPORT [^(]*?\**(\w+)\(", code, flags=re.M))
    stubs = "".join(f'asm(".globl {s}\\n.set {s}, succeed\\n");\n' for s in sorted(wanted - own))
    code += f'\nextern "C" long succeed() {{ return 0; }}\n{stubs}'
    folder = Path(tempfile.gettempdir()) / f"simulated-gpu-{os.getuid()}"
    key = hashlib.sha256(f"{code}{packages}{name}".encode()).hexdigest()[:16]
    library = folder / key / name
    if library.exists():
        return library
    library.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        whole, script, made = (Path(scratch) / one for one in ("whole.cpp", "exports.map", name))
        whole.write_text(code)
        script.write_text(f"{name if versioned else ''} {{ global: *; }};\n")
        command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-w", *(f"-I{p}" for p in _headers(packages))]
        command += [str(whole), "-o", str(made), f"-Wl,-soname,{name}", f"-Wl,--version-script={script}"]
        subprocess.run(command, check=True)
        made.replace(library)
    return library
