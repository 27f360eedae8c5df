import logging
import re
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from lit_mtl.callbacks.console import (
    ConsoleReport,
    data_table,
    duration,
    group_table,
    part_table,
)
from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.freezing_plan import Stage
from lit_mtl.tasks import Regression
from tests.conftest import example_data

SCORE = Regression(low=-4, high=4)


@pytest.fixture
def data(tiny_bert: Path) -> SentimentDataModule:
    return example_data(tiny_bert, batch_size=32)


def test_the_data_table_counts_sentences_and_labels_of_each_split(
    data: SentimentDataModule, tiny_bert: Path
) -> None:
    data.setup("fit")
    lines = data_table(data).splitlines()
    assert lines[0].split() == ["split", "sentences", "sentiment", "score"]
    rows = [[int(cell) for cell in line.split()[1:]] for line in lines[2:5]]
    assert [sum(column) for column in zip(*rows, strict=True)] == [44, 40, 44]
    assert "score: 44 rows read" in lines
    assert "cut" not in lines[-1]
    assert f"an epoch: 2 training batches a process, of {rows[0][0] / 2:.1f} sentences" in lines[5]
    batches = [batch["attention_mask"].float() for batch in data.train_dataloader()]
    padding = 1 - sum(float(mask.sum()) for mask in batches) / sum(map(torch.numel, batches))
    assert lines[5].endswith(f"{padding:.1%} of their tokens are padding")
    short = example_data(tiny_bert, max_length=12, tasks={"score": SCORE})
    short.setup("fit")
    assert data_table(short).splitlines()[-1].endswith("sentences are cut to 12 tokens")


def test_the_group_table_accounts_for_every_parameter(
    data: SentimentDataModule, tiny_bert: Path
) -> None:
    data.setup("fit")
    module = MultiTaskModule(str(tiny_bert), lr=1e-3, layer_decay=0.5, head_lr_multiplier=4.0)
    module.build(data.tasks)
    module.network.encoder.backbone.requires_grad_(False)
    cells = [
        line.replace(",", "").split()
        for line in group_table(module.param_groups()).splitlines()[2:]
    ]
    rows = {row[0]: [float(cell) for cell in row[1:]] for row in cells}
    total = sum(parameter.numel() for parameter in module.parameters())
    assert rows["total"] == [
        total,
        sum(values[2] for name, values in rows.items() if name != "total"),
    ]
    assert rows["heads.score/decay"][3] == pytest.approx(4e-3)
    assert rows["embeddings/decay"] == [3, rows["embeddings/decay"][1], 0, 1e-3 * 0.5**3, 0.01]

    lines = part_table(module.param_groups()).replace(",", "").splitlines()[2:]
    parts = {name: [float(cell) for cell in cells] for name, *cells in map(str.split, lines)}
    assert parts.pop("total") == rows.pop("total")
    assert list(parts) == list(dict.fromkeys(name.split("/")[0] for name in rows))
    for name, (depth, count, trainable, lr) in parts.items():
        both = [rows[f"{name}/decay"], rows[f"{name}/no_decay"]]
        assert [count, trainable] == [sum(row[place] for row in both) for place in (1, 2)]
        assert [[depth, lr]] * 2 == [[row[0], row[3]] for row in both]


def test_a_run_prints_the_tables_once_and_a_line_an_epoch(
    data: SentimentDataModule, tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = [
        Stage(name="probe", freeze=("backbone",), until_epoch=2),
        Stage(name="all", warmup_steps=1),
    ]
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=[ConsoleReport(), StagedFreezing(plan)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(MultiTaskModule(str(tiny_bert)), datamodule=data)
    printed = capsys.readouterr().out
    assert printed.count("\nembeddings ") == 1
    lines = [line for line in printed.splitlines() if line.startswith("epoch ")]
    steps = len(data.train_dataloader())
    stages = ("'probe'", "'probe'", "'all'")
    for epoch, (line, stage) in enumerate(zip(lines, stages, strict=True), start=1):
        where, left = line.split(":")[0].rsplit(", ", 1)
        assert where == f"epoch {epoch}, step {epoch * steps} of {3 * steps}, stage {stage}"
        assert re.fullmatch(r"\d+ seconds left", left)
    assert lines[-1].split(":")[0].endswith(", 0 seconds left")
    assert f"\n3 epochs, {3 * steps} steps in 2 stages: probe, all; precision 32-true\n" in printed
    model = next(line for line in printed.splitlines() if "layers of" in line)
    assert model.startswith("bert, 2 layers of ")
    assert model.endswith(
        " parameters; mean pooling; embeddings of 256; heads: sentiment (classification), "
        "score (regression)"
    )
    shown = re.compile(r"sentiment accuracy [01]\.\d{4}, score pearson ")
    assert all(shown.search(line) for line in lines)


def test_the_time_left_is_that_of_the_steps_so_far(
    data: SentimentDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([1000.0, 1060.0])
    monkeypatch.setattr("lit_mtl.callbacks.console.time.perf_counter", lambda: next(clock))
    report = ConsoleReport()
    trainer = mock.Mock(current_epoch=0, max_epochs=5, global_step=10)
    trainer.estimated_stepping_batches = 50
    trainer.is_global_zero, trainer.callbacks, trainer.datamodule = True, [], None
    trainer.optimizers = [mock.Mock(param_groups=[])]
    report.on_train_start(trainer, mock.Mock())
    trainer.global_step = 20  # it was continued at step 10: ten steps took a minute
    assert report._place(trainer) == "epoch 1, step 20 of 50, 3.0 minutes left"


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.4, "4 seconds"), (90, "1.5 minutes"), (5400, "1.5 hours")]
)
def test_a_time_is_said_in_a_unit_that_fits(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def lines_of(
    report: ConsoleReport, data: SentimentDataModule, backbone: Path, *others: Callback
) -> None:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[report, *others],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    # nothing is loaded, since transformers draws a bar for that
    trainer.fit(MultiTaskModule(str(backbone), pretrained=False), datamodule=data)


def test_the_line_of_progress_has_the_losses_and_is_gone_before_anything_else_is_printed(
    data: SentimentDataModule,
    tiny_bert: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("lit_mtl.callbacks.console._EVERY", 0.0)
    monkeypatch.setenv("COLUMNS", "80")
    lines_of(ConsoleReport(live=True), data, tiny_bert)
    out, err = capsys.readouterr()
    drawn = err.split("\r\033[K")
    assert drawn[-1] == ""  # the last line is gone
    steps = [line for line in drawn if line.startswith("epoch ")]
    assert len(steps) == 2 * len(data.train_dataloader())
    shown = r"epoch 2, step 4 of 4, 0 seconds left; loss: sentiment \d\.\d{3}, score \d\.\d{3}\r"
    assert re.fullmatch(shown, steps[-1])
    assert drawn.count("val: batch 1 of 1\r") == 2
    assert all(len(line) <= 80 for line in drawn)
    assert "\r" not in out


def test_a_stage_is_announced_where_the_line_of_progress_was(
    data: SentimentDataModule,
    tiny_bert: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("lit_mtl.callbacks.console._EVERY", 0.0)
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    filters, handler = list(logger.filters), logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    stages = [Stage(name="probe", freeze=("backbone",), until_step=3), Stage(name="all")]
    try:
        lines_of(ConsoleReport(live=True), data, tiny_bert, StagedFreezing(stages))
    finally:
        logger.removeHandler(handler)
    drawn = capsys.readouterr().err.split("\r\033[K")
    assert any(part.startswith("Stage 'all'") for part in drawn), "at the begin of an empty line"
    assert logger.filters == filters, "nothing is left behind"


def test_detail_adds_every_metric_of_each_validation(
    data: SentimentDataModule, tiny_bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines_of(ConsoleReport(detail=True), data, tiny_bert)
    out, err = capsys.readouterr()
    for metric in ("selection", "sentiment/auroc", "score/spearman"):
        assert len(re.findall(rf"^{metric} +-?\d\.\d{{4}}$", out, flags=re.MULTILINE)) == 2
    assert "\r" not in out + err
