"""Run the cases and print seconds (scaffold)."""

from __future__ import annotations
import json, sys, tempfile, time
from pathlib import Path
from tests.golden.pins import pinned
import os

pinned(os.environ.get("PIN", "sse41"))
import shutil
from tests.golden import running
from tests.golden.cases import all_cases, with_inputs

out, names = sys.argv[1], sys.argv[2:]
folder = Path(tempfile.mkdtemp(prefix="golden-"))
orig = running._result


def timed(case, before):
    case.key
    t = time.time()
    r = orig(case, before)
    print(f"{time.time() - t:.2f} {case.key} {'ERR' if 'error' in r else ''}", flush=True)
    return r


running._result = timed
t = time.time()
found = running.run(with_inputs(names) if names else list(all_cases().values()), folder, True)
print(time.time() - t, folder)
Path(out).write_text(json.dumps(found, indent=1, ensure_ascii=False))
