"""What ``wsss init`` sees in a folder: the table of tags, what lies beside the photos, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.photo_folder import PhotoFolder, written
from wsss.cli.scan import survey
from wsss.errors import WsssError

pytestmark = pytest.mark.usefixtures("plain_machine")


class TestTable:
    def test_in_the_folder(self, pets: PhotoFolder) -> None:
        pets.table.rename(pets.photos / "my tags.csv")
        assert survey(Path("photos")).table == Path("photos/my tags.csv")

    def test_misspelt(self, pets: PhotoFolder, wsss) -> None:
        error = wsss("init", "photos", "--labels", "tag.csv")[2]
        assert "tag.csv: there is no such table of tags; did you mean tags.csv?" in error

    def test_several(self, pets: PhotoFolder) -> None:
        (pets.root / "old.csv").write_text("id,labels\np00,cat\n")
        (pets.root / "other.csv").write_text("name,price\na,1\n")
        with pytest.raises(WsssError, match=r"2 tables of tags \(old.csv, tags.csv\); name one with --labels"):
            survey(Path("photos"))
        assert survey(Path("photos"), Path("old.csv")).table == Path("old.csv")

    def test_none(self, pets: PhotoFolder) -> None:
        pets.table.unlink()
        with pytest.raises(WsssError, match="no table of tags in photos or beside it.*'id,labels'"):
            survey(Path("photos"))

    def test_another_header(self, pets: PhotoFolder) -> None:
        pets.write("file,tags")
        found = survey(Path("photos"))
        assert (found.table, found.as_is, found.tags) == (Path("tags.csv"), False, pets.tags)

    def test_a_header_that_tells_nothing(self, pets: PhotoFolder) -> None:
        pets.table.write_text("name,price\nx,1\n")
        with pytest.raises(WsssError, match="tags.csv: no column names these photos.*write 'id,labels'"):
            survey(Path("photos"))

    def test_no_label_at_all(self, pets: PhotoFolder) -> None:
        pets.table.write_text("id,labels\np00,\n")
        with pytest.raises(WsssError, match="no row has a label"):
            survey(Path("photos"))

    @pytest.mark.parametrize("sign", [";", "|", ",", "/"])
    def test_separator(self, pets: PhotoFolder, wsss, sign: str) -> None:
        pets.write(joined=sign)
        assert wsss("init", "photos")[0] == 0
        assert written().recipes["datasets"]["photos"].separator == sign
        assert wsss("check")[0] == 0

    def test_a_class_name_with_a_slash_is_one_class(self, pets: PhotoFolder) -> None:
        pets.tags = {id: ("cat/kitten",) for id in pets.tags} | {"p00": ("dog",)}
        pets.write()
        assert survey(Path("photos")).classes == ("cat/kitten", "dog")


class TestBesideThePhotos:
    def test_masks(self, pets: PhotoFolder, wsss) -> None:
        for id in list(pets.tags)[:6]:
            pets.mask(id)
        assert "masks   6 in masks" in wsss("init", "photos")[1]
        config = written()
        assert config.recipes["datasets"]["photos"].masks == "masks"
        assert 1 <= config.evaluation.calibration_images <= 6
        assert config.recipes["masks"]["p-noc"].threshold.policy == "calibrated"

    def test_masks_of_others(self, pets: PhotoFolder, wsss) -> None:
        pets.mask("stranger")
        assert wsss("init", "photos")[0] == 0 and written().recipes["datasets"]["photos"].masks is None
        error = wsss("init", "photos", "--masks", "masks", "--force")[2]
        assert "masks: holds no mask of these photos; a mask is called ID.png, like p00.png" in error
        assert "mask: there is no such folder of masks; did you mean masks?" in wsss(
            "init", "photos", "--masks", "mask", "--force"
        )[2]  # fmt: skip

    @pytest.mark.parametrize("given", [(), ("--masks", "photos/masks")])
    def test_masks_among_the_photos(self, pets: PhotoFolder, wsss, given: tuple[str, ...]) -> None:
        pets.mask("p00", folder="photos/masks")
        assert "photos/masks lies among the photos" in wsss("init", "photos", *given)[2]

    def test_lists(self, pets: PhotoFolder, wsss) -> None:
        Path("train.txt").write_text("".join(f"{id}.jpg\n" for id in list(pets.tags)[:9]))
        Path("val.txt").write_text("".join(f"{id}\n" for id in list(pets.tags)[9:]))
        assert "train.txt (9), val.txt (3)" in wsss("init", "photos")[1]
        dataset = written().recipes["datasets"]["photos"]
        assert (dataset.train, dataset.val) == ("train.txt", "val.txt")
        assert wsss("check")[0] == 0

    def test_lists_of_others(self, pets: PhotoFolder, wsss) -> None:
        for name in ("train", "val"):
            Path(f"{name}.txt").write_text("stranger\n")
        assert "are not used: they do not name these photos" in wsss("init", "photos")[1]
        assert written().recipes["datasets"]["photos"].train is None

    def test_class_names(self, pets: PhotoFolder, wsss) -> None:
        Path("classes.txt").write_text("dog\ncat\n")
        assert wsss("init", "photos")[0] == 0
        assert written().recipes["datasets"]["photos"].classes == "classes.txt"
        Path("classes.txt").write_text("dog\n")
        assert "classes.txt is not used: it lacks the tag 'cat'" in wsss("init", "photos", "--force")[1]
        assert written().recipes["datasets"]["photos"].classes is None


class TestProblems:
    """They are said, and the file is written all the same: the run lists them again."""

    def said(self, wsss) -> str:
        code, said, _ = wsss("init", "photos")
        assert code == 0 and "wsss run will stop at these" in " ".join(said.split())
        assert wsss("check")[0] == 2
        return " ".join(said.split())

    def test_a_photo_without_tags(self, pets: PhotoFolder, wsss) -> None:
        pets.paint("new one")
        assert "1 photo without a row of tags: new one; add a row for each" in self.said(wsss)

    def test_tags_without_a_photo(self, pets: PhotoFolder, wsss) -> None:
        pets.tags["gone"] = ("cat",)
        pets.write()
        assert "1 id of tags.csv without a photo: gone; restore the photos" in self.said(wsss)

    def test_ids_with_a_suffix_are_read(self, pets: PhotoFolder, wsss) -> None:
        expected = dict(pets.tags)
        pets.tags = {f"{id}.jpg": names for id, names in pets.tags.items()} | {"p00": ("cat",), "p01": ("dog",)}
        pets.tags |= {"p02": ("dog",), "p03": ("cat",)}
        pets.write()
        found = survey(Path("photos"))
        assert {id: set(names) for id, names in found.tags.items()} == {id: set(v) for id, v in expected.items()}
        assert "tags.csv has 4 rows more than photos" in wsss("init", "photos")[1] and wsss("check")[0] == 0

    def test_a_photo_that_cannot_be_read(self, pets: PhotoFolder, wsss) -> None:
        (pets.photos / "p03.jpg").write_bytes(b"no image")
        assert "photos/p03.jpg cannot be read: not an image of a known kind; copy it again" in self.said(wsss)

    def test_no_photo_that_can_be_read(self, pets: PhotoFolder, wsss) -> None:
        for path in pets.photos.iterdir():
            path.write_bytes(b"no image")
        code, _, error = wsss("init", "photos")
        assert code == 2 and "cannot be read as an image (not an image of a known kind), nor can any other" in error

    def test_two_photos_of_one_id(self, pets: PhotoFolder, wsss) -> None:
        pets.paint("p03", suffix=".png")
        assert "photos/p03.jpg, photos/p03.png: several photos of one id (p03)" in self.said(wsss)

    def test_two_rows_of_one_id(self, pets: PhotoFolder, wsss) -> None:
        with pets.table.open("a") as file:
            file.write("p03,dog\n")
        assert "tags.csv: id p03: has another row of tags in line 14; keep one row an id" in self.said(wsss)

    def test_a_class_with_no_photo(self, pets: PhotoFolder, wsss) -> None:
        Path("classes.txt").write_text("cat\ndog\nzebra\n")
        assert "no photo has the tag zebra; tag some, or take it out of classes.txt" in self.said(wsss)

    def test_left_out_when_asked_for(self, pets: PhotoFolder, wsss) -> None:
        (pets.photos / "p03.jpg").write_bytes(b"no image")
        said = wsss("init", "photos", "--broken", "drop")[1]
        assert "p03.jpg cannot be read" in said and "wsss run will stop" not in said
        assert written().recipes["datasets"]["photos"].broken == "drop"
        assert wsss("check")[0] == 0

    def test_nothing_to_learn_from(self, pets: PhotoFolder, wsss) -> None:
        pets.table.write_text("id,labels\np00,cat\np01,dog\n")
        assert "at least 2 and 1 are needed: tag more photos" in wsss("init", "photos")[2]
