"""The classifier: embedding → recurrent stack in one or both directions → pooling over time → labels.

A long text is read in stretches of equal length side by side, each from an empty state, and what is pooled is pooled
over all of them (as in Johnson & Zhang, 2016): hundreds of steps become dozens, wide enough to keep a processor busy.
Pooled are the last outputs, the largest and the mean of each unit (the "concat pooling" of Howard & Ruder, 2018).

Beside the network stands a linear model over hashed n-grams of words (`ngrams`), and the answer comes from both:

    logits = mix₀ · deep + mix₁ · wide + shift

with two weights and a shift fitted on the held-out part, which also calibrates the probabilities.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.config import ClassifierConfig
from seqgen.model.chunks import Chunks, Ids, chunk_counts, chunk_texts, group_by_length
from seqgen.model.dropout import DropoutRng, dropout_mask
from seqgen.model.language import RecurrentLayer, embedding_lookup
from seqgen.model.ngrams import Bags, rows_of_buckets
from seqgen.model.recurrent.cells import cell

__all__ = ["Classifier", "Ids", "Reader", "Chunks", "chunk_counts", "chunk_texts", "group_by_length", "reverse"]

_AT_ONCE = 1 << 15  # ids read together where nothing is learnt: their gates are some dozens of megabytes


class Reader(nn.Module):
    """A recurrent stack in one direction, and how it is begun."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        recurrent_cell = cell(config.cell, config.activation)
        sizes = [config.embedding_size] + [config.rnn_size] * config.num_layers
        self.layers = nn.ModuleList(RecurrentLayer(recurrent_cell, a, b) for a, b in itertools.pairwise(sizes))

    def stack(self) -> list[RecurrentLayer]:
        """The layers, from the input up."""
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]


class Classifier(nn.Module):
    """Texts to logits of labels. See the module's text; the linear model and the mixture are weights like others,
    but not learnt by gradient."""

    def __init__(self, config: ClassifierConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        labels = len(config.labels)
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.embedding_size))
        self.readers = nn.ModuleList(Reader(config) for _ in config.directions)
        width = 3 * config.rnn_size * len(config.directions)
        self.head_weight = nn.Parameter(torch.zeros(labels, width))
        self.head_bias = nn.Parameter(torch.zeros(labels))
        self.mix = nn.Parameter(torch.tensor([1.0, 0.0]), requires_grad=False)
        self.shift = nn.Parameter(torch.zeros(labels), requires_grad=False)
        self.prior = nn.Parameter(
            torch.zeros(labels), requires_grad=False
        )  # logits of a text of which nothing is known
        self.wide_keys = nn.Parameter(torch.zeros(config.features), requires_grad=False)
        self.wide_weight = nn.Parameter(torch.zeros(config.features, labels), requires_grad=False)
        self.wide_bias = nn.Parameter(torch.zeros(labels), requires_grad=False)
        self._row_of_bucket: npt.NDArray[np.int32] | None = None  # made of `wide_keys` when it is needed
        if generator is not None:
            self.initialise(generator)

    def initialise(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.embedding, std=self.config.embedding_size**-0.5, generator=generator)
        for reader in self._readers():
            for layer in reader.stack():
                layer.initialise(generator)

    def _readers(self) -> list[Reader]:
        return [reader for reader in self.readers if isinstance(reader, Reader)]

    def summaries(
        self, ids: Tensor, lengths: Tensor, generator: DropoutRng | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """What is kept of every stretch, shape (stretches, directions, 3, units), float32: the last output, the largest
        and the sum of each unit.

        Args:
            ids, lengths: of `Chunks`, as tensors.
            generator: makes the masks of dropout; None drops nothing.
            kind: type of the products, by default that of the weights.
        """
        drop = self.config.dropout if self.training and generator is not None else 0.0
        read = self.outputs(ids, lengths, generator, dtype, drop)
        return torch.stack([_summarise(hidden, lengths) for _, hidden in read], dim=1)

    def outputs(
        self, ids: Tensor, lengths: Tensor, generator: DropoutRng | None, dtype: torch.dtype | None, drop: float
    ) -> Iterator[tuple[str, Tensor]]:
        """Each direction, and the top layer's outputs in the order in which it reads, (time, stretches, units)."""
        for direction, reader in zip(self.config.directions, self._readers(), strict=True):
            read = ids if direction == "forward" else reverse(ids, lengths)
            yield direction, self._read(reader, read, dtype or self.embedding.dtype, drop, generator)

    def logits_from_summaries(
        self,
        summaries: Tensor,
        lengths: Tensor,
        text_indices: Tensor,
        texts: int,
        generator: DropoutRng | None = None,
    ) -> Tensor:
        """The network's logits, shape (texts, labels), float32, from what was kept of all stretches of the texts."""
        places = torch.arange(len(text_indices), device=text_indices.device)
        blank = torch.zeros(texts, dtype=torch.long, device=text_indices.device)
        counts = lengths.new_zeros(texts).index_add(0, text_indices, lengths)[:, None]
        features = []
        for number, direction in enumerate(self.config.directions):
            last, largest, total = summaries[:, number].unbind(1)
            # A reader that goes backwards ends in the first stretch.
            end = "amax" if direction == "forward" else "amin"
            which = blank.scatter_reduce(0, text_indices, places, end, include_self=False)
            rows = text_indices[:, None].expand_as(largest)
            empty = total.new_zeros(texts, total.shape[1])
            top = empty.scatter_reduce(0, rows, largest, "amax", include_self=False)
            features += [last[which], top, empty.index_add(0, text_indices, total) / counts]
        pooled = torch.cat(features, dim=1)
        if self.training and generator is not None and self.config.dropout:
            pooled = pooled * dropout_mask(pooled, self.config.dropout, generator, lane_dim=0)
        fine = accumulation_dtype(pooled)
        logits = F.linear(pooled.to(fine), self.head_weight.to(fine), self.head_bias.to(fine))
        return logits.to(pooled.dtype)

    def network_logits(
        self, laid: Chunks, texts: int, generator: DropoutRng | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """The network's logits of texts that are laid out, shape (texts, labels): `summaries` and `logits_from_summaries` in one."""
        ids, lengths, text_indices = (torch.from_numpy(array).to(self.embedding.device) for array in laid)
        return self.logits_from_summaries(
            self.summaries(ids, lengths, generator, dtype), lengths, text_indices, texts, generator
        )

    def predict_logits(self, texts: Sequence[Ids], dtype: torch.dtype | None = None) -> Tensor:
        """The network's logits of any number of texts of any length, without gradients, in bounded memory."""
        place = self.embedding.device
        written = [number for number, text in enumerate(texts) if len(text)]
        logits = self.head_bias.detach().repeat(len(texts), 1)  # all that can be said of nothing
        if not written:
            return logits
        laid = chunk_texts([texts[number] for number in written], self.config.stretch)
        kept = torch.empty(len(laid.lengths), len(self.config.directions), 3, self.config.rnn_size, device=place)
        for chosen in group_by_length(laid.lengths, _AT_ONCE):
            longest = int(laid.lengths[chosen].max())
            ids = torch.from_numpy(laid.ids[:longest, chosen]).to(place)
            kept[torch.from_numpy(chosen)] = self.summaries(
                ids, torch.from_numpy(laid.lengths[chosen]).to(place), dtype=dtype
            )
        lengths, text_indices = torch.from_numpy(laid.lengths).to(place), torch.from_numpy(laid.text_indices).to(place)
        logits[torch.tensor(written, device=place)] = self.logits_from_summaries(
            kept, lengths, text_indices, len(written)
        )
        return logits

    def _read(
        self, reader: Reader, ids: Tensor, dtype: torch.dtype, drop: float, generator: DropoutRng | None
    ) -> Tensor:
        hidden: Tensor | None = None
        for layer in reader.stack():
            weight, bias = layer.input_weight.to(dtype), layer.bias.to(dtype)
            if hidden is None:
                hidden = self._embed(ids, weight, bias, dtype, drop, generator)
            else:
                if drop:
                    hidden = hidden * dropout_mask(hidden[:1], drop, generator, lane_dim=1)
                hidden = F.linear(hidden, weight, bias)
            mask = None
            if drop and self.config.weight_drop:
                mask = dropout_mask(layer.recurrent_weight, self.config.weight_drop, generator)
            hidden, _ = layer(hidden, layer.initial(ids.shape[1]), mask)
        assert hidden is not None
        return hidden

    def _embed(
        self,
        ids: Tensor,
        weight: Tensor,
        bias: Tensor,
        dtype: torch.dtype,
        drop: float,
        generator: DropoutRng | None,
    ) -> Tensor:
        """The first layer's gates. Half of the dropout takes whole pieces of the vocabulary (Gal & Ghahramani, 2016),
        so that no single word is relied upon, and half takes units of the embedding."""
        embedding = self.embedding.to(dtype)
        if drop:
            embedding = embedding * dropout_mask(embedding[:, :1], drop / 2, generator)
            embedding = embedding * dropout_mask(embedding[:1], drop / 2, generator)
        if 4 * self.config.vocab_size <= ids.numel():  # as in `LanguageModel`
            return embedding_lookup(F.linear(embedding, weight, bias), ids)
        return F.linear(embedding_lookup(embedding, ids), weight, bias)

    def linear_logits(self, bags: Bags) -> Tensor | None:
        """The linear model's logits, shape (texts, labels), of texts by their n-grams; None without such a model."""
        if not self.config.features:
            return None
        place = self.embedding.device
        rows = self._rows()[bags.buckets]
        known = rows >= 0
        starts = np.concatenate([[0], np.cumsum(known)])[bags.starts[:-1]]
        share = torch.from_numpy(np.diff(bags.starts).clip(min=1).astype(np.float32)).to(place).rsqrt_()
        chosen, first = torch.from_numpy(rows[known]).to(place), torch.from_numpy(starts).to(place)
        total = F.embedding_bag(chosen, self.wide_weight, first, mode="sum")
        return total * share[:, None] + self.wide_bias

    def _rows(self) -> npt.NDArray[np.int32]:
        """The row of each bucket among those that the linear model knows, or −1."""
        if self._row_of_bucket is None:
            self._row_of_bucket = rows_of_buckets(self.wide_keys.detach().cpu().numpy().astype(np.int64))
        return self._row_of_bucket

    def set_linear_model(self, keys: npt.NDArray[np.integer], weight: Tensor, bias: Tensor) -> None:
        """Sets the linear model: buckets, ascending, shape (features,), their weights and the biases of the labels."""
        with torch.no_grad():
            self.wide_keys.copy_(torch.from_numpy(keys.astype(np.float32)))
            self.wide_weight.copy_(weight)
            self.wide_bias.copy_(bias)
        self._row_of_bucket = None

    def combined_logits(self, network_logits: Tensor, linear_logits: Tensor | None) -> Tensor:
        """Calibrated logits of both."""
        logits = self.mix[0] * network_logits + self.shift
        return logits if linear_logits is None else logits + self.mix[1] * linear_logits


def reverse(ids: Tensor, lengths: Tensor) -> Tensor:
    """Every stretch from its end to its beginning, the padding still behind."""
    steps = torch.arange(len(ids), device=ids.device)[:, None]
    return ids.gather(0, torch.where(steps < lengths, lengths - 1 - steps, steps))


def _summarise(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Last, largest and sum over the steps of each stretch: (time, stretches, units) → (stretches, 3, units)."""
    inside = (torch.arange(len(hidden), device=hidden.device)[:, None] < lengths)[:, :, None]
    last = hidden.gather(0, (lengths - 1)[None, :, None].expand(1, -1, hidden.shape[2]))[0]
    largest = hidden.masked_fill(~inside, torch.finfo(hidden.dtype).min).amax(0)
    exact = torch.promote_types(hidden.dtype, torch.float32)
    total = (hidden * inside).sum(0, dtype=accumulation_dtype(hidden)).to(exact)
    return torch.stack([last.to(exact), largest.to(exact), total], dim=1)


def accumulation_dtype(like: Tensor) -> torch.dtype:
    """The type to take sums of such numbers in: where nothing is learnt on a CPU, float64."""
    if torch.is_grad_enabled() or like.device.type != "cpu":
        return torch.promote_types(like.dtype, torch.float32)
    return torch.float64
