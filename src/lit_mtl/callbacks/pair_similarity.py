"""How well the embedding ranks pairs of sentences as people did, before and while it is trained."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lit_mtl.artifact.bundle import TrainedModel
from lit_mtl.data.scored_pairs import ScoredPairs, read_scored_pairs
from lit_mtl.embedding_health import pair_correlation
from lit_mtl.module import MultiTaskModule

NAME = "pairs_spearman"


class PairSimilarity(Callback):
    """Logs the Spearman correlation of cosines with scores as `embedding/pairs_spearman`.

    It is measured by the first process, before the first step, at each validation, and of the best
    checkpoint; each time the encoder runs on all pairs.

    Args:
        path: a table with the columns `sentence1`, `sentence2` and `score`, such as the STS benchmark.
            None: nothing is measured.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._pairs = None if path is None else read_scored_pairs(path)
        self._before: float | None = None

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure what the base gives; a run that goes on knows it."""
        if self._pairs is not None and trainer.global_step == 0:
            self._before = self._measured(self._pairs, trainer, pl_module)

    @rank_zero_only
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure what the training has made of it."""
        if self._pairs is None or trainer.sanity_checking:
            return
        assert isinstance(pl_module, MultiTaskModule)
        found = self._measured(self._pairs, trainer, pl_module)
        if trainer.state.fn != TrainerFn.FITTING:
            pl_module.embedding_health[NAME] = found
            if self._before is not None:
                pl_module.embedding_health[f"{NAME}_before"] = self._before

    def state_dict(self) -> dict[str, Any]:
        """What the base gave."""
        return {"before": self._before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Know it again."""
        self._before = state_dict["before"]

    def _measured(self, pairs: ScoredPairs, trainer: Trainer, module: LightningModule) -> float:
        """The correlation, which is logged; without dropout or random numbers."""
        assert isinstance(module, MultiTaskModule)
        modes = {part: part.training for part in module.modules()}
        try:
            with trainer.precision_plugin.forward_context():
                model = TrainedModel(module.network, module.tokenizer)
                found = pairs_spearman(partial(model.embed, progress=lambda *_: None), pairs)
        finally:
            for part, training in modes.items():
                part.training = training
        if trainer.state.fn == TrainerFn.FITTING:
            for logger in trainer.loggers:
                logger.log_metrics({f"embedding/{NAME}": found}, step=trainer.global_step)
        return found


def pairs_spearman(embed: Callable[[list[str]], Tensor], pairs: ScoredPairs) -> float:
    """Spearman correlation of cosines with what people say of the pairs.

    Args:
        embed: from texts to a vector for each; each text is embedded once.
        pairs: the pairs.
    """
    texts = [*pairs.first, *pairs.second]
    distinct = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    vectors = embed(list(distinct)).double()
    first, second = vectors[[distinct[text] for text in texts]].chunk(2)
    return pair_correlation(cosine_similarity(first, second), torch.tensor(pairs.scores))
