"""Language modelling: the next character or byte at every place of a text, judged by bits per character."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fourfold.record import Metric, UserError
from fourfold.tasks.confusion import IGNORE
from fourfold.tasks.protocol import check_tensor

BITS = Metric(name="bpc", unit="bits", higher_is_better=False, title="bits per character")


@dataclass(frozen=True, kw_only=True)
class Language:
    """The next token at every place: cross-entropy, judged by bits per character (of bytes: per byte), less is better.

    Shapes: outputs (batch, tokens of the vocabulary, T), targets int64 (batch, T), -100 where there is nothing to predict.
    """

    metric: Metric = BITS

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the mean cross-entropy of the places that count, in nats; 0 where none does.

        Raises:
            UserError: outputs and targets do not fit each other.
        """
        logits, tokens = _checked(outputs, targets)
        if not self.loss_terms(tokens):
            return logits.sum() * 0  # torch's mean of nothing is NaN
        return F.cross_entropy(logits, tokens, ignore_index=IGNORE)

    def loss_terms(self, targets: Any) -> float:
        """Return what the loss is the mean over: the places that count."""
        return float((check_tensor("targets", targets) != IGNORE).sum())

    def meter(self) -> "LanguageMeter":
        """Return a meter that has seen no batch."""
        return LanguageMeter()


class LanguageMeter:
    """Adds up how many bits the text takes that a network foretells, over the places of all batches."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._nats, self._right, self._count = 0.0, 0, 0

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in logits (batch, tokens, T) and the next tokens int64 (batch, T)."""
        logits, tokens = _checked(outputs, targets)
        losses = F.cross_entropy(logits.float(), tokens, ignore_index=IGNORE, reduction="none")
        self._nats += float(losses.double().sum())
        self._right += int((logits.argmax(1) == tokens).sum())
        self._count += int((tokens != IGNORE).sum())

    def compute(self) -> dict[str, float]:
        """Return `bpc`, the mean of -log2 of the probability of the token that follows, and `top1`, how often it is the
        likeliest, in percent.

        Raises:
            UserError: nothing was counted.
        """
        if not self._count:
            raise UserError("there is nothing to measure: no token follows another")
        return {"bpc": self._nats / math.log(2) / self._count, "top1": 100 * self._right / self._count}


def _checked(outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Return logits and tokens whose shapes fit each other."""
    logits, tokens = check_tensor("network's output", outputs), check_tensor("targets", targets)
    fits = logits.dim() == 3 and tokens.shape == (logits.shape[0], logits.shape[2])
    if not fits or tokens.is_floating_point() or tokens.dtype == torch.bool:
        raise UserError(
            f"the network's output (of shape {tuple(logits.shape)}) and the targets ({tokens.dtype} of shape "
            f"{tuple(tokens.shape)}) must be (batch, tokens, T) and integers (batch, T) for `task.name` (='language')"
        )
    return logits, tokens.long()
