"""A small source distribution of the form that the rated corpora come in."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from lit_mtl.data import downloads
from lit_mtl.data.downloads import OF_DOCUMENTS, CorpusName

LICENCE = b"The MIT License"

FILES: dict[CorpusName, str] = {
    "movies": "movieReviewSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "nyt": "nytEditorialSnippets_GroundTruth.txt",
}

SHARED = "One sentence of movies and tweets."
"""Stands in two of the small corpora, with different ratings."""


def small_corpora(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive that counts as the pinned one, with 60 sentences of each corpus and one of two.

    In amazon and nyt two sentences each come from one document.
    """
    lines = {
        name: [
            f"{f'{n // 2}_{n % 2}' if name in OF_DOCUMENTS else n}\t{(n % 9 - 4) / 2}\t"
            f"sentence {n} of {name}, {n % 7} times"
            for n in range(60)
        ]
        for name in FILES
    }
    lines["movies"].append(f"60\t2.5\t{SHARED}")
    lines["tweets"].append(f"60\t-1.5\t{SHARED}")
    path = folder / "vaderSentiment-3.3.2.tar.gz"
    texts = {file: "\r\n".join(lines[name]).encode() for name, file in FILES.items()}
    monkeypatch.setattr(downloads, "ARCHIVE_SHA256", build_archive(path, texts))
    return path


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
