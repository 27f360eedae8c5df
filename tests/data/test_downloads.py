from pathlib import Path
from typing import Any

import pytest

from lit_mtl.data import downloads
from lit_mtl.data.downloads import CORPORA, prepare_corpora
from lit_mtl.errors import ConfigError, DataError, MissingInputError
from tests.data.archive import LICENCE, build_archive, rated, small_corpora
from tests.data.corpora import build, targets

MOVIES = [
    ("1", 2.5, "A good film."),
    ("2", -1.5, "A bad film."),
    ("3", 0.0, "A film."),
    ("4", 1.0, "Twice."),
    ("5", -3.0, " Twice."),
    ("6", -0.25, 'Café "noir".'),
]
"""The single ratings of the last one, 0 and -1, have another mean than its score."""


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "vaderSentiment-3.3.2.tar.gz"
    content = rated("movies", MOVIES, {"1": [3, 2, 3, 2]})
    monkeypatch.setattr(downloads, "ARCHIVE_SHA256", build_archive(path, content))
    return path


def test_a_corpus_becomes_the_files_that_users_have(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "movies"
    prepare_corpora([("movies", folder)], archive=archive)
    assert (folder / "positive.txt").read_text(encoding="utf-8") == "A good film.\n"
    negative = (folder / "negative.txt").read_text(encoding="utf-8").splitlines()
    assert negative == ["A bad film.", "Twice.", 'Café "noir".']
    scores = (folder / "scores.tsv").read_text(encoding="utf-8").splitlines()
    assert scores == [
        "text\tscore\tratings",
        "A good film.\t2.5\t3|2|3|2",
        "A bad film.\t-1.5\t-2|-1",
        "A film.\t0\t0|0",
        "Twice.\t-1\t1|1|-3|-3",
        'Café "noir".\t-0.25\t',
    ]
    assert (folder / "LICENSE").read_bytes() == LICENCE
    note = (folder / "SOURCE.md").read_text(encoding="utf-8")
    assert "Hutto, C.J. & Gilbert, E.E. (2014)" in note
    assert "5 distinct sentences" in note
    assert "(1 above 0, 3 below, 1 at 0)" in note
    assert "Of 1 sentences they" in note


def test_sentences_of_one_text_are_kept_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        ("12_1", 1.5, "Good."),
        ("12_2", -1, "Bad."),
        ("7_1", 2, "Fine."),
        ("9_4", 2.5, "Good."),
    ]
    path = tmp_path / "vaderSentiment-3.3.2.tar.gz"
    content = rated("amazon", rows, {"9_4": [1, 1]})
    monkeypatch.setattr(downloads, "ARCHIVE_SHA256", build_archive(path, content))
    prepare_corpora([("amazon", tmp_path / "amazon")], archive=path)
    scores = (tmp_path / "amazon" / "scores.tsv").read_text().splitlines()
    assert scores == [
        "text\tscore\tratings\tdocument",
        "Good.\t2\t\t12",  # of one of the two the ratings have another mean, so there are none
        "Bad.\t-1\t-1|-1\t12",
        "Fine.\t2\t2|2\t7",
    ]
    assert "`document`" in (tmp_path / "amazon" / "SOURCE.md").read_text()


def test_the_files_are_read_as_both_tasks_and_neutral_rows_have_no_label(
    archive: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "movies"
    prepare_corpora([("movies", folder)], archive=archive)
    corpus = build(folder)
    assert targets(corpus)["A film."] == {"score": 0.0}
    assert corpus.labelled("train", "sentiment") == 4


def test_a_prepared_corpus_is_left_alone_and_foreign_files_are_not_touched(
    archive: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "movies"
    prepare_corpora([("movies", folder)], archive=archive)
    (folder / "positive.txt").write_text("mine\n")
    prepare_corpora([("movies", folder)], archive=archive)
    assert (folder / "positive.txt").read_text() == "mine\n"
    with pytest.raises(ConfigError, match=r"corpus 'tweets'; found other files"):
        prepare_corpora([("tweets", folder)], archive=archive)
    note = (folder / "SOURCE.md").read_text()
    (folder / "SOURCE.md").write_text(note.replace(" with single ratings", ""))
    with pytest.raises(ConfigError, match=r"movies: .*found that of an earlier one.*Remove"):
        prepare_corpora([("movies", folder)], archive=archive)
    (folder / "SOURCE.md").unlink()
    with pytest.raises(ConfigError, match=r"movies.*other files"):
        prepare_corpora([("movies", folder)], archive=archive)


def test_another_archive_is_refused_and_leaves_nothing(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "movies"
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(DataError, match=rf"expected .*SHA-256 {downloads.ARCHIVE_SHA256}; found"):
        prepare_corpora([("movies", folder)], archive=archive)
    with pytest.raises(MissingInputError, match="found none"):
        prepare_corpora([("movies", folder)], archive=tmp_path / "nowhere.tar.gz")
    assert not folder.exists()


def test_several_corpora_come_from_one_download_of_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, fetched = small_corpora(tmp_path, monkeypatch), []

    def download(folder: Path) -> Path:
        fetched.append(folder)
        return archive

    monkeypatch.setattr(downloads, "_download", download)
    wanted = [(name, tmp_path / "data" / name) for name in CORPORA]
    for _ in range(2):
        prepare_corpora([*wanted, wanted[0]])
        assert len(fetched) == 1
        for name, folder in wanted:
            assert f"sentence 1 of {name}" in (folder / "scores.tsv").read_text()


def test_two_corpora_cannot_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, folder = small_corpora(tmp_path, monkeypatch), tmp_path / "both"
    with pytest.raises(ConfigError, match=r"both: .*corpus 'tweets'; found other files"):
        prepare_corpora([("movies", folder), ("tweets", folder)], archive=archive)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"file: .*corpus 'nyt'; found other files"):
        prepare_corpora([("nyt", tmp_path / "file")], archive=archive)


def test_another_process_that_was_faster_is_no_error(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "movies"
    original = downloads._extract

    def meanwhile(*args: Any) -> Any:
        monkeypatch.setattr(downloads, "_extract", original)
        prepare_corpora([("movies", folder)], archive=archive)
        (folder / "scores.tsv").touch()
        return original(*args)

    monkeypatch.setattr(downloads, "_extract", meanwhile)
    prepare_corpora([("movies", folder)], archive=archive)
    assert (folder / "positive.txt").read_text() == "A good film.\n"
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["movies"]
