from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lit_mtl.callbacks.projector import Sample, seen_rows
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.module import MultiTaskModule
from tests.conftest import example_data
from tests.test_module import TASKS


@pytest.fixture
def module(tiny_bert: Path) -> MultiTaskModule:
    found = MultiTaskModule(str(tiny_bert))
    found.build(TASKS)
    return found


def trainer(limit: float = 1.0) -> Trainer:
    return Trainer(
        logger=False, enable_checkpointing=False, accelerator="cpu", limit_val_batches=limit
    )


def tables(folder: Path, moment: str) -> tuple[list[list[str]], list[list[str]]]:
    """Vectors, and the header and rows of what is known of them."""
    vectors, rows = (
        [line.split("\t") for line in path.read_text().splitlines()]
        for path in (folder / f"{moment}.tsv", folder / f"{moment}_rows.tsv")
    )
    return vectors, rows


def test_chosen_rows_are_embedded_alike_at_once_and_as_they_pass_by(
    data: SentimentDataModule, module: MultiTaskModule
) -> None:
    chosen = torch.tensor([0, 2, 3])
    at_once, passing = Sample(chosen=chosen), Sample(chosen=chosen)
    module.train()
    module.network.encoder.eval()
    modes = [part.training for part in module.modules()]
    state = torch.get_rng_state()
    at_once.embed(trainer(), module, data)
    assert [part.training for part in module.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    module.eval()
    for batch in data.val_dataloader():
        passing.update(batch["row_id"], module(batch["input_ids"], batch["attention_mask"]))
    assert sorted(at_once.vectors) == sorted(passing.vectors) == chosen.tolist()
    for row, vector in at_once.vectors.items():
        torch.testing.assert_close(passing.vectors[row], vector)


def test_each_point_has_its_sentence_targets_and_predictions(
    data: SentimentDataModule, module: MultiTaskModule, tmp_path: Path
) -> None:
    rows = sorted(seen_rows(trainer(), data))
    sample = Sample(chosen=torch.tensor(rows))
    sample.embed(trainer(), module, data)
    sample.write(tmp_path, "after", module, data)
    vectors, (header, *known) = tables(tmp_path / "projector", "after")
    assert header == [
        *("text", "row", "sentiment", "sentiment predicted", "score", "score predicted")
    ]
    assert data.corpus is not None
    split = data.corpus.splits["val"]
    assert [row[0] for row in known] == split["text"]
    assert len(vectors) == len(known) == len(split)
    written = torch.tensor([[float(value) for value in vector] for vector in vectors])
    batch = data.batch_of("val", rows)
    module.eval()
    with torch.no_grad():
        output = module.network(batch["input_ids"], batch["attention_mask"])
    torch.testing.assert_close(written, output.sentence_embedding, rtol=1e-4, atol=1e-5)
    for row, cells in enumerate(known):
        target, score = split[row]["target.sentiment"], split[row]["target.score"]
        names = module.tasks["sentiment"].classes
        assert cells[2] == ("" if target is None else names[target])
        assert cells[3] == names[int(output.heads["sentiment"][row].argmax())]
        assert cells[4] == ("" if score is None else f"{score:.4g}")
        assert float(cells[5]) == pytest.approx(float(output.heads["score"][row]), rel=1e-2)


def test_the_projector_is_told_of_both_pictures(
    data: SentimentDataModule, module: MultiTaskModule, tmp_path: Path
) -> None:
    sample = Sample(chosen=torch.tensor([0]))
    sample.embed(trainer(), module, data)
    for moment in ("before", "after", "after"):
        sample.write(tmp_path, moment, module, data)
    config = (tmp_path / "projector_config.pbtxt").read_text()
    assert config.count("tensor_name") == 2
    for line in config.splitlines():
        if "_path" in line:
            assert (tmp_path / line.split('"')[1]).is_file()


@pytest.mark.parametrize(("limit", "rows"), [(1.0, 10), (1, 2), (3, 6), (0.5, 2), (0, 0)])
def test_rows_that_no_validation_sees_are_no_points(
    limit: float, rows: int, tiny_bert: Path
) -> None:
    data = example_data(tiny_bert, eval_batch_size=2)
    data.prepare_data()
    data.setup("fit")
    found = sorted(seen_rows(trainer(limit), data))
    assert data.corpus is not None
    everything = range(len(data.corpus.splits["val"]))
    assert len(found) == min(rows, len(everything))
    assert set(found) <= set(everything)


def test_health_is_that_of_the_points_beside_those_before(
    data: SentimentDataModule, module: MultiTaskModule
) -> None:
    assert data.corpus is not None
    rows = sorted(seen_rows(trainer(), data))
    sample = Sample(chosen=torch.tensor(rows))
    sample.embed(trainer(), module, data)
    assert "kept_similarity" not in sample.health(data)  # a continued run has none before
    sample.base = dict(sample.vectors)
    assert sample.health(data)["kept_similarity"] == pytest.approx(1)
    # each label in a direction of its own, as training on labels alone would have it
    labels = data.corpus.splits["val"]["target.sentiment"]
    for row in rows:
        noise = 0.01 * sample.base[row]
        noise[0 if labels[row] else 1] += 100.0
        sample.vectors[row] = noise
    found = sample.health(data)
    known = sum(label is not None for label in (labels[row] for row in rows))
    assert 2 < known < len(rows)
    assert found["kept_similarity"] < 0.9
    assert found["neighbour_purity/sentiment"] == 1 > found["neighbour_purity/sentiment_by_chance"]
    assert 0 < found["mean_cosine"] < 1
    assert not any("score" in name for name in found)
    sample.vectors = {row: sample.vectors[row] for row in rows[:2]}
    assert sample.health(data) == {}
