"""The classifier: embedding → recurrent stack in one or both directions → pooling over time → labels.

A long text is cut into chunks of equal length that are read in parallel, each from an empty state, and pooled together
(as in Johnson & Zhang, 2016): hundreds of steps become dozens, wide enough to keep a processor busy. Pooling takes the
last output, the maximum and the mean of each unit (the "concat pooling" of Howard & Ruder, 2018).

Beside the network there is a linear model over hashed n-grams of words (`ngrams`), and both are combined:

    logits = mix₀ · network + mix₁ · linear + shift

The two weights and the shift are fitted on the validation set, which also calibrates the probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.config import ClassifierConfig
from seqgen.model.chunks import Chunks, Ids, chunk_texts, group_by_length
from seqgen.model.dropout import DropoutRng, dropout_mask
from seqgen.model.embedding import EmbeddedIds
from seqgen.model.ngrams import Bags, rows_of_buckets
from seqgen.model.recurrent.stack import RecurrentStack
from seqgen.model.transfer import to_device

_AT_ONCE = 1 << 15  # ids read at once in inference: their gates take some dozens of megabytes


class _Reader(nn.Module):
    """The recurrent stack of one direction; its weights are `readers.N.layers.M.…`."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.layers = RecurrentStack(config)


class Classifier(nn.Module):
    """Texts to logits of labels.

    The linear model and the mixture are parameters too, but not trained by gradient.
    """

    def __init__(self, config: ClassifierConfig, generator: torch.Generator | None = None) -> None:
        """`generator`: initialises the weights; without one they have to be loaded."""
        super().__init__()
        self.config = config
        labels = len(config.labels)
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.embedding_size))
        self.readers = nn.ModuleList(_Reader(config) for _ in config.directions)
        width = 3 * config.rnn_size * len(config.directions)
        self.head_weight = nn.Parameter(torch.zeros(labels, width))
        self.head_bias = nn.Parameter(torch.zeros(labels))
        self.mix = nn.Parameter(torch.tensor([1.0, 0.0]), requires_grad=False)
        self.shift = nn.Parameter(torch.zeros(labels), requires_grad=False)
        self.prior = nn.Parameter(torch.zeros(labels), requires_grad=False)  # logits of an empty text
        self.wide_keys = nn.Parameter(torch.zeros(config.features), requires_grad=False)
        self.wide_weight = nn.Parameter(torch.zeros(config.features, labels), requires_grad=False)
        self.wide_bias = nn.Parameter(torch.zeros(labels), requires_grad=False)
        self._row_of_bucket: npt.NDArray[np.int32] | None = None  # computed from `wide_keys` on first use
        if generator is not None:
            self.initialise(generator)

    def initialise(self, generator: torch.Generator) -> None:
        """Set every weight of the embedding and the recurrent stacks; the output layer starts at zero."""
        nn.init.normal_(self.embedding, std=self.config.embedding_size**-0.5, generator=generator)
        for stack in self._stacks():
            stack.initialise(generator)

    def _stacks(self) -> list[RecurrentStack]:
        """The recurrent stack of each direction."""
        return [cast(_Reader, reader).layers for reader in self.readers]

    def summaries(
        self, ids: Tensor, lengths: Tensor, rng: DropoutRng | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """The last output, the maximum and the sum of each unit in every chunk.

        Args:
            ids, lengths: of `Chunks`, as tensors.
            rng: draws the dropout masks; without one nothing is dropped.
            dtype: of the products; by default that of the weights.

        Returns:
            shape (chunks, directions, 3, units), float32.
        """
        dropout = self.config.dropout if self._drops(rng) else 0.0
        outputs = self.outputs(ids, lengths, rng, dtype, dropout)
        return torch.stack([summarise(hidden, lengths) for _, hidden in outputs], dim=1)

    def _drops(self, rng: DropoutRng | None) -> bool:
        return self.training and rng is not None

    def outputs(
        self, ids: Tensor, lengths: Tensor, rng: DropoutRng | None, dtype: torch.dtype | None, dropout: float
    ) -> Iterator[tuple[str, Tensor]]:
        """Each direction and the top layer's outputs in reading order, shape (time, chunks, units)."""
        dtype = dtype or self.embedding.dtype
        weight_drop = self.config.weight_drop if self._drops(rng) else 0.0
        for direction, stack in zip(self.config.directions, self._stacks(), strict=True):
            ordered = ids if direction == "forward" else reverse(ids, lengths)
            hidden, _ = stack(
                self._inputs(ordered, dtype, dropout, rng),
                stack.initial(ids.shape[1]),
                dtype,
                dropout=dropout,
                drop_top=False,
                weight_drop=weight_drop,
                rng=rng,
            )
            yield direction, hidden

    def _inputs(self, ids: Tensor, dtype: torch.dtype, dropout: float, rng: DropoutRng | None) -> EmbeddedIds:
        """The inputs of a stack.

        Half of the dropout drops whole token types (Gal & Ghahramani, 2016), so that the classifier relies on no single
        word; the other half drops units of the embedding.
        """
        embedding: Tensor = self.embedding
        if dropout:
            embedding = embedding.to(dtype)
            embedding = embedding * dropout_mask(embedding[:, :1], dropout / 2, rng)
            embedding = embedding * dropout_mask(embedding[:1], dropout / 2, rng)
        return EmbeddedIds(embedding, ids, dtype, 4 * self.config.vocab_size)

    def logits_from_summaries(
        self,
        summaries: Tensor,
        lengths: Tensor,
        text_indices: Tensor,
        texts: int,
        rng: DropoutRng | None = None,
    ) -> Tensor:
        """The network's logits, shape (texts, labels), float32, from the summaries of all chunks of the texts."""
        columns = torch.arange(len(text_indices), device=text_indices.device)
        zeros = torch.zeros(texts, dtype=torch.long, device=text_indices.device)
        counts = lengths.new_zeros(texts).index_add(0, text_indices, lengths)[:, None]
        features = []
        for number, direction in enumerate(self.config.directions):
            last, largest, total = summaries[:, number].unbind(1)
            # Reading backward ends in the first chunk.
            end = "amax" if direction == "forward" else "amin"
            final = zeros.scatter_reduce(0, text_indices, columns, end, include_self=False)
            rows = text_indices[:, None].expand_as(largest)
            empty = total.new_zeros(texts, total.shape[1])
            maximum = empty.scatter_reduce(0, rows, largest, "amax", include_self=False)
            features += [last[final], maximum, _sum_by_text(total, text_indices, empty) / counts]
        pooled = torch.cat(features, dim=1)
        if self.training and rng is not None and self.config.dropout:
            pooled = pooled * dropout_mask(pooled, self.config.dropout, rng, lane_dim=0)
        wide = accumulation_dtype(pooled)
        logits = F.linear(pooled.to(wide), self.head_weight.to(wide), self.head_bias.to(wide))
        return logits.to(pooled.dtype)

    def network_logits(
        self, chunks: Chunks, texts: int, rng: DropoutRng | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """The network's logits of texts in chunks, shape (texts, labels)."""
        ids, lengths, text_indices = (to_device(array, self.embedding.device) for array in chunks)
        return self.logits_from_summaries(self.summaries(ids, lengths, rng, dtype), lengths, text_indices, texts, rng)

    def predict_logits(self, texts: Sequence[Ids], dtype: torch.dtype | None = None) -> Tensor:
        """The network's logits of texts of any number and length, shape (texts, labels), in bounded memory.

        Call it without gradients. An empty text gets the output bias.
        """
        device = self.embedding.device
        nonempty = [number for number, text in enumerate(texts) if len(text)]
        logits = self.head_bias.detach().repeat(len(texts), 1)
        if not nonempty:
            return logits
        chunks = chunk_texts([texts[number] for number in nonempty], self.config.stretch)
        directions, units = len(self.config.directions), self.config.rnn_size
        summaries = torch.empty(len(chunks.lengths), directions, 3, units, device=device)
        for group in group_by_length(chunks.lengths, _AT_ONCE):
            longest = int(chunks.lengths[group].max())
            ids, lengths = to_device(chunks.ids[:longest, group], device), to_device(chunks.lengths[group], device)
            summaries[to_device(group, device)] = self.summaries(ids, lengths, dtype=dtype)
        lengths = to_device(chunks.lengths, device)
        text_indices = to_device(chunks.text_indices, device)
        logits[torch.tensor(nonempty, device=device)] = self.logits_from_summaries(
            summaries, lengths, text_indices, len(nonempty)
        )
        return logits

    def linear_logits(self, bags: Bags) -> Tensor | None:
        """The linear model's logits of texts by their n-grams, shape (texts, labels); None without a linear model."""
        if not self.config.features:
            return None
        device = self.embedding.device
        rows = self._rows()[bags.buckets]
        known = rows >= 0
        starts = np.concatenate([[0], np.cumsum(known)])[bags.starts[:-1]]
        scale = torch.from_numpy(np.diff(bags.starts).clip(min=1).astype(np.float32)).to(device).rsqrt_()
        at = torch.device("cpu") if device.type == "mps" else device  # MPS has no embedding bags
        columns, offsets = torch.from_numpy(rows[known]).to(at), torch.from_numpy(starts).to(at)
        total = F.embedding_bag(columns, self.wide_weight.to(at), offsets, mode="sum").to(device)
        return total * scale[:, None] + self.wide_bias

    def _rows(self) -> npt.NDArray[np.int32]:
        """The row of each bucket in the linear model, or −1."""
        if self._row_of_bucket is None:
            self._row_of_bucket = rows_of_buckets(self.wide_keys.detach().cpu().numpy().astype(np.int64))
        return self._row_of_bucket

    def set_linear_model(self, keys: npt.NDArray[np.integer], weight: Tensor, bias: Tensor) -> None:
        """Set the linear model: ascending buckets, shape (features,), their weights and the biases of the labels."""
        with torch.no_grad():
            self.wide_keys.copy_(torch.from_numpy(keys.astype(np.float32)))
            self.wide_weight.copy_(weight)
            self.wide_bias.copy_(bias)
        self._row_of_bucket = None

    def combined_logits(self, network_logits: Tensor, linear_logits: Tensor | None) -> Tensor:
        """Calibrated logits of the network and the linear model, shape (texts, labels)."""
        logits = self.mix[0] * network_logits + self.shift
        return logits if linear_logits is None else logits + self.mix[1] * linear_logits


def reverse(ids: Tensor, lengths: Tensor) -> Tensor:
    """Every chunk from its end to its beginning, with the padding still at the end."""
    steps = torch.arange(len(ids), device=ids.device)[:, None]
    return ids.gather(0, torch.where(steps < lengths, lengths - 1 - steps, steps))


def summarise(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Last, maximum and sum over the steps of each chunk: (time, chunks, units) → (chunks, 3, units)."""
    inside = (torch.arange(len(hidden), device=hidden.device)[:, None] < lengths)[:, :, None]
    last = hidden.gather(0, (lengths - 1)[None, :, None].expand(1, -1, hidden.shape[2]))[0]
    largest = hidden.masked_fill(~inside, torch.finfo(hidden.dtype).min).amax(0)
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    total = (hidden * inside).sum(0, dtype=accumulation_dtype(hidden)).to(dtype)
    return torch.stack([last.to(dtype), largest.to(dtype), total], dim=1)


def _sum_by_text(total: Tensor, text_indices: Tensor, empty: Tensor) -> Tensor:
    """Sums over the chunks of each text, in the shape of `empty`; on a GPU in an order that is always the same."""
    if total.device.type == "cpu":
        return empty.index_add(0, text_indices, total)
    texts = torch.arange(len(empty), device=total.device)[:, None]
    return (texts == text_indices).to(total.dtype) @ total


def accumulation_dtype(like: Tensor) -> torch.dtype:
    """The dtype to sum such numbers in: float64 in inference on a CPU, otherwise at least float32."""
    if torch.is_grad_enabled() or like.device.type != "cpu":
        return torch.promote_types(like.dtype, torch.float32)
    return torch.float64
