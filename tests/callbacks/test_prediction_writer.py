import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from lit_mtl.artifact.bundle import TrainedModel
from lit_mtl.callbacks.prediction_writer import PredictionWriter
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.errors import ConfigError
from lit_mtl.module import MultiTaskModule
from lit_mtl.tasks import Classification, Regression


def predict(
    tiny_bert: Path, source: Path, output: Path | None, folder: Path, **options: Any
) -> TrainedModel:
    module = MultiTaskModule(str(tiny_bert))
    torch.manual_seed(0)
    module.build({"tone": Classification(labels=("a", "b")), "score": Regression(low=-99, high=99)})
    data = SentimentDataModule(predict_path=str(source), eval_batch_size=3)
    writer = PredictionWriter(None if output is None else str(output))
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[writer],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        **options,
    )
    trainer.predict(module, datamodule=data, return_predictions=False)
    return TrainedModel(module.network, module.tokenizer)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text("\n".join("word " * (1 + 5 * n % 7) + f"'{n}' é" for n in range(10)))
    return path


def test_rows_are_in_the_order_of_the_input_with_every_task(
    tiny_bert: Path, source: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "out.jsonl"
    model = predict(tiny_bert, source, output, tmp_path)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    texts = source.read_text().split("\n")
    assert [row["text"] for row in rows] == texts
    scores = [row["score"]["score"] for row in model.predict(texts)]
    assert len(set(scores)) > len(scores) // 2, "equal scores could not tell rows apart"
    assert [row["score"]["score"] for row in rows] == pytest.approx(scores, abs=1e-6)
    assert {frozenset(row) for row in rows} == {frozenset({"text", "tone", "score"})}
    assert [path.name for path in output.parent.iterdir()] == ["out.jsonl"]


def test_a_part_is_written_as_a_part(tiny_bert: Path, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    predict(tiny_bert, source, output, tmp_path, limit_predict_batches=1)
    assert len(output.read_text(encoding="utf-8").splitlines()) == 3


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
