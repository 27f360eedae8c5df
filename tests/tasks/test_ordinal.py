import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, mean_absolute_error

from lit_mtl.errors import ConfigError
from lit_mtl.tasks import Ordinal
from lit_mtl.tasks.base import Target

TASK = Ordinal(low=1, high=5)


def random_rows() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    output = torch.randn(300, 4, generator=random) * 2
    return output, torch.randint(1, 6, (300,), generator=random)


@given(st.lists(st.lists(st.floats(-60, 60), min_size=4, max_size=4), min_size=1, max_size=5))
def test_the_probability_of_reaching_a_level_never_rises(rows: list[list[float]]) -> None:
    probabilities = TASK.predict(torch.tensor(rows, dtype=torch.float64))
    reached = probabilities.flip(-1).cumsum(-1).flip(-1)
    assert bool((probabilities >= 0).all())
    assert bool((reached.diff(dim=-1) <= 0).all())
    assert reached[:, 0].tolist() == pytest.approx([1.0] * len(rows))


def test_row_loss_is_the_sum_over_the_levels_that_are_reached_by_hand() -> None:
    """CORN: one binary cross-entropy for each level that a sentence reaches, but the last."""
    logits = torch.tensor([0.3, -0.7, 1.1, 0.2], dtype=torch.float64)
    beyond = [float(torch.sigmoid(z + math.log(4 - step))) for step, z in enumerate(logits)]
    for level in TASK.levels:
        expected = -sum(math.log(p) for p in beyond[: level - 1])
        if level < 5:
            expected -= math.log(1 - beyond[level - 1])
        found = TASK.row_loss(logits[None], torch.tensor([level]))
        assert float(found) == pytest.approx(expected)
        assert float(TASK.predict(logits[None])[0, level - 1]) == pytest.approx(math.exp(-expected))


def test_a_head_that_knows_nothing_finds_all_levels_equally_likely() -> None:
    assert TASK.predict(torch.zeros(1, 4))[0].tolist() == pytest.approx([0.2] * 5)
    loss = TASK.row_loss(torch.zeros(5, 4), torch.arange(1, 6))
    assert loss.tolist() == pytest.approx([math.log(5)] * 5)


def test_a_temperature_takes_roots_of_the_levels_probabilities() -> None:
    output, _ = random_rows()
    powers = TASK.predict(output.double()) ** (1 / 3)
    expected = powers / powers.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(replace(TASK, temperature=3.0).predict(output.double()), expected)
    # hotter and hotter, all levels become equally likely
    hot = replace(TASK, temperature=1e6).predict(output)
    torch.testing.assert_close(hot, torch.full((300, 5), 0.2), atol=1e-4, rtol=0)


def test_the_likeliest_level_is_the_claim() -> None:
    task = replace(TASK, temperature=2.0)
    output, target = random_rows()
    stated, came_true = task.claims(output, target)
    for row, probabilities in enumerate(task.predict(output)):
        decoded = task.decode(probabilities)
        assert float(stated[row]) == decoded["probabilities"][str(decoded["level"])]
        assert bool(came_true[row]) == (decoded["level"] == target[row])
    assert 0 < float(came_true.mean()) < 1


def test_metrics_agree_with_scikit_learn_and_scipy() -> None:
    output, target = random_rows()
    probabilities = TASK.predict(output)
    likeliest = probabilities.argmax(-1) + 1
    expected = {
        "spearman": spearmanr(probabilities @ torch.arange(1.0, 6.0), target).statistic,
        "kappa_quadratic": cohen_kappa_score(likeliest, target, weights="quadratic"),
        "accuracy": accuracy_score(target, likeliest),
        "mae": mean_absolute_error(target, likeliest),
    }
    assert TASK.metrics(output, target) == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(TASK.confusion(output, target), confusion_matrix(target, likeliest))


def test_metrics_are_none_where_the_rows_do_not_define_them() -> None:
    output, _ = random_rows()
    names = ("spearman", "kappa_quadratic", "accuracy", "mae")
    assert TASK.metrics(output[:0], torch.zeros(0, dtype=torch.int64)) == dict.fromkeys(names)
    one_level = TASK.metrics(output, torch.full((300,), 3))
    assert (one_level["spearman"], one_level["kappa_quadratic"]) == (None, None)
    assert one_level["accuracy"] is not None
    constant = TASK.metrics(torch.zeros(2, 4), torch.tensor([1, 3]))
    assert constant["spearman"] is None


def test_decoding_gives_expectation_likeliest_level_and_probabilities() -> None:
    decoded = TASK.decode(torch.tensor([0.0, 0.1, 0.2, 0.4, 0.3]))
    assert decoded["level"] == 4
    assert decoded["score"] == pytest.approx(3.9)
    assert decoded["probabilities"] == pytest.approx(
        {"1": 0.0, "2": 0.1, "3": 0.2, "4": 0.4, "5": 0.3}
    )


def test_levels_come_from_the_data_where_they_are_not_declared() -> None:
    assert list(Ordinal().resolve(["2", "4.0", "x", "2.5"]).levels) == [2, 3, 4]
    assert list(Ordinal(low=0).resolve(["2"]).levels) == [0, 1, 2]
    assert TASK.resolve(["77"]) is TASK
    with pytest.raises(ConfigError, match="differ"):
        Ordinal().resolve(["2", "2"])
    assert Ordinal().resolve(["x"]).is_open
    with pytest.raises(ConfigError, match="not known"):
        _ = Ordinal(low=1).output_dim


@given(st.lists(st.integers(1, 5), min_size=1, max_size=7))
def test_several_rows_have_the_lower_median_and_levels_are_read_back(levels: list[int]) -> None:
    targets: list[Target] = [TASK.encode(str(level)) for level in levels]
    merged = TASK.merge(targets)
    assert merged == np.quantile(levels, 0.5, method="lower")
    assert TASK.encode(TASK.describe(merged or 0)) == merged


@pytest.mark.parametrize("text", ["0", "6", "2.5", "three", "", "1e9"])
def test_what_is_no_level_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        TASK.encode(text)


def test_a_level_may_be_written_as_a_decimal() -> None:
    assert TASK.encode("3.0") == 3
    with pytest.raises(ValueError, match="kind regression"):
        TASK.encode("3.5")


def test_a_summary_counts_every_level() -> None:
    assert TASK.summary([1, 5, 5])["labels"] == {"1": 1, "2": 0, "3": 0, "4": 0, "5": 2}


def test_wrong_declarations_are_refused_and_other_levels_are_other_outputs() -> None:
    with pytest.raises(ConfigError, match="low=3, high=3"):
        Ordinal(low=3, high=3)
    assert not TASK.same_outputs(Ordinal(low=0, high=5))
