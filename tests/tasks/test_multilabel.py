from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from lit_mtl.errors import ConfigError
from lit_mtl.tasks import Multilabel, task_from_spec
from lit_mtl.tasks.base import Target

TASK = Multilabel(labels=("a", "b", "c"))
ODD = Multilabel(labels=("x|y", "[z]", "plain"))


def random_rows(labels: int = 4) -> tuple[Multilabel, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(200, labels, generator=random)
    target = (torch.rand(200, labels, generator=random) < 0.3).float()
    return Multilabel(labels=tuple("abcdefg"[:labels])), logits, target


def test_metrics_agree_with_scikit_learn() -> None:
    task, logits, target = random_rows()
    predicted = task.predict(logits) > 0.5
    assert task.metrics(logits, target) == pytest.approx(
        {
            "f1_macro": f1_score(target, predicted, average="macro"),
            "f1_micro": f1_score(target, predicted, average="micro"),
            "auroc_macro": roc_auc_score(target, logits, average="macro"),
            "subset_accuracy": accuracy_score(target, predicted),
        }
    )


def test_a_label_that_defines_no_metric_is_left_out_of_the_means() -> None:
    task, logits, target = random_rows()
    logits[:, 0], target[:, 0] = -9.0, 0.0  # neither there nor predicted
    target[:, 1] = 1.0
    predicted = task.predict(logits) > 0.5
    found = task.metrics(logits, target)
    macro = f1_score(target, predicted, average="macro", zero_division=np.nan)
    assert found["f1_macro"] == pytest.approx(macro)
    assert found["auroc_macro"] == pytest.approx(roc_auc_score(target[:, 2:], logits[:, 2:]))
    nothing = task.metrics(torch.full((5, 4), -9.0), torch.zeros(5, 4))
    expected = {"f1_macro": None, "f1_micro": None, "auroc_macro": None, "subset_accuracy": 1.0}
    assert nothing == expected


def test_the_threshold_decides_in_decoding_and_in_metrics() -> None:
    probability = torch.tensor([[0.3, 0.6, 0.9]])
    for threshold, labels in ((0.5, ["b", "c"]), (0.7, ["c"]), (0.2, ["a", "b", "c"])):
        task = Multilabel(labels=("a", "b", "c"), threshold=threshold)
        assert task.decode(probability[0])["labels"] == labels
        target = torch.tensor([task.encode("|".join(labels))])
        assert task.metrics(probability.logit(), target)["subset_accuracy"] == 1.0
    decoded = TASK.decode(probability[0])["probabilities"]
    assert decoded == pytest.approx({"a": 0.3, "b": 0.6, "c": 0.9})


def test_a_temperature_divides_every_logit_and_moves_labels_at_no_threshold_but_a_half() -> None:
    logits = torch.tensor([[1.2, -0.3, -1.5]], dtype=torch.float64)
    for threshold, before, after in (
        (0.5, ["a"], ["a"]),
        (0.35, ["a", "b"], ["a", "b"]),
        (0.3, ["a", "b"], ["a", "b", "c"]),
        (0.7, ["a"], []),
    ):
        task = Multilabel(labels=("a", "b", "c"), threshold=threshold)
        cold = replace(task, temperature=2.0)
        stated = cold.predict(logits)
        assert stated[0].tolist() == pytest.approx((1 / (1 + np.exp([-0.6, 0.15, 0.75]))).tolist())
        assert task.decode(task.predict(logits)[0])["labels"] == before
        assert cold.decode(stated[0])["labels"] == after
        target = torch.tensor([task.encode("|".join(before))])
        assert cold.metrics(logits, target)["subset_accuracy"] == 1.0


def test_each_label_is_a_claim() -> None:
    task = replace(TASK, temperature=2.0)
    logits = torch.tensor([[2.0, 0.0, -2.0], [4.0, -4.0, 0.0]])
    stated, came_true = task.claims(logits, torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]))
    assert torch.equal(stated, torch.tensor([1.0, 0.0, -1.0, 2.0, -2.0, 0.0]).sigmoid())
    assert came_true.tolist() == [1, 0, 0, 0, 1, 1]


def test_row_loss_is_the_mean_cross_entropy_by_hand() -> None:
    loss = TASK.row_loss(torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    expected = (2 * np.log(2) + np.log(1 + np.exp(2.0))) / 3
    assert float(loss) == pytest.approx(expected)


def test_balanced_weights_by_hand_keep_the_loss_on_its_scale() -> None:
    targets: list[Target] = [(1.0, 1.0), (0.0, 1.0), (0.0, 1.0), (0.0, 0.0)]
    task = Multilabel(labels=("a", "b"), pos_weight="balanced").fit(targets)
    assert task.pos_weight == pytest.approx({"a": 3.0, "b": 1 / 3})
    logits = torch.tensor([[1.0, -1.0]])
    log_p, log_q = np.log(1 / (1 + np.exp(-1))), np.log(1 / (1 + np.exp(1)))
    both = task.row_loss(logits, torch.tensor([[1.0, 1.0]]))
    none = task.row_loss(logits, torch.tensor([[0.0, 0.0]]))
    assert float(both) == pytest.approx(-(2 * log_p + 2 / 3 * log_q) / 2)
    assert float(none) == pytest.approx(-(2 / 3 * log_q + 2 * log_p) / 2)
    at_zero = task.row_loss(torch.zeros(4, 2), torch.tensor(targets)).mean()
    assert float(at_zero) == pytest.approx(np.log(2))
    assert task.fit([(1.0, 1.0)]) == task, "measured once"


def test_a_label_that_all_or_no_training_rows_have_cannot_be_balanced() -> None:
    task = Multilabel(labels=("a", "b"), pos_weight="balanced")
    with pytest.raises(ConfigError, match="none with b"):
        task.fit([(1.0, 0.0), (0.0, 0.0)])
    with pytest.raises(ConfigError, match="none without a"):
        task.fit(np.array([[1.0, 0.0], [1.0, 1.0]]))
    with pytest.raises(ConfigError, match="not known before"):
        task.row_loss(torch.zeros(1, 2), torch.zeros(1, 2))


def test_labels_come_from_all_cells_sorted() -> None:
    assert Multilabel().resolve(["c|a", '["b"]', "[]", "x||"]).labels == ("a", "b", "c")
    with pytest.raises(ConfigError, match="one or more"):
        Multilabel().resolve(["[]"])
    assert Multilabel().resolve(["||"]).is_open


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4))
def test_encode_reads_what_describe_says_and_merge_is_the_union(rows: list[list[bool]]) -> None:
    for task in (TASK, ODD):
        targets: list[Target] = [tuple(map(float, row)) for row in rows]
        assert [task.encode(task.describe(target)) for target in targets] == targets
        union = [any(row[label] for row in rows) for label in range(3)]
        assert task.merge(targets) == tuple(map(float, union))


def test_unknown_labels_and_broken_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="out of a, b, c; found d, e"):
        TASK.encode("e|a|d")
    for cell in ("a||b", "[", '["a"', "[1, null]", "[[]]"):
        with pytest.raises(ValueError, match="expected"):
            TASK.encode(cell)


def test_a_summary_counts_labels_and_rows_with_none() -> None:
    found = TASK.summary([(1.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0)])
    assert found == {"labels": {"a": 2, "b": 1, "c": 0}, "without_label": 1}


def test_wrong_declarations_are_refused() -> None:
    for threshold in (0.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="threshold"):
            Multilabel(threshold=threshold)
    with pytest.raises(ConfigError, match=r"pos_weight.*'even'"):
        task_from_spec({"kind": "multilabel", "pos_weight": "even"})
    assert not TASK.same_outputs(Multilabel(labels=("a", "b", "c"), threshold=0.4))
