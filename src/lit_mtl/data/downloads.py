"""Fetches the human-rated corpora of Hutto & Gilbert (2014) and writes them as users' files.

They come from the source distribution of vaderSentiment 3.3.2, pinned by its SHA-256, through pip,
so that a user's own package index, proxy and certificates apply.
"""

import errno
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple, get_args

from lit_mtl.data.splits import text_key
from lit_mtl.errors import ConfigError, DataError, MissingInputError

CorpusName = Literal["movies", "tweets", "amazon", "nyt"]
CORPORA: tuple[CorpusName, ...] = get_args(CorpusName)

ARCHIVE_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
SOURCE_NOTE = "SOURCE.md"

_PACKAGE = "vaderSentiment-3.3.2"
_RATED = "hutto_ICWSM_2014"
_FILES: dict[CorpusName, str] = {
    "movies": "movieReviewSnippets",
    "tweets": "tweets",
    "amazon": "amazonReviewSnippets",
    "nyt": "nytEditorialSnippets",
}
_SCORES, _SINGLE = "_GroundTruth.txt", "_anonDataRatings.txt"
"""What follows in the names of the files with mean and with single ratings."""

OF_DOCUMENTS: tuple[CorpusName, ...] = ("amazon", "nyt")
"""Corpora of which several sentences come from one text."""

DOCUMENT = "document"
"""The column of `scores.tsv` that tells these texts apart."""

RATINGS = "ratings"
"""The column of `scores.tsv` with the single ratings."""

_SAME_MEAN = 1e-6

_DOCUMENTS_NOTE = f"""
Several sentences come from one review or editorial: the column `{DOCUMENT}` of scores.tsv says which.
"""


def prepare_corpora(
    wanted: Sequence[tuple[CorpusName, Path]], *, archive: Path | None = None
) -> None:
    """Write rated corpora, each as `positive.txt`, `negative.txt` and `scores.tsv` in its folder.

    A sentence that occurs twice is written once, with the mean of its ratings, all of them, and its first
    document. A sentence rated exactly 0 has a score and no label. Single ratings are left out where their
    mean is not the score, as it is of some tweets. Licence and citation are written beside the files. A
    folder appears complete or not at all; one that is there already is left as it is. The archive,
    which holds all corpora, is fetched once, and only if a folder is missing.

    Args:
        wanted: each corpus with its folder.
        archive: the source distribution, if it is on disk already. None: fetched by pip.

    Raises:
        ConfigError: if a folder holds something else.
        MissingInputError: if the archive cannot be fetched.
        DataError: if it is not the expected archive.
    """
    missing = list(_missing(wanted))
    if not missing:
        return
    with tempfile.TemporaryDirectory() as scratch:
        content = _checked(archive or _download(Path(scratch)))
    for name, folder in _missing(missing):  # asked again before each: two may name one folder
        _write_whole(folder, name, content)


def _missing(wanted: Iterable[tuple[CorpusName, Path]]) -> Iterator[tuple[CorpusName, Path]]:
    """Those that are not there yet; a folder must not hold anything else."""
    for name, folder in wanted:
        note = folder / SOURCE_NOTE
        if note.is_file():
            found = note.read_text(encoding="utf-8").splitlines()[:1]
            if found == [_title(name)]:
                continue
            if found and found[0].startswith(f"# The corpus `{name}`"):
                raise ConfigError(
                    f"{folder}: expected the corpus {name!r} as this version writes it; found that of "
                    "an earlier one, without single ratings. Remove the folder, to have it written anew"
                )
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise ConfigError(
                f"{folder}: expected a new or empty folder for the corpus {name!r}; found other "
                "files. Set `corpus` to null to use them, or name another `path`"
            )
        yield name, folder


def _download(folder: Path) -> Path:
    requirement = folder / "requirements.txt"
    requirement.write_text(f"vaderSentiment==3.3.2 --hash=sha256:{ARCHIVE_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--no-binary", "vaderSentiment", "-d", str(folder), "-r", str(requirement)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    path = folder / f"{_PACKAGE}.tar.gz"
    if done.returncode or not path.is_file():
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MissingInputError(
            f"pip could not fetch {path.name} ({reason}). Without a network, get that file from "
            "the Python package index and name it with `data.corpus_archive`"
        )
    return path


def _checked(path: Path) -> bytes:
    """The bytes of the archive, which must be the pinned one."""
    if not path.is_file():
        raise MissingInputError(f"{path}: expected the archive {_PACKAGE}.tar.gz, found none")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != ARCHIVE_SHA256:
        raise DataError(f"{path}: expected an archive with SHA-256 {ARCHIVE_SHA256}; found {found}")
    return content


def _write_whole(folder: Path, name: CorpusName, content: bytes) -> None:
    """Write one corpus of the archive; its folder appears complete."""
    rows, licence = _extract(content, name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(staging, name, rows, licence)
        staging.chmod(0o755)
        staging.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        # another process was faster
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _Rated(NamedTuple):
    text: str
    score: float
    ratings: list[int]
    document: str


def _extract(content: bytes, name: CorpusName) -> tuple[list[_Rated], bytes]:
    """Distinct sentences with their ratings, and the licence."""
    inner = _member(content, f"{_PACKAGE}/additional_resources/{_RATED}.tar.gz")
    rated = _lines(inner, name, _SCORES)
    single = {
        cells[0]: [int(rating) for rating in json.loads(cells[-1])]
        for cells in _lines(inner, name, _SINGLE)
    }
    return _distinct(rated, single), _member(content, f"{_PACKAGE}/LICENSE.txt")


def _lines(archive: bytes, name: CorpusName, ending: str) -> list[list[str]]:
    """The cells of a file's lines."""
    text = _member(archive, f"{_RATED}/{_FILES[name]}{ending}").decode("utf-8-sig")
    return [line.split("\t") for line in text.replace("\r\n", "\n").split("\n") if line]


def _member(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        file = tar.extractfile(name)
        assert file is not None, f"{name} is a regular file in the pinned archive"
        return file.read()


def _distinct(lines: Iterable[list[str]], single: Mapping[str, list[int]]) -> list[_Rated]:
    """Ids are `document_sentence` where there are documents."""
    scores: dict[str, list[float]] = {}
    ratings: dict[str, list[list[int]]] = {}
    documents: dict[str, str] = {}
    for number, score, text in lines:
        key = text_key(text)
        scores.setdefault(key, []).append(float(score))
        known = single[number]
        agree = abs(fmean(known) - float(score)) <= _SAME_MEAN
        ratings.setdefault(key, []).append(known if agree else [])
        documents.setdefault(key, number.partition("_")[0])
    return [
        _Rated(
            text=text,
            score=fmean(values),
            # of a sentence that occurs twice all or none, or their mean would be another one
            ratings=[rating for each in ratings[text] for rating in each] * all(ratings[text]),
            document=documents[text],
        )
        for text, values in scores.items()
    ]


def _title(name: CorpusName) -> str:
    return f"# The corpus `{name}` with single ratings{' and documents' * (name in OF_DOCUMENTS)}"


def _write(folder: Path, name: CorpusName, rows: list[_Rated], licence: bytes) -> None:
    columns = ["text", "score", RATINGS, *([DOCUMENT] if name in OF_DOCUMENTS else [])]
    cells = [
        [row.text, f"{row.score:.10g}", "|".join(map(str, row.ratings)), row.document][
            : len(columns)
        ]
        for row in rows
    ]
    positive = [row.text for row in rows if row.score > 0]
    negative = [row.text for row in rows if row.score < 0]
    without = sum(not row.ratings for row in rows)
    texts = {
        "positive.txt": "".join(f"{text}\n" for text in positive),
        "negative.txt": "".join(f"{text}\n" for text in negative),
        "scores.tsv": "".join("\t".join(row) + "\n" for row in [columns, *cells]),
        SOURCE_NOTE: f"""{_title(name)}

{len(rows)} distinct sentences with the mean of about 20 human ratings each, on -4 to +4
({len(positive)} above 0, {len(negative)} below, {len(rows) - len(positive) - len(negative)} at 0).

The single ratings are in the column `{RATINGS}` of scores.tsv, separated by `|`. Of {without} sentences they
are left out, since their mean is not the score.
{_DOCUMENTS_NOTE if name in OF_DOCUMENTS else ""}
Made from `{_FILES[name]}{_SCORES}` and `{_FILES[name]}{_SINGLE}` in {_PACKAGE}.tar.gz
(SHA-256 {ARCHIVE_SHA256}), MIT licence, see LICENSE.

Cite: Hutto, C.J. & Gilbert, E.E. (2014). VADER: A Parsimonious Rule-based Model for Sentiment
Analysis of Social Media Text. Eighth International Conference on Weblogs and Social Media
(ICWSM-14). Ann Arbor, MI, June 2014.
""",
    }
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8", newline="\n")
    (folder / "LICENSE").write_bytes(licence)
