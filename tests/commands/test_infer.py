import io
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from lit_mtl import load, load_checkpoint
from lit_mtl.commands.infer import split_flags
from tests.conftest import Run

SENTENCES = ["A fine film.", "A dull one.", "A fine film."]


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(SENTENCES) + "\n\n")
    return path


def test_all_ways_in_give_the_same_output(
    lit_mtl: Run,
    exported: Path,
    calibrated: Path,
    lines: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capsys.readouterr()
    for command, expected in (("embed", "shape: (3, 256)"), ("predict", '"A dull one."')):
        printed = []
        for words in (SENTENCES, ["--input", str(lines)], []):
            for path in (exported, calibrated):
                stdin = io.TextIOWrapper(io.BytesIO(lines.read_bytes()))
                monkeypatch.setattr("sys.stdin", stdin)
                assert lit_mtl(command, "--ckpt_path", path, *words) == 0
                printed.append(capsys.readouterr().out)
        assert len(set(printed)) == 1
        assert expected in printed[0]


def test_predictions_are_written_in_order_beside_the_columns_of_the_input(
    lit_mtl: Run, exported: Path, tmp_path: Path
) -> None:
    table = tmp_path / "in.csv"
    table.write_text('id,text,score\n7,"long, long, long film",x\n8,,y\n9,dull,\n')
    model = load(exported)
    expected = [model.predict(["long, long, long film"])[0], None, model.predict(["dull"])[0]]
    for suffix in ("jsonl", "csv", "parquet"):
        output = tmp_path / "new" / f"out.{suffix}"
        words = ["--ckpt_path", exported, "--input", table, "--output", output]
        assert lit_mtl("predict", *words) == 0
    rows = [json.loads(line) for line in (tmp_path / "new/out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["7", "8", "9"]
    assert [row["score"] for row in rows] == ["x", "y", None] or rows[2]["score"] == ""
    for row, want in zip(rows, expected, strict=True):
        found = row["predictions"]
        assert (found is None) == (want is None)
        if want is not None:
            assert found["score"]["score"] == pytest.approx(want["score"]["score"], abs=1e-5)
            assert found["sentiment"]["label"] == want["sentiment"]["label"]
    header = (tmp_path / "new/out.csv").read_text().splitlines()[0].split(",")
    names = ["id", "text", "score", "sentiment.label"]
    assert header[:4] == names
    assert {"score.score", "score.interval.0", "score.interval.1"} < set(header)
    table_out = parquet.read_table(tmp_path / "new/out.parquet")
    assert table_out["sentiment.label"].to_pylist() == [
        None if want is None else want["sentiment"]["label"] for want in expected
    ]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "out.csv",
        "out.jsonl",
        "out.parquet",
    ]


def test_embeddings_are_an_array_or_a_column(lit_mtl: Run, calibrated: Path, lines: Path) -> None:
    for output in ("vectors.npy", "vectors.parquet"):
        words = ["--ckpt_path", calibrated, "--input", lines, "--output", output]
        assert lit_mtl("embed", *words) == 0
    expected = load_checkpoint(calibrated).embed(SENTENCES)
    saved = torch.from_numpy(np.load("vectors.npy"))
    torch.testing.assert_close(saved, expected, atol=1e-5, rtol=0)
    column = parquet.read_table("vectors.parquet")["embedding"].to_pylist()
    torch.testing.assert_close(torch.tensor(column), saved)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--input", "lines.txt", "a"], 2, "both"),
        (["a", " "], 2, "blank"),
        (["--input", "lines.txt", "--output", "lines.txt"], 2, "overwrite the input"),
        (["--input", "lines.txt", "--output", "x.xlsx"], 2, "ends in .jsonl"),
        (["--input", "lines.txt", "--output", "x.npy"], 2, "ends in .jsonl, .csv, .parquet\n"),
        (["--input", "none.txt", "--output", "x.csv"], 66, "found nothing"),
        (["--input", "in.pdf", "--output", "x.csv"], 65, "expected a file that ends in .txt"),
        (["--input", "own.csv", "--output", "x.csv"], 2, "'score.score'"),
        (["--input", "bad.csv", "--output", "x.csv"], 65, "bad.csv:3"),
        (["--input", "lines.txt", "--trainer.devices", "2"], 2, "--output"),
        (["--output", "x.csv", "--trainer.devices=2"], 2, "--input"),
        (["a", "--output", "x.csv", "--trainer.devices=2"], 2, "--input"),
        (["caf\udce9"], 2, "UTF-8"),
    ],
)
def test_wrong_use_is_refused_and_leaves_nothing(
    words: list[str],
    code: int,
    message: str,
    lines: Path,
    exported: Path,
    lit_mtl: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("own.csv").write_text("text,score.score\na,1\n")
    Path("bad.csv").write_text("text,b\na,1\nb\n")
    Path("in.pdf").touch()
    before = {path: path.read_bytes() for path in Path().iterdir()}
    assert lit_mtl("predict", "--ckpt_path", exported, *words) == code
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_empty_and_undecodable_input_is_refused(
    lit_mtl: Run, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content, code in ((b"\n \n", 2), ("schön\n".encode("latin-1"), 65)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert lit_mtl("embed", "--ckpt_path", exported) == code
    with pytest.raises(SystemExit, match="2"):
        lit_mtl("embed", "--ckpt_path", exported, "--batch_tokens=0", "a")
    with pytest.raises(SystemExit, match="2"):
        lit_mtl("embed", "sentence")


def test_the_trainers_flags_are_told_from_words() -> None:
    words = ["a", "--trainer.devices", "2", "--input", "x", "--trainer.strategy=ddp", "b"]
    assert split_flags(words) == (
        ["a", "--input", "x", "b"],
        ["--trainer.devices=2", "--trainer.strategy=ddp"],
    )


def test_blank_cells_have_no_prediction_wherever_it_goes(
    lit_mtl: Run, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in.csv").write_text("text,id\nA fine film.,1\n,2\n")
    words = ["predict", "--ckpt_path", exported, "--input", "in.csv"]
    capsys.readouterr()
    assert lit_mtl(*words) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lit_mtl(*words, "--output", "out.jsonl") == 0
    kept = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row["predictions"] for row in shown] == [row["predictions"] for row in kept]
    assert shown[1] == {"text": "", "predictions": None}


@pytest.mark.slow
def test_a_reader_that_has_enough_and_one_that_is_not_there(exported: Path) -> None:
    Path("in.txt").write_text("A fine film.\n" * 2000)
    words = f"{sys.executable} -m lit_mtl predict --ckpt_path {exported}"
    command = f"set -o pipefail; {words} --input in.txt | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["text"] == "A fine film."
    done = subprocess.run(
        ["bash", "-c", f"{words} <&-"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "standard input is closed" in done.stderr


def test_one_str_is_no_list_of_sentences(exported: Path) -> None:
    model = load(exported)
    for method in (model.embed, model.predict, model.run, model.pooled):
        with pytest.raises(TypeError, match="list of sentences"):
            method("abc")


def test_columns_of_any_kind_are_passed_on_where_the_format_can_hold_them(
    lit_mtl: Run, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parquet holds bytes; JSON lines objects; and where it is neither, the column is named."""
    columns = {
        "text": pa.array(["A fine film.", "A dull one."]),
        "day": pa.array([date(2024, 1, 2), None]),
        "meta": pa.array([{"a": 1, "b": ["x"]}, None]),
        "raw": pa.array([b"\xff", None]),
    }
    parquet.write_table(pa.table(columns), "in.parquet")
    words = ["predict", "--ckpt_path", exported, "--input", "in.parquet", "--output"]
    for output in ("out.jsonl", "out.csv"):
        assert lit_mtl(*words, output) == 2
        message = f"{output}: the column 'raw' of in.parquet holds binary, which only .parquet can"
        assert message in capsys.readouterr().err
        assert not Path(output).exists()
    assert lit_mtl(*words, "out.parquet") == 0
    found = parquet.read_table("out.parquet").select(list(columns)).to_pydict()
    assert found["raw"] == [b"\xff", None]
    assert found["day"] == ["2024-01-02", None]
    assert found["meta"] == ['{"a": 1, "b": ["x"]}', None]
    assert lit_mtl("embed", *words[1:], "out.npy") == 0

    parquet.write_table(pa.table(columns).drop_columns("raw"), "in.parquet")
    assert lit_mtl(*words, "out.jsonl") == 0
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [(row["day"], row["meta"]) for row in rows] == [
        ("2024-01-02", {"a": 1, "b": ["x"]}),
        (None, None),
    ]
    assert lit_mtl(*words, "out.csv") == 0
    assert '"{""a"": 1, ""b"": [""x""]}"' in Path("out.csv").read_text()
