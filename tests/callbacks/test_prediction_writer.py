import json
from pathlib import Path

import pytest
from lightning.pytorch import Trainer

from lit_mtl.callbacks.prediction_writer import PredictionWriter
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.errors import ConfigError
from lit_mtl.module import MultiTaskModule
from lit_mtl.tasks import Classification, Regression


def predict(tiny_bert: Path, source: Path, output: Path | None, folder: Path) -> None:
    module = MultiTaskModule(str(tiny_bert))
    module.build({"tone": Classification(labels=("a", "b")), "score": Regression(low=0, high=1)})
    data = SentimentDataModule(predict_path=str(source), eval_batch_size=3)
    writer = PredictionWriter(None if output is None else str(output))
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[writer],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.predict(module, datamodule=data, return_predictions=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text("\n".join("word " * (1 + 5 * n % 7) + f"'{n}' é" for n in range(10)))
    return path


def test_rows_are_in_the_order_of_the_input_with_every_task(
    tiny_bert: Path, source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "out.jsonl"
    predict(tiny_bert, source, output, tmp_path)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == source.read_text().split("\n")
    assert {frozenset(row) for row in rows} == {frozenset({"text", "tone", "score"})}
    assert [path.name for path in output.parent.iterdir()] == ["out.jsonl"]


def test_without_a_name_the_file_lies_beside_the_logs(
    tiny_bert: Path, source: Path, tmp_path: Path
) -> None:
    predict(tiny_bert, source, None, tmp_path / "logs")
    assert (tmp_path / "logs" / "predictions.jsonl").is_file()


def test_the_input_is_never_overwritten(tiny_bert: Path, source: Path, tmp_path: Path) -> None:
    before = source.read_bytes()
    with pytest.raises(ConfigError, match="overwrite the input"):
        predict(tiny_bert, source, source, tmp_path)
    assert source.read_bytes() == before
