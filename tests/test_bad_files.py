"""Each kind of bad file ends a command with 65 or 66 and one message with its place."""

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.conftest import Run
from tests.data.test_readers import write

GOOD = "".join(f"good {n}\n" for n in range(9))
BAD = "".join(f"bad {n}\n" for n in range(9))


def text(content: str | bytes) -> Callable[[Path], Path]:
    """A folder of two classes, one of which holds something else than sentences."""

    def made(folder: Path) -> Path:
        write(folder / "positive.txt", GOOD)
        return write(folder / "negative.txt", content).parent

    return made


def table(name: str, content: str | bytes) -> Callable[[Path], Path]:
    return lambda folder: write(folder / name, content)


def instead(kind: str, name: str) -> Callable[[Path], Path]:
    """A folder in which something else stands in the place of a file."""

    def made(folder: Path) -> Path:
        path = write(folder / "positive.txt", GOOD).with_name(name)
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to({"device": "/dev/zero", "loop": name, "nothing": "nowhere"}[kind])
        return folder if name.endswith(".txt") else path

    return made


def one_class(folder: Path) -> Path:
    return write(folder / "positive.txt", GOOD).parent


def one_class_twice(folder: Path) -> Path:
    write(folder / "positive.txt", GOOD)
    (folder / "negative.txt").symlink_to("positive.txt")
    return folder


def cut_parquet(folder: Path) -> Path:
    columns = {"text": ["a", "b"], "score": [1.0, 2.0]}
    folder.mkdir()
    parquet.write_table(pa.table(columns), folder / "a.parquet")
    return write(folder / "a.parquet", (folder / "a.parquet").read_bytes()[:-9])


def cut_dataset(folder: Path) -> Path:
    datasets.Dataset.from_dict({"text": ["a", "b"], "score": [1.0, 2.0]}).save_to_disk(str(folder))
    (part,) = folder.glob("*.arrow")
    part.write_bytes(part.read_bytes()[:99])
    return folder


SCORES = "text\tscore\nfine\t1\n"

KINDS: dict[str, tuple[Callable[[Path], Path], int, str]] = {
    "latin-1": (text("schlecht\nschön\n".encode("latin-1")), 65, r"negative\.txt:2: .*offset 12"),
    "utf-16": (text(BAD.encode("utf-16")), 65, r"negative\.txt:1: .*UTF-16"),
    "nul": (text("bad\n\nwor\0se\n"), 65, r"negative\.txt:3: .*NUL"),
    "gzip": (text(gzip.compress(BAD.encode())), 65, r"negative\.txt: .*gzip file"),
    "zip": (table("a.tsv", b"PK\x03\x04\0"), 65, r"a\.tsv: .*zip file"),
    "parquet as csv": (table("a.csv", b"PAR1\0"), 65, r"a\.csv: .*Parquet"),
    "empty": (text(""), 65, r"negative\.txt: .*empty file"),
    "blank": (text(" \n\n"), 65, r"negative\.txt: .*empty file"),
    "one class": (one_class, 65, r"data: expected two or more .*found positive\.txt"),
    "one class twice": (one_class_twice, 65, r"positive\.txt: .*same content as .*negative\.txt"),
    "contradiction": (
        text("bad\ngood 3\n"),
        65,
        r"negative\.txt:2 says negative; .*positive\.txt:4",
    ),
    "no header": (table("a.tsv", ""), 65, r"a\.tsv:1: .*header line"),
    "no text column": (table("a.tsv", "body\tscore\nx\t1\n"), 65, r"a\.tsv:1: .*text or sentence"),
    "repeated column": (table("a.tsv", "text\tscore\tscore\n"), 65, r"a\.tsv:1: .*twice: score"),
    "ragged": (table("a.tsv", f"{SCORES}short\n"), 65, r"a\.tsv:3: expected 2 cells"),
    "open quote": (table("a.csv", 'text,score\n"open,1\n'), 65, r"a\.csv:2: not a well-formed CSV"),
    "array": (table("a.jsonl", '[{"text": "a"}]'), 65, r"a\.jsonl:1: expected one JSON object a"),
    "broken end": (
        table("a.jsonl", '{"text": "a", "score": 1}\n{"te'),
        65,
        r"a\.jsonl:2: .*column",
    ),
    "key twice": (table("a.jsonl", '{"text": "a", "text": "b"}'), 65, r"a\.jsonl:1: .*twice: text"),
    "surrogate": (table("a.jsonl", '{"text": "\\ud800", "score": 1}'), 65, r"a\.jsonl:1: .*ud800"),
    "cut parquet": (cut_parquet, 65, r"a\.parquet: expected a whole Parquet file"),
    "cut dataset": (cut_dataset, 65, r"data: expected a whole saved dataset"),
    "other suffix": (table("a.xlsx", SCORES), 65, r"a\.xlsx: expected a table ending in \.tsv"),
    "nan": (table("a.tsv", f"{SCORES}x\tNaN\n"), 65, r"a\.tsv:3: expected a number .*'NaN'"),
    "infinity": (table("a.tsv", f"{SCORES}x\t1e999\n"), 65, r"a\.tsv:3: expected a number from"),
    "out of range": (table("a.tsv", f"{SCORES}x\t4.5\n"), 65, r"a\.tsv:3: expected a score within"),
    "comma": (table("a.tsv", f"{SCORES}x\t1,5\n"), 65, r"a\.tsv:3: .*decimals after a point"),
    "underscore": (table("a.tsv", f"{SCORES}x\t1_0\n"), 65, r"a\.tsv:3: expected a number"),
    "no score": (table("a.tsv", "text\tscore\nx\t\ny\t\n"), 65, r"a\.tsv: expected targets"),
    "nothing": (lambda folder: folder / "nowhere", 66, "nowhere: .*found nothing"),
    "nothing linked": (instead("nothing", "negative.txt"), 66, r"negative\.txt: .*found nothing"),
    "folder": (instead("folder", "negative.txt"), 66, r"negative\.txt: .*found a folder"),
    "pipe": (instead("pipe", "negative.txt"), 66, r"negative\.txt: .*found a pipe"),
    "device": (instead("device", "negative.txt"), 66, r"negative\.txt: .*found a pipe or device"),
    "loop": (instead("loop", "negative.txt"), 66, r"negative\.txt: .*symbolic links"),
    "pipe as table": (instead("pipe", "a.tsv"), 66, r"a\.tsv: expected a file, found a pipe"),
    "folder as table": (instead("folder", "a.tsv"), 65, r"a\.tsv: expected .*<label>\.txt files"),
}
"""What is written, the exit code, and what the message says."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_has_its_exit_code_and_one_message_with_its_place(
    kind: str,
    tmp_path: Path,
    tiny_bert: Path,
    lit_mtl: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make, code, message = KINDS[kind]
    words = [f"--data.path={make(tmp_path / 'data')}", f"--model.backbone={tiny_bert}"]
    words += ["--trainer.accelerator=cpu", "--trainer.logger=false"]
    for command in ("fit", "check-data"):
        assert lit_mtl(command, *words) == code
        error = capsys.readouterr().err
        said = [line for line in error.splitlines() if line.startswith(f"lit_mtl {command}: ")]
        assert len(said) == 1
        assert re.search(message, said[0]), said[0]
        assert "Traceback" not in error
