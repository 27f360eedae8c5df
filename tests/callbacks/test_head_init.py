"""Fitted heads are the best linear ones on the untouched encoder; nothing else of the run changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from lit_mtl.callbacks.head_init import HeadInit
from lit_mtl.callbacks.staged_freezing import network_of
from lit_mtl.data.corpus import labelled_rows, targets_of
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.errors import ConfigError
from lit_mtl.model.multitask import MultiTaskModel
from lit_mtl.tasks import Classification, Regression
from tests.conftest import Run, example_data
from tests.recipes import State, States, fitted
from tests.runs import last_state, run_folder
from tests.test_every_kind import COLUMNS, config, reviews, table, words

L2 = 0.2


class Beginning(Callback):
    """Keeps the network as it is before the first step, and each batch's rows and the draws then."""

    def __init__(self) -> None:
        self.network: MultiTaskModel | None = None
        self.rows: list[list[int]] = []
        self.draws: list[bytes] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        network = network_of(pl_module)
        self.network = MultiTaskModel.from_spec(network.spec()).double().eval()
        self.network.load_state_dict(network.state_dict())

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.rows.append(batch["row_id"].tolist())
        self.draws.append(torch.random.get_rng_state().numpy().tobytes())

    @property
    def state(self) -> State:
        assert self.network is not None
        return self.network.state_dict()

    def embeddings(self, data: SentimentDataModule, task: str) -> tuple[Tensor, Any]:
        """Those of a task's labelled training rows, and their targets."""
        assert data.corpus is not None
        assert self.network is not None
        dataset = data.corpus.splits["train"]
        batch = data.batch_of("train", labelled_rows(dataset, task).tolist())
        with torch.no_grad():
            found = self.network(batch["input_ids"], batch["attention_mask"])
        return found.sentence_embedding, targets_of(dataset, task)


def head(state: State, task: str) -> tuple[Tensor, Tensor]:
    return state[f"heads.{task}.1.weight"], state[f"heads.{task}.1.bias"]


def alpha(x: Tensor) -> float:
    """What L2 is as scikit-learn's weight of |w|^2 / 2 in a sum over the rows."""
    return len(x) * L2 * float((x - x.mean(dim=0)).square().mean())


@pytest.mark.parametrize("normalize", [False, True])
def test_the_heads_are_those_of_scikit_learn(tiny_bert: Path, normalize: bool) -> None:
    data, beginning = example_data(tiny_bert), Beginning()
    model = {"normalize": normalize}
    fitted(tiny_bert, HeadInit("fitted", L2), beginning, data=data, model=model, max_epochs=1)
    x, y = beginning.embeddings(data, "sentiment")
    weight, bias = head(beginning.state, "sentiment")
    # of two labels it has one weight, w, where the head has two: w / 2 and -w / 2
    logistic = LogisticRegression(C=2 / alpha(x), tol=1e-10, max_iter=10_000).fit(x, y)
    found = (x @ weight.T + bias).softmax(dim=-1)
    np.testing.assert_allclose(found[:, 1], logistic.predict_proba(x)[:, 1], atol=1e-6)

    x, y = beginning.embeddings(data, "score")
    weight, bias = head(beginning.state, "score")
    task = data.tasks["score"]
    assert isinstance(task, Regression)
    z = (y - task.center) / task.scale
    ridge = Ridge(alpha=alpha(x) / 2, tol=1e-12).fit(x, z)
    np.testing.assert_allclose((x @ weight.T + bias)[:, 0], ridge.predict(x), atol=1e-6)
    assert np.std(ridge.predict(x)) > 0.1


def test_the_loss_of_the_first_step_is_that_of_the_fit(steady_bert: Path) -> None:
    """With all rows in one batch, whose labelled rows are those that were fitted."""
    data, beginning = example_data(steady_bert, batch_size=500), Beginning()
    states = States("train/sentiment/loss", "train/score/loss")
    found = {}
    for method in ("random", "fitted"):
        states = States("train/sentiment/loss", "train/score/loss")
        fitted(
            steady_bert,
            HeadInit(method, 1e-4),
            beginning,
            states,
            data=example_data(steady_bert, batch_size=500) if method == "random" else data,
            model={"head_dropout": 0.0},
            max_epochs=1,
            log_every_n_steps=1,
        )
        found[method] = [states.logged[key][0] for key in states.keys]
    for loss, other, name in zip(found["fitted"], found["random"], data.tasks, strict=True):
        x, y = beginning.embeddings(data, name)
        weight, bias = head(beginning.state, name)
        target = torch.tensor(y, dtype=data.tasks[name].target_dtype)
        expected = data.tasks[name].row_loss(x @ weight.T + bias, target).mean()
        assert loss == pytest.approx(float(expected), rel=1e-6)
        assert loss < other / 2


def test_batches_random_draws_and_the_rest_of_the_network_are_those_without(
    tiny_bert: Path,
) -> None:
    runs = []
    for method in ("random", "fitted"):
        beginning = Beginning()
        fitted(tiny_bert, HeadInit(method), beginning)
        runs.append(beginning)
    one, other = runs
    assert one.rows == other.rows
    assert one.draws == other.draws
    differing = {name for name in one.state if not torch.equal(one.state[name], other.state[name])}
    assert differing == {name for name in one.state if name.startswith("heads.")}


def test_what_has_no_weight_or_no_rows_begins_at_random(tiny_bert: Path) -> None:
    tasks = {"sentiment": Classification(), "score": Regression(low=-4, high=4, weight=0.0)}
    states = []
    for method in ("random", "fitted"):
        beginning = Beginning()
        data = example_data(tiny_bert, tasks=tasks)
        fitted(tiny_bert, HeadInit(method), beginning, data=data, max_epochs=1)
        states.append(beginning.state)
    assert torch.equal(head(states[0], "score")[0], head(states[1], "score")[0])
    assert not torch.equal(head(states[0], "sentiment")[0], head(states[1], "sentiment")[0])


@pytest.mark.slow
def test_every_kind_begins_fitted_and_a_continued_run_does_not_fit_again(
    steady_bert: Path, tmp_path: Path, lit_mtl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--config", str(config(tmp_path)), *words(steady_bert)]
    arguments += ["--head_init.method=fitted", "--checkpoint.every_n_steps=4"]
    table(tmp_path / "reviews.csv", reviews())
    calls = []
    fit = HeadInit._fit

    def counted(self: HeadInit, trainer: Trainer, name: str, *rest: Any) -> None:
        calls.append(name)
        fit(self, trainer, name, *rest)

    monkeypatch.setattr(HeadInit, "_fit", counted)
    assert lit_mtl("fit", *arguments) == 0
    assert sorted(calls) == sorted(COLUMNS[1:])
    state = sorted((run_folder(tmp_path) / "checkpoints").glob("step_*.ckpt"))[0]
    assert lit_mtl("fit", *arguments, f"--ckpt_path={state}") == 0
    assert len(calls) == len(COLUMNS) - 1
    ends = [last_state(run_folder(tmp_path, version)) for version in (0, 1)]
    for key, value in ends[0].items():
        if isinstance(value, Tensor):
            assert torch.equal(value, ends[1][key]), key


def test_another_way_is_refused_where_a_run_goes_on(
    fit_arguments: list[str], lit_mtl: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments, "--trainer.max_epochs=1") == 0
    again = ["fit", *fit_arguments, "--trainer.max_epochs=1", "--ckpt_path=auto"]
    assert lit_mtl(*again, "--head_init.method=fitted") == 2
    assert "head_init.method: 'random' there, 'fitted' here" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"method": "best"}, {"l2": 0.0}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        HeadInit(**wrong)
