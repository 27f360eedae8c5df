import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, roc_auc_score

from lit_mtl.errors import ConfigError
from lit_mtl.tasks import Classification


def random_rows(classes: int) -> tuple[Classification, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(classes)
    task = Classification(labels=tuple(f"label{index}" for index in range(classes)))
    logits = torch.randn(200, classes, generator=random)
    target = torch.randint(classes, (200,), generator=random)
    return task, logits, target


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_metrics_agree_with_scikit_learn(classes: int) -> None:
    task, logits, target = random_rows(classes)
    predicted, probabilities = logits.argmax(-1), task.predict(logits).numpy()
    auroc = (
        roc_auc_score(target, probabilities[:, 1])
        if classes == 2
        else roc_auc_score(target, probabilities, multi_class="ovr", average="macro")
    )
    expected = {
        "accuracy": accuracy_score(target, predicted),
        "f1_macro": f1_score(target, predicted, average="macro"),
        "auroc": auroc,
    }
    assert task.metrics(logits, target) == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(task.confusion(logits, target), confusion_matrix(target, predicted))


def test_metrics_are_none_where_the_rows_do_not_define_them() -> None:
    task, logits, _ = random_rows(2)
    nothing = task.metrics(logits[:0], torch.zeros(0, dtype=torch.int64))
    assert nothing == {"accuracy": None, "f1_macro": None, "auroc": None}
    one_class = task.metrics(logits, torch.zeros(200, dtype=torch.int64))
    assert one_class["auroc"] is None
    assert one_class["accuracy"] == pytest.approx(float((logits.argmax(-1) == 0).float().mean()))


def test_row_loss_is_cross_entropy_by_hand() -> None:
    task = Classification(labels=("a", "b"))
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    expected = [np.log(2), np.log(1 + np.exp(2.0))]
    assert task.row_loss(logits, torch.tensor([0, 1])).tolist() == pytest.approx(expected)


def test_label_smoothing_spreads_the_target_by_hand() -> None:
    task = Classification(labels=("a", "b"), label_smoothing=0.2)
    logits = torch.tensor([[2.0, 0.0]])
    log_p = torch.log_softmax(logits, -1)[0]
    expected = -(0.9 * log_p[0] + 0.1 * log_p[1])
    assert task.row_loss(logits, torch.tensor([0]))[0] == pytest.approx(float(expected))


def test_labels_come_from_the_data_sorted_or_stay_as_declared() -> None:
    assert Classification().resolve(["no", "yes", "no"]).labels == ("no", "yes")
    assert Classification(labels=("yes", "no")).resolve(["no"]).labels == ("yes", "no")


def test_encode_and_decode_are_inverse_and_unknown_labels_are_named() -> None:
    task = Classification(labels=("bad", "good"))
    assert [task.encode("bad"), task.encode("good")] == [0, 1]
    decoded = task.decode(torch.tensor([0.25, 0.75]))
    assert decoded == {"label": "good", "probabilities": {"bad": 0.25, "good": 0.75}}
    with pytest.raises(ValueError, match="bad, good; found 'ugly'"):
        task.encode("ugly")


def test_wrong_declarations_are_refused() -> None:
    for labels in ((), ("a",), ("a", "a")):
        with pytest.raises(ConfigError, match="labels"):
            Classification(labels=labels)
    with pytest.raises(ConfigError, match="label_smoothing"):
        Classification(label_smoothing=1.0)
    with pytest.raises(ConfigError, match="not known"):
        _ = Classification().output_dim
