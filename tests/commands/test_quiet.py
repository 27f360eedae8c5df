import logging
import warnings

import pytest
from lightning.pytorch.utilities import rank_zero_info
from lightning_utilities.core import rank_zero as rank_zero_module

from lit_mtl.commands.quiet import silence_upstream_notes
from tests.conftest import Run

NOTES = {
    "💡 Tip: For seamless cloud logging and experiment tracking, try": False,
    "TPU available: False, using: 0 TPU cores": False,
    "GPU available: True (cuda), used: False": True,
    "You are using a CUDA device ('NVIDIA H100') that has Tensor Cores. To properly utilize": False,
    "`Trainer.fit` stopped: `max_epochs=3` reached.": False,
    "Loaded model weights from the checkpoint at best.ckpt": False,
    "Time limit reached. Elapsed time is 0:00:10. Signaling Trainer to stop.": True,
}


def test_notes_are_dropped_and_messages_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    silence_upstream_notes()
    with caplog.at_level(logging.INFO):
        for message in NOTES:
            rank_zero_info(message)
        logging.getLogger("lightning.pytorch.accelerators.cuda").info(
            "LOCAL_RANK: 0 - CUDA_VISIBLE_DEVICES: [0]"
        )
    assert caplog.messages == [message for message, kept in NOTES.items() if kept]


@pytest.mark.parametrize(("said", "kept"), [("quiet", 0), ("verbose", len(NOTES))])
def test_quiet_drops_all_notes_and_verbose_none(
    said: str, kept: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence_upstream_notes()
    monkeypatch.setenv("LIT_MTL_CONSOLE", said)
    with caplog.at_level(logging.INFO):
        for message in NOTES:
            rank_zero_info(message)
        rank_zero_module.log.warning("what concerns the run")
    assert len(caplog.messages) == kept + 1


def test_a_warning_is_one_line_without_the_place_in_a_library() -> None:
    silence_upstream_notes()
    shown = warnings.formatwarning("a file called \x1b[2J", UserWarning, "torch/nn.py", 7)
    assert shown == "warning: a file called \\x1b[2J\n"


def test_only_known_warnings_are_dropped() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        silence_upstream_notes()
        warnings.warn("The 'train_dataloader' does not have many workers", stacklevel=1)
        warnings.warn("The loss is not finite", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["The loss is not finite"]


def test_a_run_shows_no_advertisement(
    lit_mtl: Run, fit_arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert lit_mtl("fit", *fit_arguments) == 0
    shown = "".join(capfd.readouterr())
    for note in ("Tip:", "litlogger", "TPU", "LOAD REPORT", "Loading weights"):
        assert note not in shown
