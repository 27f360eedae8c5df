from pathlib import Path

import pytest

from lit_mtl.data.downloads import prepare_corpus
from lit_mtl.errors import ConfigError, DataError, MissingInputError
from tests.data.archive import LICENCE, build_archive
from tests.data.corpora import build, targets

MOVIES = (
    b"1\t2.5\tA good film.\r\n2\t-1.5\tA bad film.\r\n3\t0\tA film.\r\n"
    b'4\t1.0\tTwice.\r\n5\t-3.0\t Twice.\r\n6\t-0.25\tCaf\xc3\xa9 "noir".'
)


@pytest.fixture
def archive(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "vaderSentiment-3.3.2.tar.gz"
    return path, build_archive(path, {"movieReviewSnippets_GroundTruth.txt": MOVIES})


def test_a_corpus_becomes_the_files_that_users_have(
    archive: tuple[Path, str], tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "movies"
    prepare_corpus("movies", folder, archive=archive[0], sha256=archive[1])
    assert (folder / "positive.txt").read_text(encoding="utf-8") == "A good film.\n"
    negative = (folder / "negative.txt").read_text(encoding="utf-8").splitlines()
    assert negative == ["A bad film.", "Twice.", 'Café "noir".']
    scores = (folder / "scores.tsv").read_text(encoding="utf-8").splitlines()
    assert scores[:4] == ["text\tscore", "A good film.\t2.5", "A bad film.\t-1.5", "A film.\t0"]
    assert scores[4] == "Twice.\t-1"
    assert (folder / "LICENSE").read_bytes() == LICENCE
    note = (folder / "SOURCE.md").read_text(encoding="utf-8")
    assert "Hutto, C.J. & Gilbert, E.E. (2014)" in note
    assert "5 distinct sentences" in note
    assert "(1 above 0, 3 below, 1 at 0)" in note


def test_the_files_are_read_as_both_tasks_and_neutral_rows_have_no_label(
    archive: tuple[Path, str], tmp_path: Path
) -> None:
    folder = tmp_path / "movies"
    prepare_corpus("movies", folder, archive=archive[0], sha256=archive[1])
    corpus = build(folder)
    assert targets(corpus)["A film."] == {"score": 0.0}
    assert corpus.labelled("train", "sentiment") == 4


def test_a_prepared_corpus_is_left_alone_and_foreign_files_are_not_touched(
    archive: tuple[Path, str], tmp_path: Path
) -> None:
    folder = tmp_path / "movies"
    prepare_corpus("movies", folder, archive=archive[0], sha256=archive[1])
    (folder / "positive.txt").write_text("mine\n")
    prepare_corpus("movies", folder, archive=archive[0], sha256=archive[1])
    assert (folder / "positive.txt").read_text() == "mine\n"
    with pytest.raises(ConfigError, match=r"corpus 'tweets'; found other files"):
        prepare_corpus("tweets", folder, archive=archive[0], sha256=archive[1])
    (folder / "SOURCE.md").unlink()
    with pytest.raises(ConfigError, match=r"movies.*other files"):
        prepare_corpus("movies", folder, archive=archive[0], sha256=archive[1])


def test_another_archive_is_refused_and_leaves_nothing(
    archive: tuple[Path, str], tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "movies"
    with pytest.raises(DataError, match=r"expected an archive with SHA-256 5d7c.*found"):
        prepare_corpus("movies", folder, archive=archive[0])
    with pytest.raises(MissingInputError, match="found none"):
        prepare_corpus("movies", folder, archive=tmp_path / "nowhere.tar.gz")
    assert not folder.exists()
