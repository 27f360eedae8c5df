"""A small source distribution of the form that the rated corpora come in."""

import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from math import ceil, floor
from pathlib import Path
from statistics import fmean

import pytest

from lit_mtl.data import downloads
from lit_mtl.data.downloads import OF_DOCUMENTS, CorpusName

LICENCE = b"The MIT License"

FILES: dict[CorpusName, str] = {
    "movies": "movieReviewSnippets",
    "tweets": "tweets",
    "amazon": "amazonReviewSnippets",
    "nyt": "nytEditorialSnippets",
}

SHARED = "One sentence of movies and tweets."
"""Stands in two of the small corpora, with different ratings."""


def small_corpora(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive that counts as the pinned one, with 60 sentences of each corpus and one of two.

    In amazon and nyt two sentences each come from one document.
    """
    rows = {
        name: [
            (
                f"{n // 2}_{n % 2}" if name in OF_DOCUMENTS else str(n),
                (n % 9 - 4) / 2,
                f"sentence {n} of {name}, {n % 7} times",
            )
            for n in range(60)
        ]
        for name in FILES
    }
    rows["movies"].append(("60", 2.5, SHARED))
    rows["tweets"].append(("60", -1.5, SHARED))
    path = folder / "vaderSentiment-3.3.2.tar.gz"
    texts: dict[str, bytes] = {}
    for name, found in rows.items():
        texts |= rated(name, found)
    monkeypatch.setattr(downloads, "ARCHIVE_SHA256", build_archive(path, texts))
    return path


def rated(
    name: CorpusName,
    rows: Sequence[tuple[str, float, str]],
    ratings: Mapping[str, list[int]] | None = None,
) -> dict[str, bytes]:
    """A corpus' two files: id, score and text; id, score, deviation and two ratings of that mean.

    Args:
        name: the corpus.
        rows: id, score and text of each sentence.
        ratings: by id, where they are others.
    """
    lines = [f"{number}\t{score:g}\t{text}" for number, score, text in rows]
    found = {number: [floor(score), ceil(score)] for number, score, _ in rows} | dict(ratings or {})
    single = [f"{number}\t{fmean(each)}\t0.5\t{each}" for number, each in found.items()]
    return {
        f"{FILES[name]}_GroundTruth.txt": "\r\n".join(lines).encode(),
        f"{FILES[name]}_anonDataRatings.txt": "\n".join(single).encode("utf-8-sig"),
    }


def build_archive(path: Path, texts: dict[str, bytes]) -> str:
    """Write an archive with the given ground truth files; return its SHA-256."""
    inner = _tar({f"hutto_ICWSM_2014/{name}": content for name, content in texts.items()})
    folder = "vaderSentiment-3.3.2"
    outer = {
        f"{folder}/LICENSE.txt": LICENCE,
        f"{folder}/additional_resources/hutto_ICWSM_2014.tar.gz": inner,
    }
    content = _tar(outer)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
