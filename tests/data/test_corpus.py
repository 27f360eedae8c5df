import json
from pathlib import Path

import pytest

from lit_mtl.data.corpus import Corpus, Places
from lit_mtl.data.splits import SPLITS
from lit_mtl.errors import StorageError
from tests.conftest import EXAMPLE_FILES
from tests.data.corpora import build


def test_places_count_all_and_keep_the_first() -> None:
    places = Places.of(f"a.txt:{n}" for n in range(1, 9))
    assert (places.count, places.examples) == (8, [f"a.txt:{n}" for n in range(1, 6)])


def test_what_was_saved_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "positive.txt").write_text("good\nodd\n\nfine\nfine\n")
    (folder / "negative.txt").write_text("bad\nodd\n")
    (folder / "scores.tsv").write_text("text\tscore\ngood\t2\nbad\t\n")
    built = build(folder, contradictions="keep")
    opened = Corpus.open(tmp_path / "prepared")
    for name, value in vars(built).items():
        if name != "splits":
            assert getattr(opened, name) == value, name
    for split in SPLITS:
        assert opened.splits[split][:] == built.splits[split][:]
    assert opened.readings["sentiment"].contradictions[0].task == "sentiment"


@pytest.mark.parametrize("how", ["cut", "gone", "facts"])
def test_damaged_data_are_named_with_the_way_out(tmp_path: Path, how: str) -> None:
    build(EXAMPLE_FILES, val=0.1, test=0.1)
    folder = tmp_path / "prepared"
    if how == "cut":
        (folder / "train.arrow").write_bytes((folder / "train.arrow").read_bytes()[:-9])
    elif how == "gone":
        (folder / "val.arrow").unlink()
    else:
        facts = json.loads((folder / "corpus.json").read_text())
        (folder / "corpus.json").write_text(json.dumps(facts)[:-9])
    with pytest.raises(StorageError, match=r"prepared: .*cannot be read.*Remove that folder"):
        Corpus.open(folder)
