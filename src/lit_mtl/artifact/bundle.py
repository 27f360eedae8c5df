"""A trained model with its tokenizer, as one thing.

Shapes: S sentences, D embedding dimension.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from lit_mtl.checkpoints import SPEC_KEY, read_checkpoint
from lit_mtl.model.multitask import MultiTaskModel, Output
from lit_mtl.pretrained import unpack_tokenizer

_STATE_PREFIX = "_network."


class TrainedModel:
    """Embeds and predicts sentences.

    Args:
        network: the trained network; it is put into eval mode.
        tokenizer: its tokenizer.
    """

    def __init__(self, network: MultiTaskModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.network = network.eval()
        self.tokenizer = tokenizer

    def embed(self, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
        """Sentence embeddings (S, D) in the order of the texts.

        Args:
            texts: the sentences; one longer than the backbone can take is cut.
            batch_size: sentences that are run at once.
        """
        embeddings = [output.sentence_embedding for output in self._run(texts, batch_size)]
        dimension = self.network.architecture.embedding_dim
        return torch.cat([torch.empty(0, dimension), *embeddings])

    def predict(self, texts: Sequence[str], *, batch_size: int = 64) -> list[dict[str, Any]]:
        """Each task's decoded prediction for every sentence, in the order of the texts."""
        outputs = self._run(texts, batch_size)
        return [row for output in outputs for row in self.network.decode(output)]

    @torch.inference_mode()
    def _run(self, texts: Sequence[str], batch_size: int) -> list[Output]:
        outputs = []
        for start in range(0, len(texts), batch_size):
            encoded = self.tokenizer(list(texts[start : start + batch_size]), truncation=True)
            ids = [torch.tensor(row) for row in encoded["input_ids"]]
            mask = [torch.ones_like(row) for row in ids]
            outputs.append(
                self.network(
                    pad_sequence(ids, batch_first=True),
                    pad_sequence(mask, batch_first=True),
                )
            )
        return outputs


def load_checkpoint(path: str | Path) -> TrainedModel:
    """Load a checkpoint of `fit`; neither the hub nor the original backbone is needed.

    Args:
        path: a local file; nothing in it is executed.

    Raises:
        MissingInputError: if there is no such file.
        ConfigError: if it is not a checkpoint of this project.
    """
    checkpoint = read_checkpoint(path)
    spec = checkpoint[SPEC_KEY]
    network = MultiTaskModel.from_spec(spec)
    network.load_state_dict(
        {
            name.removeprefix(_STATE_PREFIX): value
            for name, value in checkpoint["state_dict"].items()
        }
    )
    tokenizer = unpack_tokenizer(spec["tokenizer"], network.encoder.backbone.config)
    return TrainedModel(network, tokenizer)
