"""The review without a browser: order by doubt, what is written, who is answered."""

from __future__ import annotations

import http.client
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from wsss.cli import main
from wsss.data.index import Index, Item, write_index
from wsss.errors import WsssError
from wsss.interfaces.review.doubt import signs_of
from wsss.interfaces.review.server import ReviewServer
from wsss.interfaces.review.session import Session, masks_to_review
from wsss.store.artefact import load
from wsss.store.manifest import write_manifest
from wsss.store.map_shards import shard_name
from wsss.store.map_writer import MapWriter
from wsss.store.masks import MaskFolder
from wsss.system.files import write_json

CLASSES = ("cat", "red dog")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Four training photos and one for validation, masks of two recipes that differ on the second photo."""
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "results" / "pets"
    items, rng = [], np.random.default_rng(0)
    for number in range(5):
        id, path = f"farm/é {number}", tmp_path / "photos" / f"é {number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(path)
        labels = (0, 1) if number == 2 else (number % 2,)
        items.append(Item(id, "val" if number == 4 else "train", path, None, 30, 40, labels, False))
    write_index(base / "index", CLASSES, items)
    write_json(base / "index/report.json", {"dataset": "pets", "dropped": []})
    write_manifest(base / "index", {"stage": "index"})
    seed = base / "s0"
    cams = seed / "cams/a"
    cams.mkdir(parents=True)
    with MapWriter(cams / shard_name(0, 1), scales=(1.0,), flip=False, stride=8) as writer:
        for item in items:
            writer.add(item.id, item.labels, (30, 40), [np.ones((len(item.labels), 4, 5)) + int(item.id[-1])])
    write_manifest(cams, {"stage": "cams", "settings": {}, "inputs": {}})
    for name in ("a", "b"):
        folder = seed / "masks" / name
        for number, item in enumerate(items):
            mask = np.zeros((30, 40), np.uint8)
            mask[5:25, 5:25] = item.labels[0] + 1
            if name == "b" and number == 1:
                mask[5:25, 5:15] = 0
            MaskFolder(folder / "masks").write(item.id, mask)
        inputs = {"index": {"path": "../../../index"}, "cams": {"path": "../../cams/a"}}
        write_manifest(folder, {"stage": "masks", "settings": {"splits": ["train", "val"]}, "inputs": inputs})
    write_manifest(
        seed / "segmenters/b", {"stage": "segmenter", "settings": {}, "inputs": {"masks": {"path": "../../masks/b"}}}
    )
    return SimpleNamespace(base=base, items=items, masks=seed / "masks")


@pytest.fixture
def session(run, tmp_path):
    return Session(load(run.masks / "b"), tmp_path / "corrections")


def test_signs_pixel_by_pixel():
    rng = np.random.default_rng(3)
    mask, *others = (rng.choice([0, 1, 2, 255], (9, 11)).astype(np.uint8) for _ in range(3))
    found = signs_of(mask, [1, 2, 3], others, {1: 0.5, 2: 3.0}, {1: 2.0, 2: 2.0})
    shares = []
    for other in others:
        same = either = 0
        for a, b in zip(mask.ravel().tolist(), other.ravel().tolist(), strict=True):
            either += a in (1, 2) or b in (1, 2)
            same += a in (1, 2) and a == b
        shares.append(1 - same / either)
    assert found.disagreement == pytest.approx(sum(shares) / 2)
    assert found.unsure == pytest.approx((mask == 255).sum() / 99)
    assert found.faint == 0.75 and found.absent == (3,) and found.tiny == () and found.lost == pytest.approx(1 / 3)
    kept = (1 - found.disagreement) * (1 - found.unsure) * (1 - 0.375) * (1 - 1 / 3)
    assert found.doubt == pytest.approx(1 - kept)
    few = np.zeros((20, 20), np.uint8)
    few[0, 0] = 1
    assert signs_of(few, [1]).tiny == (1,) and signs_of(few, [1]).doubt == 0.5
    assert signs_of(few, []).doubt == signs_of(few * 0, [], [few * 0]).doubt == 0


def test_the_most_doubtful_come_first(session):
    about = session.described()
    assert [image["id"][-1] for image in about["images"]] == ["1", "2", "0", "3"]
    # the raw CAMs of photo n are n + 1 everywhere: the median peak is 2 of cat (1, 3) and 3 of red dog (2, 3, 4)
    assert [image["reasons"] for image in about["images"]] == [
        ["recipes differ on 50 % of the objects", "weakest CAM 33 % below the usual"],
        ["red dog: tagged, but no pixel"],
        ["weakest CAM 50 % below the usual"],
        [],
    ]
    assert [image["doubt"] for image in about["images"]] == [0.5833, 0.5, 0.25, 0]
    assert about["classes"] == ["cat", "red dog"] and about["images"][1]["classes"] == [1, 2]


def test_which_masks_are_reviewed(run, tmp_path):
    assert masks_to_review(run.base, None, 0).folder.name == "b"  # a network learns from them
    assert masks_to_review(run.base, "a", 0).folder.name == "a"
    assert masks_to_review(run.masks / "a", None, 0).folder.name == "a"
    with pytest.raises(WsssError, match="no masks 'c'; there are a, b"):
        masks_to_review(run.base, "c", 0)
    with pytest.raises(WsssError, match="s1: holds no finished masks; name results/DATASET"):
        masks_to_review(run.base, None, 1)


def test_decisions_are_kept(session, run, tmp_path):
    ids, folder = [item.id for item in run.items], MaskFolder(tmp_path / "corrections")
    clean = np.full((30, 40), 255, np.uint8)
    stroke = clean.copy()
    stroke[3:9, 4:6] = 2
    assert session.save(ids[0], "corrected", stroke.tobytes()) == "corrected"
    np.testing.assert_array_equal(folder.read(ids[0]), stroke)
    assert session.save(ids[1], "accepted", clean.tobytes()) == "accepted" and ids[1] not in folder
    assert session.save(ids[2], "rejected", np.full((30, 40), 254, np.uint8).tobytes()) == "rejected"
    assert session.save(ids[3], "accepted", stroke.tobytes()) == "corrected"  # what is drawn counts
    assert session.save(ids[3], "corrected", clean.tobytes()) == "seen" and ids[3] not in folder
    state = json.loads((tmp_path / "corrections/review.json").read_text())
    expected = dict(zip(ids[:4], ("corrected", "accepted", "rejected", "seen"), strict=True))
    assert state == {"masks": "b", "images": expected}
    assert session.layers(ids[0]) == MaskFolder(run.masks / "b/masks").read(ids[0]).tobytes() + stroke.tobytes()
    again = Session(load(run.masks / "b"), tmp_path / "corrections")
    assert again.states == expected and again.layers(ids[0]) == session.layers(ids[0])
    said = list(again.summary())
    assert said[0] == "4 of 4 photos seen: 1 accepted, 1 rejected, 1 corrected"
    assert said[1:] == [
        "2 corrections in corrections. Add to the recipe b of masks in config.yaml:",
        "    corrected: corrections",
        "and make what depends on them: wsss run",
    ]
    assert list(again.summary("my.yaml"))[-1].endswith("wsss run --configfile my.yaml")
    for wrong in (stroke.tobytes()[1:], np.full((30, 40), 3, np.uint8).tobytes()):
        with pytest.raises(ValueError, match="1199 bytes for 30 x 40|no label has the values \\[3\\]"):
            session.save(ids[0], "corrected", wrong)
    with pytest.raises(ValueError, match="no state 'liked'"):
        session.save(ids[0], "liked", stroke.tobytes())
    np.testing.assert_array_equal(folder.read(ids[0]), stroke)


def test_a_correction_under_another_spelling_is_replaced(run, tmp_path):
    folder, id = MaskFolder(tmp_path / "corrections"), run.items[0].id
    folder.write(id, np.zeros((30, 40), np.uint8))
    folder.file(id).rename(folder.file(id).with_suffix(".PNG"))
    session = Session(load(run.masks / "b"), tmp_path / "corrections")
    assert session.states == {id: "corrected"}
    session.save(id, "corrected", np.ones((30, 40), np.uint8).tobytes())
    assert [path.name for path in folder.path.rglob("*.*ng*")] + [path.name for path in folder.path.rglob("*.PNG")] == [
        "é 0.png"
    ]


def test_corrections_that_do_not_fit_are_told_at_once(run, tmp_path):
    MaskFolder(tmp_path / "corrections").write("farm/é 9", np.zeros((30, 40), np.uint8))
    with pytest.raises(WsssError, match="no image has this id"):
        Session(load(run.masks / "b"), tmp_path / "corrections")


@pytest.fixture
def server(session):
    with ReviewServer(session, lambda: list(session.summary())) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def asked(server, method, path, body=None, token=None, **headers):
    """Status, body and headers of an answer; the headers of a request as a browser sends them, but for those given."""
    usual = {"Host": server.hosts[0], **({"Origin": f"http://{server.hosts[0]}"} if method == "POST" else {})}
    sent = {k: v for k, v in {**usual, **{k.replace("_", "-"): v for k, v in headers.items()}}.items() if v is not None}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.putrequest(method, f"/{server.token if token is None else token}/{path}", skip_host=True)
        length = {} if body is None else {"Content-Length": str(len(body))}
        for name, value in {**length, **sent}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def test_what_the_page_asks_for(server, run):
    ids = [item.id for item in run.items]
    status, page, headers = asked(server, "GET", "")
    assert status == 200 and b"<title>Review" in page and "script-src 'self'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
    for name in ("review.css", "review.js"):
        assert name.encode() in page and asked(server, "GET", name)[0] == 200
    assert len(json.loads(asked(server, "GET", "images")[1])["images"]) == 4
    id = "farm%2F%C3%A9+1"
    assert asked(server, "GET", f"photo?id={id}")[1][:2] == b"\xff\xd8"
    assert asked(server, "GET", f"layers?id={id}")[1] == server.session.layers(ids[1])
    body = np.full(1200, 254, np.uint8).tobytes()
    status, answer, _ = asked(server, "POST", f"save?id={id}&state=rejected", body)
    assert status == 200 and json.loads(answer) == {"state": "rejected"}
    assert (MaskFolder(server.session.folder).read(ids[1]) == 254).all()
    assert "1 of 4 photos seen" in json.loads(asked(server, "POST", "end", b"")[1])["said"][0]


def test_who_is_refused(server, run):
    port, whole = server.server_port, bytes(1200)
    save = "save?id=farm%2F%C3%A9+1&state=corrected"
    assert server.server_address[0] == "127.0.0.1" and len(server.token) >= 32
    for expected, method, path, body, more in (
        (404, "GET", "images", None, {"token": "guess"}),
        (404, "GET", "", None, {"token": ""}),
        (404, "POST", save, whole, {"token": server.token[:-1]}),
        (403, "GET", "images", None, {"Host": f"evil.example:{port}"}),
        (403, "GET", "images", None, {"Host": "127.0.0.1"}),
        (403, "GET", "images", None, {"Origin": "http://evil.example"}),
        (403, "GET", "photo?id=farm%2F%C3%A9+1", None, {"Sec_Fetch_Site": "cross-site"}),
        (403, "GET", "images", None, {"Sec_Fetch_Site": "same-site"}),
        (403, "POST", save, whole, {"Origin": "null"}),
        (403, "POST", save, whole, {"Origin": f"http://127.0.0.1:{port + 1}"}),
        (403, "POST", save, whole, {"Origin": None}),
        (403, "POST", "end", b"", {"Origin": "http://evil.example"}),
        (404, "GET", "layers?id=../../etc/passwd", None, {}),
        (404, "GET", "photo?id=farm%2F%C3%A9+4", None, {}),
        (404, "GET", "../review.js", None, {}),
        (404, "POST", "save?id=x&state=corrected", whole, {}),
        (404, "POST", "images", b"", {}),
        (413, "POST", save, bytes(1201), {}),
        (413, "POST", save, None, {"Content_Length": "99999999999"}),
        (400, "POST", save, b"\x07" * 1200, {}),
        (400, "POST", "save?id=farm%2F%C3%A9+1&state=liked", whole, {}),
    ):
        status, _, headers = asked(server, method, path, body, **more)
        assert status == expected, (method, path, more)
        assert "Access-Control-Allow-Origin" not in headers
    assert not list(server.session.folder.rglob("*.png")) and not (server.session.folder / "review.json").exists()
    assert asked(server, "GET", "images", Host=f"localhost:{port}")[0] == 200  # and it is still there


def test_command(run, tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(ReviewServer, "serve_forever", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["review", "results/pets"]) == 0
    said = capsys.readouterr().out
    assert "results/pets/s0/masks/b: 4 photos at\n  http://127.0.0.1:" in said and opened[0] in said
    assert "0 of 4 photos seen" in said and "No correction lies in corrections" in said
    assert main(["review", "results/pets", "--no-browser", "--splits", "val", "--to", "other"]) == 0
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert ": 1 photo at" in capsys.readouterr().out
    assert main(["review", "results/pets", "--splits", "val", "--to", "other"]) == 0
    assert len(opened) == 1 and ": 1 photo at" in capsys.readouterr().out
    assert Index.load(run.base / "index").classes == CLASSES
