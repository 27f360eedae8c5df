"""Cosines become those of the base, and predictions stay."""

import json
from pathlib import Path

import pytest
import torch

from lit_mtl import align_to_base, load, load_checkpoint
from lit_mtl.artifact.base_alignment import LEAST_SENTENCES
from lit_mtl.artifact.bundle import TrainedModel
from lit_mtl.embedding_health import kept_similarity
from lit_mtl.errors import ConfigError
from lit_mtl.model.multitask import Architecture, MultiTaskModel
from lit_mtl.pretrained import load_tokenizer
from lit_mtl.tasks import Classification, Regression
from tests.conftest import Run, save_tiny_backbone
from tests.runs import run_folder

WORDS = [
    "a",
    "the",
    "film",
    "story",
    "actor",
    "music",
    "slow",
    "bright",
    "dull",
    "long",
    "warm",
    "cold",
    "end",
    "scene",
    "of",
    "with",
]
TASKS = {
    "sentiment": Classification(labels=("negative", "positive")),
    "score": Regression(low=-4, high=4, center=0.1, scale=1.5),
}


def sentences(count: int, *, seed: int = 0) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(len(WORDS), (count, 8), generator=generator)
    return [" ".join(WORDS[word] for word in draw) for draw in draws.tolist()]


def stretched(backbone: Path, **architecture: object) -> TrainedModel:
    """The base under a projection in which one direction is all that counts, and the others are small."""
    torch.manual_seed(0)
    model = TrainedModel(
        MultiTaskModel.from_backbone(
            str(backbone),
            tasks=TASKS,
            architecture=Architecture(**architecture),  # type: ignore[arg-type]
        ),
        load_tokenizer(str(backbone)),
    )
    projection = model.network.encoder.projection
    with torch.no_grad():
        projection.weight += 8 * torch.outer(
            torch.randn(len(projection.weight)), torch.randn(projection.in_features) / 10
        )
    return model


@pytest.mark.parametrize("size", [16, 256])
def test_cosines_follow_the_base_and_outputs_stay(tiny_bert: Path, size: int) -> None:
    """With fewer dimensions than the backbone has, and with more."""
    model = stretched(tiny_bert, embedding_dim=size)
    others = sentences(80, seed=1)
    before, pooled = model.run(others), model.pooled(others)
    found = align_to_base(model, sentences(1500), base=str(tiny_bert))
    after = model.run(others)
    assert after.sentence_embedding.shape == (80, size)
    was, now = (kept_similarity(output.sentence_embedding, pooled) for output in (before, after))
    assert was < 0.7
    assert now > 0.9
    assert found.kept_similarity_before == pytest.approx(was, abs=0.15)
    assert found.kept_similarity == pytest.approx(now, abs=0.03)
    assert (found.sentences, found.measured) == (1350, 150)
    for name, output in before.heads.items():
        torch.testing.assert_close(after.heads[name], output, atol=1e-4, rtol=1e-4)
    assert 0 < found.largest_change < 1e-4


def test_it_is_the_same_each_time_and_each_sentence_counts_once(tiny_bert: Path) -> None:
    texts = sentences(300)
    models = [stretched(tiny_bert, embedding_dim=16) for _ in range(2)]
    one = align_to_base(models[0], texts, base=str(tiny_bert))
    other = align_to_base(
        models[1], [f" {text}\n" for text in texts] * 2 + [""], base=str(tiny_bert)
    )
    assert one == other
    assert torch.equal(models[0].embed(texts[:5]), models[1].embed(texts[:5]))


def test_the_export_of_an_aligned_model_says_so_and_keeps_what_it_knew(
    calibrated: Path,
    exported: Path,
    lit_mtl: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = sentences(400)
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    words = ["export", "--ckpt_path", calibrated, "--output", tmp_path / "out"]
    assert lit_mtl(*words, "--align_to_base", tmp_path / "texts.txt") == 0
    printed = capsys.readouterr().out
    assert "sentiment: calibrated" in printed
    assert "aligned to the base on 360 sentences: on 40 others" in printed
    facts = json.loads((tmp_path / "out" / "manifest.json").read_bytes())["aligned_to_base"]
    assert facts["sentences"] == 360
    assert facts["kept_similarity"] > facts["kept_similarity_before"]
    assert f"{facts['kept_similarity']:.4f}" in printed
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"{facts['kept_similarity']:.4f}, and was {facts['kept_similarity_before']:.4f}" in card
    assert "## Metrics\n\n| task" in card
    assert "neighbour_purity" not in card, "measured on another embedding"
    assert "sentences\nwith like targets are close" not in card
    other = json.loads((exported / "manifest.json").read_bytes())
    assert other["aligned_to_base"] is None
    plain, aligned = load(exported), load(tmp_path / "out")
    assert not torch.allclose(plain.embed(texts[:3]), aligned.embed(texts[:3]), atol=0.1)
    for one, two in zip(plain.predict(texts[:20]), aligned.predict(texts[:20]), strict=True):
        assert one["sentiment"]["label"] == two["sentiment"]["label"]
        assert one["score"]["score"] == pytest.approx(two["score"]["score"], abs=1e-3)


def test_an_alignment_of_a_model_with_a_share_of_the_base_keeps_that_model_s_predictions(
    calibrated: Path, lit_mtl: Run, tmp_path: Path
) -> None:
    texts = sentences(200)
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    words = ["export", "--ckpt_path", calibrated, "--output", tmp_path / "out"]
    words += ["--base_share=0.3", "--align_to_base", tmp_path / "texts.txt"]
    assert lit_mtl(*words) == 0
    facts = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert facts["base_share"] == 0.3
    assert facts["aligned_to_base"]["sentences"] == 180
    expected = load_checkpoint(calibrated, base_share=0.3).predict(texts[:20])
    for one, two in zip(expected, load(tmp_path / "out").predict(texts[:20]), strict=True):
        assert one["score"]["score"] == pytest.approx(two["score"]["score"], abs=1e-3)


def test_what_cannot_be_aligned_is_refused(
    fit_arguments: list[str],
    calibrated: Path,
    tiny_bert: Path,
    lit_mtl: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConfigError, match="a head cannot undo"):
        align_to_base(stretched(tiny_bert, normalize=True), sentences(200), base=str(tiny_bert))
    model = load_checkpoint(calibrated)
    few = sentences(LEAST_SENTENCES - 1)
    with pytest.raises(ConfigError, match=r"at least 100 different sentences, and found 99"):
        align_to_base(model, few * 2, base=str(tiny_bert))
    other = save_tiny_backbone(tmp_path / "other", num_hidden_layers=3)
    with pytest.raises(ConfigError, match=r"`align_to_base` needs the base of .* other parameters"):
        align_to_base(model, sentences(200), base=str(other))

    assert lit_mtl("fit", *fit_arguments, "--model.pretrained=false", "--trainer.max_epochs=1") == 0
    best = run_folder(tmp_path) / "checkpoints" / "best.ckpt"
    (tmp_path / "texts.txt").write_text("\n".join(sentences(200)))
    words = ["export", "--ckpt_path", best, "--output", tmp_path / "out"]
    assert lit_mtl(*words, "--align_to_base", tmp_path / "texts.txt") == 2
    said = capsys.readouterr().err
    assert "`align_to_base` needs the base" in said
    assert "began with random weights" in said
    assert not (tmp_path / "out").exists()
