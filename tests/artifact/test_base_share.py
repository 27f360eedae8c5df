"""The exported backbone lies where it is said to, between the trained weights and those of the base."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lit_mtl import load, load_checkpoint
from lit_mtl.artifact.base_share import refuse_wrong_share, towards_base
from lit_mtl.checkpoints import SPEC_KEY, read_checkpoint
from lit_mtl.errors import ConfigError, MissingInputError
from tests.conftest import Run, save_tiny_backbone
from tests.runs import run_folder

BACKBONE = "encoder.backbone.transformer."


def weights(checkpoint: Path, share: float) -> dict[str, Tensor]:
    state: dict[str, Tensor] = load_checkpoint(checkpoint, base_share=share).network.state_dict()
    return state


def test_the_ends_are_the_trained_and_the_base_weights_to_the_bit(
    calibrated: Path, tiny_bert: Path
) -> None:
    base = load_file(tiny_bert / "model.safetensors")
    trained = weights(calibrated, 0.0)
    plain = load_checkpoint(calibrated).network.state_dict()
    whole = weights(calibrated, 1.0)
    moved = 0
    for name, value in trained.items():
        assert torch.equal(value, plain[name]), name
        if name.startswith(BACKBONE):
            assert torch.equal(whole[name], base[name.removeprefix(BACKBONE)]), name
            moved += not torch.equal(whole[name], value)
        else:
            assert torch.equal(whole[name], value), name
    assert moved > 10


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_it_is_linear_in_between(calibrated: Path, tiny_bert: Path, share: float) -> None:
    base = load_file(tiny_bert / "model.safetensors")
    trained, found = weights(calibrated, 0.0), weights(calibrated, share)
    for name, value in found.items():
        expected = trained[name]
        if name.startswith(BACKBONE):
            expected = (1 - share) * expected + share * base[name.removeprefix(BACKBONE)]
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=0)


def test_the_export_says_so_and_drops_what_was_measured_on_other_weights(
    calibrated: Path,
    exported: Path,
    lit_mtl: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["export", "--ckpt_path", calibrated, "--output"]
    assert lit_mtl(*words, tmp_path / "none", "--base_share=0") == 0
    for name in ("model.safetensors", "heads.safetensors", "2_Dense/model.safetensors"):
        assert (tmp_path / "none" / name).read_bytes() == (exported / name).read_bytes()
    assert "sentiment: calibrated" in capsys.readouterr().out

    assert lit_mtl(*words, tmp_path / "some", "--base_share=0.3") == 0
    printed = capsys.readouterr().out
    assert "the backbone is 0.3 of the pre-trained weights; uncalibrated" in printed
    assert "sentiment: calibrated" not in printed
    tasks = json.loads((tmp_path / "some" / "tasks.json").read_bytes())
    assert tasks["sentiment"]["temperature"] == 1.0
    manifest = json.loads((tmp_path / "some" / "manifest.json").read_bytes())
    assert (manifest["base_share"], manifest["calibrated"]) == (0.3, False)
    card = (tmp_path / "some" / "README.md").read_text()
    assert "0.7 times the trained ones plus 0.3 times the pre-trained ones" in card
    assert "no results of these weights" in card
    found, expected = load(tmp_path / "some"), load_checkpoint(calibrated, base_share=0.3)
    assert torch.equal(found.embed(["A fine film."]), expected.embed(["A fine film."]))


def test_a_random_backbone_has_no_base(
    fit_arguments: list[str], lit_mtl: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*fit_arguments, "--model.pretrained=false", "--trainer.max_epochs=1"]
    assert lit_mtl("fit", *words) == 0
    best = run_folder(tmp_path) / "checkpoints" / "best.ckpt"
    words = ["export", "--ckpt_path", str(best), "--output", str(tmp_path / "out")]
    assert lit_mtl(*words, "--base_share=0.5") == 2
    assert "its backbone began with random weights" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert lit_mtl(*words) == 0


def test_a_base_that_is_not_known_not_there_or_another_one_is_refused(
    calibrated: Path, tmp_path: Path
) -> None:
    spec = read_checkpoint(calibrated)[SPEC_KEY]
    state = load_checkpoint(calibrated).network.state_dict()
    assert spec["pretrained"] is True
    unknown = {key: value for key, value in spec.items() if key != "pretrained"}
    with pytest.raises(ConfigError, match="it does not say of which"):
        towards_base(state, unknown, share=0.5)
    with pytest.raises(MissingInputError, match="gone"):
        towards_base(state, {**spec, "backbone": str(tmp_path / "gone")}, share=0.5)
    other = save_tiny_backbone(tmp_path / "other", num_hidden_layers=3)
    with pytest.raises(ConfigError, match="has other parameters"):
        towards_base(state, {**spec, "backbone": str(other)}, share=0.5)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"`base_share` to be in \[0, 1\]"):
        refuse_wrong_share(share)
