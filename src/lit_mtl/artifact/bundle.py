"""A trained model with its tokenizer, as one thing.

Shapes: S sentences, H hidden dimension, D embedding dimension.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from lit_mtl.artifact.base_share import refuse_wrong_share, towards_base
from lit_mtl.artifact.length_batches import TOKENS, length_batches
from lit_mtl.calibration import CALIBRATION_FILE, Calibration, read_calibration
from lit_mtl.checkpoints import SPEC_KEY, manifest_of, read_checkpoint, read_manifest
from lit_mtl.errors import ConfigError
from lit_mtl.model.multitask import MultiTaskModel, Output
from lit_mtl.pretrained import unpack_tokenizer
from lit_mtl.tokenization import tokenize

_STATE_PREFIX = "_network."

_WINDOW = 8192
"""Sentences that are tokenised and sorted by length together."""

_Found = TypeVar("_Found")

Progress = Callable[[int, int], None]
"""Is told how many sentences are done, and out of how many."""


class TrainedModel:
    """Embeds and predicts sentences.

    Args:
        network: the trained network; it is put into eval mode.
        tokenizer: its tokenizer.
    """

    def __init__(self, network: MultiTaskModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.network = network.eval()
        self.tokenizer = tokenizer

    def embed(
        self,
        texts: Sequence[str],
        *,
        batch_tokens: int = TOKENS,
        progress: Progress | None = None,
    ) -> Tensor:
        """Sentence embeddings (S, D) in the order of the texts.

        Args:
            texts: the sentences; white space around one is dropped, as in training, and one longer
                than the tokenizer's `model_max_length` is cut.
            batch_tokens: tokens that are run at once, about.
            progress: called after each few thousand sentences. None: `show_progress` where standard
                error is a terminal.
        """
        texts = _checked(texts)
        embeddings = torch.empty(len(texts), self.network.architecture.embedding_dim)
        for rows, output in self._run(texts, batch_tokens, progress or show_progress):
            embeddings[rows] = output.sentence_embedding.float().cpu()
        return embeddings

    def predict(
        self,
        texts: Sequence[str],
        *,
        batch_tokens: int = TOKENS,
        progress: Progress | None = None,
    ) -> list[dict[str, Any]]:
        """Each task's decoded prediction for every sentence, in the order of the texts.

        Args:
            texts: as those of `embed`.
            batch_tokens: the same.
            progress: the same.
        """
        texts = _checked(texts)
        decoded: list[dict[str, Any]] = [{} for _ in texts]
        for rows, output in self._run(texts, batch_tokens, progress or show_progress):
            for row, values in zip(rows.tolist(), self.network.decode(output), strict=True):
                decoded[row] = values
        return decoded

    def run(self, texts: Sequence[str], *, batch_tokens: int = TOKENS) -> Output:
        """Embeddings (S, D) and every head's output (S, O) before decoding, in the order of the texts, one at least."""
        parts = list(self._run(_checked(texts), batch_tokens, lambda done, total: None))
        order = torch.cat([rows for rows, _ in parts]).argsort()
        return Output(
            torch.cat([output.sentence_embedding for _, output in parts])[order],
            {
                name: torch.cat([output.heads[name] for _, output in parts])[order]
                for name in self.network.tasks
            },
        )

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """What the projection is given, (S, H): a pooled vector a sentence, in the order of the texts."""
        texts = _checked(texts)
        encoder = self.network.encoder
        vectors = torch.empty(len(texts), encoder.backbone.hidden_size)
        forward = partial(encoder.prefix, layers=encoder.backbone.num_layers)
        for rows, pooled in self._batches(texts, TOKENS, show_progress, forward):
            vectors[rows] = pooled.float().cpu()
        return vectors

    def _run(
        self, texts: Sequence[str], batch_tokens: int, progress: Progress
    ) -> Iterator[tuple[Tensor, Output]]:
        """Row numbers of each batch and what the network says of them."""
        return self._batches(texts, batch_tokens, progress, self.network)

    @torch.inference_mode()
    def _batches(
        self,
        texts: Sequence[str],
        batch_tokens: int,
        progress: Progress,
        forward: Callable[[Tensor, Tensor], _Found],
    ) -> Iterator[tuple[Tensor, _Found]]:
        """Row numbers of each batch, and what is found from its token ids and mask."""
        device = next(self.network.parameters()).device
        for start in range(0, len(texts), _WINDOW):
            ids, _ = tokenize(self.tokenizer, texts[start : start + _WINDOW])
            for rows, input_ids, mask in length_batches(ids, tokens=batch_tokens):
                yield rows + start, forward(input_ids.to(device), mask.to(device))
            progress(min(start + _WINDOW, len(texts)), len(texts))


def show_progress(done: int, total: int) -> None:
    """A counter on standard error for long inputs, where that is a terminal."""
    import sys

    if total > _WINDOW and sys.stderr.isatty():
        print(
            f"\r{done:,} of {total:,} sentences", end="" if done < total else "\n", file=sys.stderr
        )


def load_checkpoint(path: str | Path, *, base_share: float = 0.0) -> TrainedModel:
    """Load a checkpoint of `fit`; neither the hub nor the original backbone is needed.

    Its predictions are calibrated if the folder of the run has its calibration.

    Args:
        path: a local file; nothing in it is executed.
        base_share: share of the pre-trained weights in the backbone, in [0, 1]; see `towards_base`.
            Above 0 the original backbone is needed, and the calibration, which is that of other
            predictions, is not used.

    Raises:
        MissingInputError: if there is no such file, or no base where it is needed.
        StorageError: if it is damaged.
        ConfigError: if it is not a checkpoint of this project, or has no base.
    """
    refuse_wrong_share(base_share)
    checkpoint = read_checkpoint(path)
    spec = checkpoint[SPEC_KEY]
    state = {
        name.removeprefix(_STATE_PREFIX): value for name, value in checkpoint["state_dict"].items()
    }
    if base_share:
        state = towards_base(state, spec, share=base_share)
    else:
        spec = calibrated_spec(spec, calibration_of(Path(path)))
    network = MultiTaskModel.from_spec(spec)
    network.load_state_dict(state)
    tokenizer = unpack_tokenizer(spec.get("tokenizer"), network.encoder.backbone.config)
    return TrainedModel(network, tokenizer)


def run_of(checkpoint: Path) -> Path:
    """The folder with what `fit` has measured of a checkpoint.

    It is that of the run, in whose folder `checkpoints` it lies; or its own one, where checkpoints
    were sent elsewhere.
    """
    own = checkpoint.resolve().parent
    return own if (own / CALIBRATION_FILE).is_file() else own.parent


def calibration_of(checkpoint: Path) -> Calibration | None:
    """The calibration that was fitted on the outputs of this very checkpoint, if there is one."""
    real = checkpoint.resolve()
    if not manifest_of(real).is_file():
        return None
    found = read_calibration(run_of(real))
    same = found is not None and found.checkpoint == read_manifest(real)["sha256"]
    return found if same else None


def calibrated_spec(spec: dict[str, Any], calibration: Calibration | None) -> dict[str, Any]:
    """A checkpoint's entry with calibrated tasks.

    Raises:
        ConfigError: if the calibration is one of other tasks.
    """
    if calibration is None:
        return spec
    tasks = {name: task.spec() for name, task in calibration.tasks.items()}
    if set(tasks) != set(spec["tasks"]):
        raise ConfigError(
            f"The calibration is one of the tasks {sorted(tasks)}; the checkpoint has "
            f"{sorted(spec['tasks'])}"
        )
    return {**spec, "tasks": tasks}


def _checked(texts: Sequence[str]) -> Sequence[str]:
    """Sentences as a list, whatever holds them: an array and a column of a table do as well."""
    if isinstance(texts, str):  # a sequence too: of its letters
        raise TypeError("expected a list of sentences; found one str")
    found = list(texts)
    for place, text in enumerate(found):
        if not isinstance(text, str):
            raise TypeError(f"expected sentences; found {text!r} at place {place}")
    return found
