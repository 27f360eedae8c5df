"""Five ways to train the same model on the same rows, for `training_speed.py`.

All begin with the same weights (backbone, projection and two heads, seeded), see the same sentences for
the same number of epochs in batches of the same size, take a peak rate of 1e-4 that climbs for a tenth of the steps and
then falls to 0, and leave the same parameters frozen. What differs is the trainer: how it batches and
pads, its precision, its optimizer's rates for the layers, and what it does beside the steps.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedTokenizerBase, TrainingArguments
from transformers import Trainer as HuggingFaceTrainer

from lit_mtl.callbacks.staged_freezing import StagedFreezing
from lit_mtl.commands.precision import default_precision
from lit_mtl.data.datamodule import SentimentDataModule
from lit_mtl.data.sources import Source
from lit_mtl.data.splits import Split
from lit_mtl.module import MultiTaskModule
from lit_mtl.optim.freezing_plan import Stage
from lit_mtl.optim.schedules import WarmupDecay
from lit_mtl.optim.selectors import select
from lit_mtl.tasks import Classification, Regression
from lit_mtl.tokenization import tokenize

MAX_LENGTH = 128
LR = 1e-4
WARMUP = 0.1
MISSING = -100

SCHEMES: dict[str, list[str]] = {
    "full": [],
    "top third": ["backbone.embeddings", "backbone.layers[:2/3]"],
    "backbone frozen": ["backbone"],
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be trained.

    Args:
        rows: a file of JSON lines with text, sentiment, score and split.
        backbone: hub name, local folder, or `minilm` for the packaged encoder.
        frozen: selectors of what does not train.
        epochs: how often each training row is seen.
        scratch: an empty folder.
        batch_size: rows of a step.
        seed: of the weights, the order and dropout.
    """

    rows: Path
    backbone: str
    frozen: Sequence[str]
    epochs: int
    scratch: Path
    batch_size: int = 32
    seed: int = 0


class Prepared:
    """Model and tokenised data, made before the clock runs; the same for every side."""

    def __init__(self, job: Job) -> None:
        self.job = job
        torch.manual_seed(job.seed)
        random.seed(job.seed)
        self.module = MultiTaskModule(job.backbone, lr=LR, warmup_fraction=WARMUP)
        columns = {"sentiment": "sentiment", "score": "score"}
        self.data = SentimentDataModule(
            sources={"rows": Source(path=str(job.rows), tasks=columns, split="split")},
            tasks={
                "sentiment": Classification(labels=("negative", "positive")),
                "score": Regression(low=-4.0, high=4.0),
            },
            batch_size=job.batch_size,
            max_length=MAX_LENGTH,
            cache_dir=str(job.scratch / "prepared"),
        )
        self.data.tokenizer = self.module.tokenizer
        self.data.prepare_data()
        self.data.setup("fit")
        self.module.build(self.data.tasks)
        assert self.data.corpus is not None
        self.splits = self.data.corpus.splits

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        return self.module.tokenizer

    def examples(self) -> list[dict[str, Any]]:
        """The training rows as other trainers take them."""
        columns = self.splits["train"].with_format(None)
        return [
            {
                "input_ids": row["input_ids"],
                "sentiment": MISSING
                if row["target.sentiment"] is None
                else row["target.sentiment"],
                "score": row["target.score"],
            }
            for row in columns
        ]

    def freeze(self) -> None:
        """Freeze by hand what the job leaves frozen, as one does without a plan."""
        frozen = select(self.job.frozen, self.module.network.places())
        for name, parameter in self.module.network.named_parameters():
            parameter.requires_grad_(name not in frozen)


class WithLoss(nn.Module):
    """The same weights in a model as one writes it with transformers, with the loss that its Trainer wants.

    transformers' model runs as it comes, without what this project's backbone does around it.
    """

    def __init__(self, module: MultiTaskModule) -> None:
        super().__init__()
        encoder = module.network.encoder
        self.transformer = encoder.backbone.transformer
        self.projection = encoder.projection
        self.heads = module.network.heads
        self.tasks = module.network.tasks

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, sentiment: Tensor, score: Tensor
    ) -> dict[str, Tensor]:
        """The sum of both tasks' mean losses over their labelled rows."""
        tokens = self.transformer(input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask.unsqueeze(-1).to(tokens.dtype)
        embedding = self.projection((tokens * weight).sum(dim=1) / weight.sum(dim=1))
        heads = {name: head(embedding).float() for name, head in self.heads.items()}
        known = sentiment != MISSING
        losses = [
            self.tasks["sentiment"].row_loss(heads["sentiment"][known], sentiment[known]),
            self.tasks["score"].row_loss(heads["score"], score),
        ]
        loss = sum(
            (part.mean() for part in losses if len(part)), start=heads["score"].new_zeros(())
        )
        return {"loss": loss, "logits": heads["score"].detach()}


def collate(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict[str, Any]]
) -> dict[str, Tensor]:
    """Rows padded to the longest of them."""
    ids = [row["input_ids"] for row in rows]
    batch: dict[str, Tensor] = dict(tokenizer.pad({"input_ids": ids}, return_tensors="pt"))
    batch["sentiment"] = torch.tensor([row["sentiment"] for row in rows])
    batch["score"] = torch.tensor([row["score"] for row in rows])
    return batch


def lit_mtl(
    prepared: Prepared, callbacks: Sequence[Callback] = (), *, precision: str | None = None
) -> None:
    """This project with its defaults, and with further callbacks or another precision."""
    job = prepared.job
    stages = [Stage(name="only", freeze=tuple(job.frozen))] if job.frozen else []
    trainer = Trainer(
        accelerator="auto",
        devices=1,
        precision=precision or default_precision("auto").name,  # type: ignore[arg-type]
        max_epochs=job.epochs,
        callbacks=[StagedFreezing(stages), *callbacks],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(prepared.module, datamodule=prepared.data)


def lit_mtl_float32(prepared: Prepared) -> None:
    """The same without bfloat16."""
    lit_mtl(prepared, precision="32-true")


def _hugging_face(prepared: Prepared, **options: Any) -> None:
    prepared.freeze()
    arguments = TrainingArguments(
        output_dir=str(prepared.job.scratch / "trainer"),
        num_train_epochs=prepared.job.epochs,
        per_device_train_batch_size=prepared.job.batch_size,
        learning_rate=LR,
        warmup_steps=WARMUP,
        weight_decay=0.01,
        save_strategy="no",
        seed=prepared.job.seed,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
        **options,
    )
    HuggingFaceTrainer(
        model=WithLoss(prepared.module),
        args=arguments,
        train_dataset=prepared.examples(),
        data_collator=lambda rows: collate(prepared.tokenizer, rows),
    ).train()


def trainer_best(prepared: Prepared) -> None:
    """Hugging Face's Trainer with its best public settings: bfloat16 and batches of like lengths."""
    bf16 = default_precision("auto").name.startswith("bf16")
    _hugging_face(prepared, bf16=bf16, train_sampling_strategy="group_by_length")


def trainer_default(prepared: Prepared) -> None:
    """Hugging Face's Trainer with its defaults."""
    _hugging_face(prepared)


def plain_loop(prepared: Prepared) -> None:
    """A loop in plain PyTorch, every batch padded to the maximum length, in float32."""
    prepared.freeze()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = WithLoss(prepared.module).to(device).train()
    examples, job = prepared.examples(), prepared.job
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LR, weight_decay=0.01)
    steps = -(-len(examples) // job.batch_size) * job.epochs
    course = WarmupDecay(total_steps=steps, warmup_fraction=WARMUP, shape="linear")
    scheduler = LambdaLR(optimizer, course)
    for _ in range(job.epochs):
        for rows in _shuffled(examples, job.batch_size):
            batch = collate(prepared.tokenizer, rows)
            batch |= dict(
                prepared.tokenizer.pad(
                    {"input_ids": [row["input_ids"] for row in rows]},
                    padding="max_length",
                    max_length=MAX_LENGTH,
                    return_tensors="pt",
                )
            )
            optimizer.zero_grad()
            model(**{name: value.to(device) for name, value in batch.items()})["loss"].backward()
            optimizer.step()
            scheduler.step()


def _shuffled(examples: Sequence[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    order = random.sample(range(len(examples)), len(examples))
    for start in range(0, len(order), size):
        yield [examples[row] for row in order[start : start + size]]


def predicted(prepared: Prepared, split: Split) -> tuple[Tensor, Tensor]:
    """Scores and likeliest labels of a split's rows, in float32 and in their order."""
    network = prepared.module.network.eval()
    device = next(network.parameters()).device
    texts = list(prepared.splits[split]["text"])
    scores, labels = [], []
    size = prepared.job.batch_size
    for start in range(0, len(texts), size):
        ids = tokenize(prepared.tokenizer, texts[start : start + size])[0]
        batch = prepared.tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(device)
        with torch.no_grad():
            heads = network(batch["input_ids"], batch["attention_mask"]).heads
        scores.append(network.tasks["score"].predict(heads["score"]).cpu())
        labels.append(heads["sentiment"].argmax(dim=1).cpu())
    return torch.cat(scores).flatten(), torch.cat(labels)


SIDES: dict[str, Callable[[Prepared], None]] = {
    "lit_mtl": lit_mtl,
    "lit_mtl, float32": lit_mtl_float32,
    "Trainer, best settings": trainer_best,
    "Trainer, defaults": trainer_default,
    "plain loop, padded to 128": plain_loop,
}
"""sentence-transformers' trainer is not among them: it has no loss for two heads of labels and scores."""
