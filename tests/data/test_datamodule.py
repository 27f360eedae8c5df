import json
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lit_mtl.callbacks.checkpointing import Checkpointing
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.data.sources import Source
from lit_mtl.data.splits import SPLITS
from lit_mtl.errors import ConfigError, DataError, MissingInputError
from lit_mtl.tasks import AnyTask, Classification, Regression
from tests.callbacks.test_staged_freezing import KeepEpoch
from tests.conftest import EXAMPLE_FILES, example_data
from tests.data.archive import small_corpora
from tests.data.test_readers import write
from tests.processes import finished
from tests.recipes import fitted


def module(path: Path | None, tiny_bert: Path, **options: Any) -> SentimentDataModule:
    return example_data(tiny_bert, path=path, **{"batch_size": 32, **options})


def test_a_batch_holds_ids_masks_and_targets_of_its_rows(tiny_bert: Path) -> None:
    data = module(EXAMPLE_FILES, tiny_bert, batch_size=6)
    data.setup("fit")
    assert data.corpus is not None
    examples = data.corpus.splits["train"][:]
    seen = []
    for batch in data.train_dataloader():
        assert batch["input_ids"].shape == batch["attention_mask"].shape
        assert batch["attention_mask"].any(dim=0).all(), "no column is padding only"
        for index, row in enumerate(batch["row_id"].tolist()):
            seen.append(row)
            ids = batch["input_ids"][index][batch["attention_mask"][index].bool()].tolist()
            assert ids == data.tokenizer(examples["text"][row])["input_ids"]
            for name in ("sentiment", "score"):
                expected = examples[f"target.{name}"][row]
                assert bool(batch["labelled"][name][index]) == (expected is not None)
                target = batch["targets"][name][index].item()
                assert target == pytest.approx(0 if expected is None else expected)
    assert sorted(seen) == list(range(len(examples["text"])))


def test_the_three_splits_are_apart_and_complete(tiny_bert: Path) -> None:
    data = module(EXAMPLE_FILES, tiny_bert)
    data.setup("fit")
    assert data.corpus is not None
    texts = [set(data.corpus.splits[split]["text"]) for split in SPLITS]
    assert sum(map(len, texts)) == len(set.union(*texts)) == 44


def test_only_labels_only_scores_and_both(tiny_bert: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    for name in ("positive", "negative"):
        (labels / f"{name}.txt").write_bytes((EXAMPLE_FILES / f"{name}.txt").read_bytes())
    found = []
    for path in (labels, EXAMPLE_FILES / "scores.tsv", EXAMPLE_FILES):
        data = module(path, tiny_bert)
        data.setup("fit")
        found.append(sorted(data.tasks))
    assert found == [["sentiment"], ["score"], ["score", "sentiment"]]


def test_several_tasks_of_one_kind_by_naming_their_files(tiny_bert: Path, tmp_path: Path) -> None:
    topics = tmp_path / "topics"
    topics.mkdir()
    for label in ("sport", "film", "food"):
        (topics / f"{label}.txt").write_text("".join(f"{label} {n}\n" for n in range(9)))
    data = module(
        None,
        tiny_bert,
        sources={
            "examples": Source(path=str(EXAMPLE_FILES), tasks={"sentiment": "label"}),
            "topics": Source(path=str(topics), tasks={"topic": "label"}),
        },
        tasks={"sentiment": Classification(), "topic": Classification()},
    )
    data.setup("fit")
    assert data.tasks["topic"] == Classification(labels=("film", "food", "sport"))
    assert data.tasks["sentiment"] == Classification(labels=("negative", "positive"))


def test_long_sentences_are_cut_and_counted(tiny_bert: Path) -> None:
    counts = []
    for limit in (8, 128):
        data = module(EXAMPLE_FILES, tiny_bert, max_length=limit)
        data.setup("fit")
        assert data.corpus is not None
        lengths = np.concatenate([data.corpus.lengths(split) for split in SPLITS])
        assert lengths.max() <= limit
        counts.append((data.corpus.truncated.count, lengths))
    assert counts[0][0] == (counts[1][1] > 8).sum() > 0
    assert counts[1][0] == 0


def test_a_limit_that_the_model_cannot_take_is_named(tiny_bert: Path) -> None:
    with pytest.warns(UserWarning, match=r"`data.max_length` is 200, but .* at most 128 tokens"):
        data = module(EXAMPLE_FILES, tiny_bert, max_length=200)
    assert data.tokenizer.model_max_length == 128
    module(EXAMPLE_FILES, tiny_bert, max_length=128)


def test_a_file_that_changes_in_the_training_changes_nothing_in_this_run(
    tiny_bert: Path, tmp_path: Path
) -> None:
    table = write(tmp_path / "a.tsv", "text\tscore\n" + "".join(f"t {n}\t1\n" for n in range(40)))
    data = module(table, tiny_bert, cache_dir=str(tmp_path / "cache"))
    data.prepare_data()
    data.setup("fit")
    before = data.state_dict()
    with table.open("a") as file:
        file.write("one more\t2\n")
    data.prepare_data()  # as the Trainer does again for the validation at the end
    data.setup("validate")
    assert data.state_dict() == before
    assert len(list((tmp_path / "cache").iterdir())) == 1, "it is not prepared again"
    assert sum(len(batch["row_id"]) for batch in data.val_dataloader()) > 0


def test_sources_are_mixed_as_asked(tiny_bert: Path, tmp_path: Path) -> None:
    for name, rows in (("large", 300), ("small", 60)):
        lines = "".join(f"{name} {n}\t{n % 5 - 2}\n" for n in range(rows))
        (tmp_path / f"{name}.tsv").write_text(f"text\tscore\n{lines}")
    sources = {name: Source(path=str(tmp_path / f"{name}.tsv")) for name in ("large", "small")}

    def drawn(**options: Any) -> list[int]:
        data = module(None, tiny_bert, sources=sources, **options)
        data.setup("fit")
        assert data.corpus is not None
        source = data.corpus.source_of("train")
        rows = torch.cat([batch["row_id"] for batch in data.train_dataloader()])
        return [int(count) for count in np.bincount(source[rows.numpy()])]

    plain, uniform = drawn(), drawn(mixing="uniform")
    assert plain[0] > 4 * plain[1]
    assert abs(uniform[0] - uniform[1]) <= 1
    assert sum(uniform) == sum(plain)
    assert uniform[0] < drawn(mixing="temperature", mixing_temperature=2.0)[0] < plain[0]


def test_an_empty_split_is_refused_by_name(tiny_bert: Path) -> None:
    for name, split in (("val_fraction", "val"), ("test_fraction", "test")):
        few = module(EXAMPLE_FILES, tiny_bert, **{name: 1e-9})
        with pytest.raises(ConfigError, match=f"{split} split holds no sentence"):
            few.setup("fit")
    module(EXAMPLE_FILES, tiny_bert, test_fraction=0.0).setup("fit")


def test_two_tasks_cannot_learn_from_one_column(tiny_bert: Path) -> None:
    table = str(EXAMPLE_FILES / "scores.tsv")
    tasks: dict[str, AnyTask] = {"a": Regression(low=-4, high=4), "b": Regression(low=-4, high=4)}
    data = module(None, tiny_bert, sources={"all": Source(path=table)}, tasks=tasks)
    with pytest.raises(ConfigError, match="'a' and 'b' would both learn"):
        data.setup("fit")


def test_tables_that_no_task_learns_from_are_named(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.tsv").write_bytes((EXAMPLE_FILES / "scores.tsv").read_bytes())
    (tmp_path / "other.csv").write_text("text,remark\n")
    data = module(tmp_path, tiny_bert)
    data.setup("fit")
    assert data.corpus is not None
    assert data.corpus.unused == [str(tmp_path / "other.csv")]


def test_a_budget_of_tokens_takes_the_place_of_a_number_of_rows_or_joins_it(
    tiny_bert: Path,
) -> None:
    sizes = {}
    for most in (None, 4):
        data = module(EXAMPLE_FILES, tiny_bert, batch_size=most, batch_tokens=256)
        data.setup("fit")
        assert data.corpus is not None
        batches = list(data.train_dataloader())
        assert len(batches) == len(data.train_dataloader())
        rows = [row for batch in batches for row in batch["row_id"].tolist()]
        assert sorted(rows) == list(range(len(rows)))
        for batch in batches:
            assert batch["input_ids"].numel() <= 256
            assert batch["tokens"] == int(batch["attention_mask"].sum())
        sizes[most] = {len(batch["row_id"]) for batch in batches}
        assert {len(batch["row_id"]) for batch in data.val_dataloader()} == {
            len(data.corpus.splits["val"])
        }
    assert max(sizes[4]) == 4 < max(sizes[None])
    assert SentimentDataModule(str(EXAMPLE_FILES)).batch_size == 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": None, "batch_tokens": 127}, "`max_length`, 128, but got 127"),
        ({"batch_size": 43, "batch_tokens": 128}, "got 43: so many rows of 3 tokens"),
    ],
)
def test_a_budget_that_contradicts_other_settings_is_refused(
    options: dict[str, Any], message: str, tiny_bert: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        module(EXAMPLE_FILES, tiny_bert, **options)


def test_a_worker_makes_the_batch_with_one_row_too_many(tiny_bert: Path) -> None:
    """Where ranks outnumber the rest of the rows, some of them get one more than `batch_size`."""
    data = module(EXAMPLE_FILES, tiny_bert, batch_size=1, num_workers=1)
    data.setup("fit")
    data.trainer = cast(Trainer, SimpleNamespace(global_rank=0, world_size=20))
    assert [len(batch["row_id"]) for batch in data.train_dataloader()] == [2]


def test_wrong_settings_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    for name in ("batch_size", "eval_batch_size", "max_length"):
        with pytest.raises(ConfigError, match=f"`{name}`"):
            module(EXAMPLE_FILES, tiny_bert, **{name: 0})
    with pytest.raises(ConfigError, match="but got both"):
        module(EXAMPLE_FILES, tiny_bert, sources={"score": Source(path="x")})
    with pytest.raises(ConfigError, match="`tokenizer`"):
        SentimentDataModule(str(EXAMPLE_FILES)).setup("fit")
    with pytest.raises(ConfigError, match=r"data\.path"):
        module(None, tiny_bert).setup("fit")
    with pytest.raises(MissingInputError, match="nowhere"):
        module(None, tiny_bert, sources={"a": Source(path="nowhere.tsv")}).setup("fit")
    table = tmp_path / "a.tsv"
    table.write_text("text\tscore\na\t9\n")
    with pytest.raises(DataError, match=r"a\.tsv:2"):
        module(table, tiny_bert, tasks={"score": Regression(low=0, high=1)}).setup("fit")


def test_corpora_are_fetched_for_each_source_that_names_one(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`corpus` alone is the short form of one source; what was fetched may be named by its path."""
    archive = str(small_corpora(tmp_path, monkeypatch))
    prints = []

    def fetched(**options: Any) -> dict[str, str]:
        data = module(None, tiny_bert, corpus_archive=archive, cache_dir="cache", **options)
        data.prepare_data()
        data.setup("fit")
        assert data.corpus is not None
        prints.append(data.corpus.fingerprint)
        return {name: source.place for name, source in data.sources.items()}

    assert fetched(corpus="tweets") == {"data": "data/tweets"}
    assert fetched(sources={"t": Source(corpus="tweets", path="t")}) == {"t": "t"}
    assert fetched(sources={"data": Source(path="data/tweets")}) == {"data": "data/tweets"}
    assert len(set(prints)) == 1
    assert len(list(Path("cache").iterdir())) == 2, "the first and the last are one"
    assert sorted(path.name for path in Path("data").iterdir()) == ["tweets"]
    # but a corpus that is grouped by its documents is not its files without groups
    assert fetched(corpus="nyt") == fetched(sources={"data": Source(path="data/nyt")})
    assert prints[-2] != prints[-1]
    assert len(list(Path("cache").iterdir())) == 4
    assert (Path("t") / "scores.tsv").read_bytes() == Path("data/tweets/scores.tsv").read_bytes()
    with pytest.raises(ConfigError, match="but got both"):
        module(None, tiny_bert, corpus="nyt", sources={"a": Source(corpus="nyt")})


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("raises", 65, r"own_files/\w+\.\w+:\d+.*no batch could be made.*a broken row"),
        ("dies", 1, r"own_files/\w+\.\w+:\d+, .*: a worker .* has failed.*num_workers: 0"),
        ("hangs", 1, r"own_files/\w+\.\w+:\d+, .*: a worker .* has failed.*num_workers: 0"),
    ],
)
def test_f13_a_worker_that_fails_ends_the_run_with_a_message(
    how: str, code: int, message: str, fit_arguments: list[str], tmp_path: Path
) -> None:
    words = ["fit", *fit_arguments, "--data.num_workers=1", "--data.worker_timeout=3"]
    words += ["--trainer.callbacks+=tests.faults.BadWorker"]
    words += [f"--trainer.callbacks.init_args.how={how}", "--trainer.num_sanity_val_steps=0"]
    output = tmp_path / "output.txt"
    assert finished(words, folder=tmp_path, output=output) == code, output.read_text()
    assert re.search(message, output.read_text())


def test_a_second_fit_begins_with_the_first_batch_of_the_first_epoch(tiny_bert: Path) -> None:
    """Also after one that has ended with an error within an epoch."""
    data, orders = example_data(tiny_bert), []

    class Rows(Callback):
        def __init__(self, *, fails: bool) -> None:
            self.fails = fails
            self.seen: list[list[int]] = []

        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            self.seen.append(batch["row_id"].tolist())
            if self.fails and batch_idx == 2:
                raise ZeroDivisionError

    for fails in (False, True, False):
        rows = Rows(fails=fails)
        with pytest.raises(ZeroDivisionError) if fails else nullcontext():
            fitted(tiny_bert, rows, Checkpointing(), data=data, max_epochs=1)
        orders.append(rows.seen)
    assert orders[1] == orders[0][:3]
    assert orders[2] == orders[0]


def test_a_second_module_has_its_own_tokens(tiny_bert: Path, tmp_path: Path) -> None:
    """As in a loop over backbones with one datamodule."""
    other = tmp_path / "other"
    shutil.copytree(tiny_bert, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    plain = [word for word in words if word.isalpha()]
    for one, two in zip(plain, reversed(plain), strict=True):
        words[one] = json.loads((tiny_bert / "tokenizer.json").read_text())["model"]["vocab"][two]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    data = SentimentDataModule(str(EXAMPLE_FILES), batch_size=8, max_length=12)
    seen = []
    for backbone in (tiny_bert, other, other):
        module, _ = fitted(backbone, data=data, max_epochs=1)
        assert data.tokenizer is module.tokenizer
        assert module.tokenizer.model_max_length == 12
        assert data.corpus is not None
        rows = data.corpus.splits["train"][:]
        for text, ids in zip(rows["text"], rows["input_ids"], strict=True):
            assert ids == module.tokenizer(text, truncation=True)["input_ids"]
        seen.append(rows["input_ids"])
    assert seen[0] != seen[1] == seen[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contradictions": "Drop"}, "one of error, drop, keep, but got 'Drop'"),
        ({"mixing": "even"}, "one of proportional, temperature, uniform, weights, but got 'even'"),
        ({"tasks": {"x": "classification"}}, "the task 'x' to be one"),
        ({"path": None, "sources": {"a": "folder"}}, "the source 'a' to be a Source"),
    ],
)
def test_a_wrong_argument_from_python_is_named(
    options: dict[str, Any], message: str, tiny_bert: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        SentimentDataModule(**{"path": str(EXAMPLE_FILES), **options})


def test_a_checkpoint_without_a_position_is_told_of(tiny_bert: Path, tmp_path: Path) -> None:
    fitted(tiny_bert, KeepEpoch(tmp_path / "plain.ckpt", epoch=1))
    with pytest.warns(UserWarning, match="made without the callback `Checkpointing`"):
        fitted(tiny_bert, ckpt_path=tmp_path / "plain.ckpt")


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch")
@pytest.mark.parametrize("options", [{"batch_size": 7}, {"seed": 5}, {"batch_tokens": 512}])
def test_a_run_from_python_goes_on_in_the_same_order_only(
    options: dict[str, Any], tiny_bert: Path, tmp_path: Path
) -> None:
    def checkpointing() -> Checkpointing:
        return Checkpointing(dirpath=str(tmp_path / "run"), every_n_steps=1, keep=20)

    fitted(tiny_bert, checkpointing())
    at = tmp_path / "run" / "step_3.ckpt"
    with pytest.raises(ConfigError, match=f"data's {next(iter(options))}: "):
        fitted(tiny_bert, checkpointing(), ckpt_path=at, data=example_data(tiny_bert, **options))
    fitted(tiny_bert, checkpointing(), ckpt_path=at)
