"""What is measured on scored pairs, over a whole run."""

import json
from pathlib import Path

import pytest
from scipy.stats import spearmanr
from torch.nn.functional import cosine_similarity

from lit_mtl.artifact.bundle import TrainedModel, load_checkpoint
from tests.conftest import Run
from tests.runs import differing, last_state, run_folder, scalars_of

PAIRS = [
    ("A wonderful film.", "A great movie.", 4.5),
    ("A dull story.", "The plot is boring and far too long.", 4.0),
    ("A wonderful film.", "I will never watch this again.", 0.5),
    ("Good.", "Bad.", 1.0),
    ("The acting is fine.", "The actors play well.", 4.8),
    ("It rains.", "A dull story.", 0.1),
]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.tsv"
    rows = ("\t".join(map(str, row)) for row in PAIRS)
    path.write_text("\n".join(["sentence1\tsentence2\tscore", *rows]))
    return path


def expected(model: TrainedModel) -> float:
    first, second, scores = zip(*PAIRS, strict=True)
    cosines = cosine_similarity(model.embed(first).double(), model.embed(second).double())
    return float(spearmanr(cosines.numpy(), scores).statistic)


def test_results_and_card_have_what_the_best_checkpoint_and_the_base_give(
    fit_arguments: list[str], pairs: Path, tmp_path: Path, lit_mtl: Run
) -> None:
    words = [
        *fit_arguments,
        "--trainer.max_epochs=2",
        "--model.lr=1e-3",
        "--pairs.path",
        str(pairs),
    ]
    assert lit_mtl("fit", *words) == 0
    run = run_folder(tmp_path)
    best = run / "checkpoints" / "best.ckpt"
    found = json.loads((run / "results.json").read_text())["embedding"]
    assert found["pairs_spearman"] == pytest.approx(expected(load_checkpoint(best)), abs=1e-6)
    points = scalars_of(run)["embedding/pairs_spearman"]
    assert len(points) == 3, "before the first step, and at each validation"
    assert points[0][1] == pytest.approx(found["pairs_spearman_before"])
    assert 0 < found["kept_similarity"] <= 1
    assert lit_mtl("export", "--ckpt_path", str(best), "--output", str(tmp_path / "out")) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    for name, value in found.items():
        assert any(name in line and f"{value:.4f}" in line for line in card.splitlines())

    assert lit_mtl("validate", *words, "--ckpt_path", str(best)) == 0
    again = json.loads((run_folder(tmp_path, 1) / "results.json").read_text())["embedding"]
    assert again == {"pairs_spearman": pytest.approx(found["pairs_spearman"], abs=1e-6)}


def test_a_run_is_the_same_to_the_bit_and_one_that_goes_on_knows_the_base(
    fit_arguments: list[str], pairs: Path, tmp_path: Path, lit_mtl: Run
) -> None:
    plain = [*fit_arguments, "--trainer.max_epochs=2"]
    words = [*plain, "--pairs.path", str(pairs)]
    assert lit_mtl("fit", *plain) == 0
    assert lit_mtl("fit", *words, "--checkpoint.every_n_steps=1") == 0
    without, whole = run_folder(tmp_path), run_folder(tmp_path, 1)
    different = differing(last_state(without), last_state(whole))
    assert all(name.startswith(("/callbacks/", "/settings/", "/lit_mtl/")) for name in different)
    states = sorted(
        (whole / "checkpoints").glob("step_*.ckpt"), key=lambda path: int(path.stem[5:])
    )
    assert len(states) > 1
    words += ["--checkpoint.every_n_steps=1", f"--ckpt_path={states[0]}"]
    assert lit_mtl("fit", *words) == 0
    ends = [
        json.loads((run / "results.json").read_text())["embedding"]
        for run in (whole, run_folder(tmp_path, 2))
    ]
    for name in ("pairs_spearman_before", "pairs_spearman"):
        assert ends[0][name] == ends[1][name]
