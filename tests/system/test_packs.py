"""Packs beside a slow twin: a dictionary of bytes."""

from __future__ import annotations

import json
import pickle
import random
import zipfile
import zlib

import pytest

from wsss.errors import WsssError
from wsss.provenance import outputs
from wsss.system import packs
from wsss.system.packs import ABOUT, Packs, is_packed, write_packs

FILES = {"a.png": b"first", "deep/er/ñ 1.png": b"", "2.5.x.png": bytes(range(256)) * 9, "b.png.png": b"PK\x03\x04"}


def write(folder, files):
    write_packs(folder, files.items(), len(files))
    return folder


@pytest.fixture
def three(monkeypatch):
    monkeypatch.setattr(packs, "FILES", 3)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 9])
def test_what_goes_in_comes_out(tmp_path, three, count):
    rng = random.Random(count)
    files = {f"{'deep/' * (k % 3)}é {k}": rng.randbytes(rng.randrange(3000)) for k in range(count)}
    assert not is_packed(tmp_path)
    found = Packs(write(tmp_path, files))
    assert is_packed(tmp_path) and list(found) == list(files) and len(found) == count
    assert {name: found[name].read_bytes() for name in files} == files
    assert {name: found[name].crc for name in found} == {name: zlib.crc32(content) for name, content in files.items()}
    assert "x" not in found and all(name in found for name in files)
    assert len(list(tmp_path.iterdir())) == -(-count // 3) + 1
    with pytest.raises(KeyError):
        found["x"]


def test_any_program_that_knows_zip_reads_them(tmp_path, three):
    write(tmp_path / "packed", FILES)
    for path in (tmp_path / "packed").glob("*.zip"):
        with zipfile.ZipFile(path) as pack:
            assert pack.testzip() is None
            pack.extractall(tmp_path / "loose")
    assert {name: (tmp_path / "loose" / name).read_bytes() for name in FILES} == FILES
    assert outputs.digest(tmp_path / "loose") == outputs.digest(tmp_path / "packed")


def test_the_same_files_give_the_same_bytes(tmp_path, three, monkeypatch):
    write(tmp_path / "a", FILES)
    monkeypatch.setattr(packs.zipfile.time, "time", lambda: 2e9)
    write(tmp_path / "b", FILES)
    assert [p.read_bytes() for p in sorted((tmp_path / "a").iterdir())] == [
        p.read_bytes() for p in sorted((tmp_path / "b").iterdir())
    ]


def test_files_may_be_sent_to_other_processes_and_are_named_like_paths(tmp_path):
    file = pickle.loads(pickle.dumps(Packs(write(tmp_path, FILES))["deep/er/ñ 1.png"]))
    assert file.read_bytes() == b"" and str(file) == f"{tmp_path}/00000-of-00001.zip/deep/er/ñ 1.png"


def test_every_altered_byte_is_noticed_or_does_not_matter(tmp_path):
    """One byte after the other is altered: what is read is what was packed, or one sentence says why not; the digest
    of the folder is another one, or all files are as they were."""
    files = {"a.png": b"some bytes", "b/c.png": b"and more of them"}
    write(tmp_path, files)
    digest = outputs.digest(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
            try:
                found = Packs(tmp_path)
                read = {name: found[name].read_bytes() for name in files if name in found}
            except WsssError as error:
                assert str(tmp_path) in str(error) and "make this folder again" in str(error)
                read = {}
            assert all(files[name] == content for name, content in read.items())
            if outputs.digest(tmp_path) == digest:
                assert read == files
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["00000-of-00002.zip", "00001-of-00002.zip", ABOUT])
def test_truncated_at_any_place(tmp_path, three, name):
    path = write(tmp_path, FILES) / name
    whole = path.read_bytes()
    for length in (*range(0, len(whole) - 1, 1 + len(whole) // 100), len(whole) - 2):
        path.write_bytes(whole[:length])
        with pytest.raises(WsssError, match=name):
            Packs(tmp_path)
    path.unlink()
    with pytest.raises(WsssError, match=name):
        Packs(tmp_path)


def spoil_compressed(folder):
    with zipfile.ZipFile(folder / "00001-of-00002.zip", "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("b.png.png", bytes(100000))
    return "b.png.png is compressed"


def spoil_twice(folder):
    (folder / "00001-of-00002.zip").write_bytes((folder / "00000-of-00002.zip").read_bytes())
    return "a.png is packed twice"


def spoil_others(folder):
    with zipfile.ZipFile(folder / "00001-of-00002.zip", "w") as pack:
        pack.writestr("x.png", b"")
        pack.writestr("y.png", b"")
    return "the packs hold 5 files, packed.json says 4"


def spoil_claims(folder):
    """A huge number of packs is not waited for."""
    (folder / ABOUT).write_text(json.dumps({"format": packs.FORMAT, "version": 1, "packs": 10**12, "files": 4}))
    return "00000-of-1000000000000.zip is missing"


def spoil_version(folder):
    (folder / ABOUT).write_text(json.dumps({"format": packs.FORMAT, "version": 2, "packs": 2, "files": 4}))
    return "is not of wsss-packs, version 1"


def spoil_about(folder):
    (folder / ABOUT).write_text("[]")
    return "does not tell of packed files"


def spoil_size(folder):
    """A directory that speaks of more bytes than there are."""
    path = folder / "00001-of-00002.zip"
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = (2**31).to_bytes(4, "little") * 2
    path.write_bytes(content)
    return "would lie outside of it"


@pytest.mark.parametrize("spoil", [v for k, v in sorted(globals().items()) if k.startswith("spoil_")])
def test_foreign_packs_are_refused(tmp_path, three, spoil):
    digest = outputs.digest(write(tmp_path, FILES))
    said = spoil(tmp_path)
    with pytest.raises(WsssError, match=said):
        Packs(tmp_path)
    assert outputs.digest(tmp_path) != digest


def test_a_file_that_changes_while_it_is_in_use(tmp_path):
    found = Packs(write(tmp_path, FILES))
    write(tmp_path, {**FILES, "a.png": b"other"})
    with pytest.raises(WsssError, match=r"zip/a\.png: holds other bytes than were packed"):
        found["a.png"].read_bytes()


def test_nothing_half_written_is_taken_for_packs(tmp_path, three):
    def dying():
        yield from list(FILES.items())[:-1]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_packs(tmp_path, dying(), len(FILES))
    assert not is_packed(tmp_path) and [path.name for path in tmp_path.iterdir()] == ["00000-of-00002.zip"]
    with pytest.raises(WsssError, match=r"a\.png is packed twice"):
        write_packs(tmp_path / "x", [("a.png", b""), ("a.png", b"")], 2)
