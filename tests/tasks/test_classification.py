import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, roc_auc_score

from lit_mtl.errors import ConfigError
from lit_mtl.tasks import Classification, task_from_spec


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


def test_a_number_of_a_class_is_the_same_label_with_and_without_a_point() -> None:
    """A column of whole numbers has points as soon as one of them is missing."""
    found = Classification().resolve(["0", "1.0", "1", "0.0", "v1.0", "2.5"])
    assert found.names == ("0", "1", "2.5", "v1.0")
    assert [found.encode(label) for label in ("1.0", "1", "0.00", "2.5")] == [1, 1, 0, 2]
    declared = Classification(labels=("1.0", "2.0"))
    assert declared.encode("2.0") == 1
    with pytest.raises(ValueError, match=r"label out of 1\.0, 2\.0; found '1'"):
        declared.encode("1")


def test_encode_and_decode_are_inverse_and_unknown_labels_are_named() -> None:
    task = Classification(labels=("bad", "good"))
    assert [task.encode("bad"), task.encode("good")] == [0, 1]
    decoded = task.decode(torch.tensor([0.25, 0.75]))
    assert decoded == {"label": "good", "probabilities": {"bad": 0.25, "good": 0.75}}
    with pytest.raises(ValueError, match="bad, good; found 'ugly'"):
        task.encode("ugly")


WEIGHTED = Classification(labels=("a", "b"), class_weights="balanced")


def test_balanced_weights_by_hand_keep_the_loss_at_log_c() -> None:
    targets = [0, 0, 0, 1]
    task = WEIGHTED.fit(targets)
    assert task.class_weights == pytest.approx({"a": 4 / (2 * 3), "b": 4 / (2 * 1)})
    assert task == WEIGHTED.fit(np.array(targets, dtype=np.float64))
    loss = task.row_loss(torch.zeros(4, 2), torch.tensor(targets))
    assert loss.tolist() == pytest.approx([2 / 3 * np.log(2)] * 3 + [2 * np.log(2)])
    assert float(loss.mean()) == pytest.approx(np.log(2))


def test_declared_weights_keep_their_ratio_and_get_the_mean_one() -> None:
    task = Classification(
        labels=("a", "b"), class_weights={"b": 50.0, "a": 10.0}, label_smoothing=0.2
    )
    fitted = task.fit([0, 0, 0, 1])
    assert fitted.class_weights == pytest.approx({"a": 0.5, "b": 2.5})
    logits, target = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])
    plain = Classification(labels=("a", "b"), label_smoothing=0.2).row_loss(logits, target)
    assert fitted.row_loss(logits, target).tolist() == pytest.approx(
        [0.5 * float(plain[0]), 2.5 * float(plain[1])]
    )
    assert task.fit([]) == task, "no row, no scale"


def test_a_weighted_row_counts_the_same_in_every_batch() -> None:
    """Unlike torch's mean, in which a batch of one label has no weights at all."""
    task = WEIGHTED.fit([0, 0, 0, 1])
    logits, target = torch.tensor([[1.0, -1.0]] * 4), torch.tensor([0, 0, 0, 1])
    whole = task.row_loss(logits, target)
    parts = torch.cat([task.row_loss(logits[row], target[row]) for row in ([0, 1], [2], [3])])
    assert torch.equal(whole, parts)


def test_a_label_without_training_rows_cannot_be_balanced_and_is_named() -> None:
    task = Classification(labels=("a", "b", "c", "d"), class_weights="balanced")
    with pytest.raises(ConfigError, match="none of b, d"):
        task.fit([0, 2])
    with pytest.raises(ConfigError, match="not known before"):
        task.row_loss(torch.zeros(1, 4), torch.tensor([0]))


def test_rows_agree_or_contradict_each_other() -> None:
    task = Classification(labels=("a", "b"))
    assert task.merge([1, 1]) == 1
    assert task.merge([1, 0]) is None
    assert [task.describe(target) for target in (0, 1)] == ["a", "b"]
    assert task.summary([0, 0])["labels"] == {"a": 2, "b": 0}


def test_a_list_is_no_label() -> None:
    task = Classification().resolve(['["a", "b"]', "[c]"])
    assert task.encode("[c]") == 1
    with pytest.raises(ValueError, match="kind multilabel"):
        task.encode('["a", "b"]')


def test_wrong_declarations_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"class_weights.*'even'"):
        task_from_spec({"kind": "classification", "class_weights": "even"})
    for labels in ((), ("a",), ("a", "a")):
        with pytest.raises(ConfigError, match="labels"):
            Classification(labels=labels)
    with pytest.raises(ConfigError, match="label_smoothing"):
        Classification(label_smoothing=1.0)
    with pytest.raises(ConfigError, match="not known"):
        _ = Classification().output_dim


@pytest.mark.parametrize(("scale", "shift"), [(0.5, 0.25), (1.0, -2.0), (20.0, 0.0)])
def test_the_auroc_is_that_of_the_order_whatever_the_logits(scale: float, shift: float) -> None:
    """Torchmetrics takes logits within [0, 1] for probabilities, and ties large ones."""
    from sklearn.metrics import roc_auc_score

    generator = torch.Generator().manual_seed(0)
    target = torch.arange(200) % 2
    noise = torch.rand(200, generator=generator)
    margin = (target * 0.3 + 0.7 * noise).double()
    output = torch.stack([torch.zeros(200), margin], dim=1) * scale + shift
    found = Classification(labels=("a", "b")).metrics(output, target)["auroc"]
    assert found == pytest.approx(roc_auc_score(target, margin), abs=1e-6)
