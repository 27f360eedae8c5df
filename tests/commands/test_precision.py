from pathlib import Path

import pytest
import torch
import yaml

from lit_mtl.commands.precision import FULL, MIXED, default_precision
from tests.conftest import Run


def processor_with(monkeypatch: pytest.MonkeyPatch, *instructions: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))


def test_mixed_only_where_the_processor_multiplies_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.mps, "is_available", lambda: False)
    for accelerator in ("cpu", "auto"):
        processor_with(monkeypatch, "avx2", "avx512_bf16")
        assert default_precision(accelerator) == (MIXED, "this processor has avx512_bf16")
        processor_with(monkeypatch, "avx2")
        name, reason = default_precision(accelerator)
        assert (name, reason) == (FULL, "this processor has neither avx512_bf16 nor amx_bf16")
    assert default_precision("tpu").name == FULL


@pytest.mark.parametrize("native", [True, False])
def test_on_a_gpu_its_own_kernels_decide(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    processor_with(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GPU")

    def supported(including_emulation: bool = True) -> bool:  # torch counts it in by default
        return including_emulation or native

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    for accelerator in ("auto", "gpu", "cuda"):
        assert default_precision(accelerator).name == (MIXED if native else FULL)
    assert default_precision("cpu").name == FULL


def saved_precision(run: Path) -> object:
    return yaml.safe_load((run / "config.yaml").read_text())["trainer"]["precision"]


@pytest.mark.slow
def test_a_run_has_the_machines_precision_says_why_and_keeps_it_in_its_config(
    lit_mtl: Run,
    fit_arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    processor_with(monkeypatch, "amx_bf16")
    own = [word for word in fit_arguments if "precision" not in word]
    runs = Path("lightning_logs") / "runs"
    with caplog.at_level("INFO"):
        assert lit_mtl("fit", *own, "--trainer.max_epochs=1") == 0
    assert "Precision bf16-mixed: this processor has amx_bf16" in caplog.messages
    assert saved_precision(runs / "version_0") == MIXED
    processor_with(monkeypatch)
    assert lit_mtl("fit", *own, "--trainer.max_epochs=1") == 0
    assert saved_precision(runs / "version_1") == FULL
    # what is asked for is not touched
    assert lit_mtl("fit", *own, "--trainer.max_epochs=1", "--trainer.precision=64-true") == 0
    assert saved_precision(runs / "version_2") == "64-true"
    plugin = '[{"class_path": "lightning.pytorch.plugins.DoublePrecision"}]'
    assert lit_mtl("fit", *own, "--trainer.max_epochs=1", f"--trainer.plugins={plugin}") == 0
    assert saved_precision(runs / "version_3") is None


def test_a_run_is_not_continued_in_another_precision(
    lit_mtl: Run,
    fit_arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = [word for word in fit_arguments if "precision" not in word]
    processor_with(monkeypatch, "avx512_bf16")
    assert lit_mtl("fit", *own) == 0
    processor_with(monkeypatch)
    assert lit_mtl("fit", *own, "--ckpt_path=auto") != 0
    assert "trainer.precision: 'bf16-mixed' there, '32-true' here" in capsys.readouterr().err
    assert lit_mtl("fit", *own, "--ckpt_path=auto", "--trainer.precision=bf16-mixed") == 0


def test_mixed_precision_clips_gradients_to_their_norm(
    lit_mtl: Run, fit_arguments: list[str]
) -> None:
    """Lightning refuses that with a fused optimizer, as if gradients were scaled."""
    clip = ["--trainer.precision=bf16-mixed", "--trainer.gradient_clip_val=1e-3"]
    assert lit_mtl("fit", *fit_arguments, *clip) == 0
