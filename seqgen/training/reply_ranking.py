"""Learning to rank replies (`generation.ranking`).

The contrastive score is learnt on the training set: the true reply to a history against the other replies of a batch
(Henderson et al., 2017). The mixture of all features is a logistic regression on questions of the validation set, whose
true reply stands among up to nine of other conversations: there the likelihoods are those of conversations that the
network has not learnt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.corpus.ids import IdStream
from seqgen.evaluation.dialogue import (
    RankingQuestion,
    ScoredQuestion,
    SpeakerTurns,
    history_of,
    ranking_questions,
    score_questions,
)
from seqgen.generation.engines.base import Engine
from seqgen.generation.ranking import FEATURES, ORDER, RECENT_TURNS, Bag, Floats, ReplyRanker, known_bags, word_buckets
from seqgen.model.language import LanguageModel
from seqgen.model.ngrams import BUCKETS, bags
from seqgen.time_limit import NO_LIMIT, TimeLimit
from seqgen.tokenizers import decode
from seqgen.tokenizers.codec import Ids
from seqgen.tokenizers.dialogue import DialogueCodec
from seqgen.training.batches import epoch_permutation
from seqgen.training.device import Compute
from seqgen.training.optimiser import AdamW, ParameterGroup
from seqgen.untrusted import as_bytes

_DIMENSIONS = 64
_MOST_NGRAMS = 10_000
_EPOCHS, _BATCH = 6, 256
_RATE, _WARMUP = 3e-3, 0.05
_DECAY = 0.0
_DROPOUT = 0.3  # of the network's output
_INITIAL_TURN_DECAY = 0.7  # from turn to turn; training changes the weights of turns
_LONGEST = 1024  # ids of an excerpt; a longer conversation becomes several
_WINDOW = 1 << 16  # ids
_EXCERPTS_PER_BATCH = 64
_LEAST_TOKENS, _MOST_TOKENS = 1 << 16, 1 << 21
_READING, _OUTPUTS, _CONTRASTIVE = 0.15, 0.4, 0.75  # of the time: when they end at the latest
_QUESTIONS_AT_ONCE = 100
_QUESTION_COST = 300  # ids that the network reads for a question
_FEWEST_QUESTIONS, _MOST_QUESTIONS = 200, 600
_LEAST_PAIRS, _LEAST_QUESTIONS = 64, 32  # to learn anything from
_PENALTY = 1e-3  # of the squared weights of standardised features
_NEWTON_STEPS = 12
_FOLDS = 5


class LearntRanking(NamedTuple):
    """A ranker, and the fraction of validation questions whose true reply comes first (cross-validated)."""

    ranker: ReplyRanker
    hits_at_1: float


@dataclass(frozen=True)
class _Excerpt:
    """A conversation, or a part of a long one: its ids, `end` first, and its turns."""

    ids: Ids
    turns: SpeakerTurns


def learn_ranking(
    network: LanguageModel,
    engine: Engine,
    codec: DialogueCodec,
    train: IdStream,
    held_out: IdStream,
    compute: Compute,
    seed: int,
    trained_tokens: int,
    limit: TimeLimit = NO_LIMIT,
) -> LearntRanking | None:
    """Learn to rank replies by a language model; None if there are too few conversations.

    Args:
        network: the language model, in evaluation mode.
        engine: the same with exact weights.
        trained_tokens: tokens that the network was trained on: an eighth as many, or less, are read again for this.
        limit: where it is reached, fewer conversations and steps have to do.

    Raises `StoppedError` if `limit` says so.
    """
    excerpts = list(
        _excerpts(train, codec, min(_MOST_TOKENS, max(_LEAST_TOKENS, trained_tokens // 8)), limit.part(_READING))
    )
    asked = min(_MOST_QUESTIONS, max(_FEWEST_QUESTIONS, trained_tokens // (16 * _QUESTION_COST)))
    valid = [excerpt.turns for excerpt in _excerpts(held_out, codec, asked * _QUESTION_COST)]
    questions = ranking_questions(valid, seed)
    chosen = np.sort(epoch_permutation(seed, 0, len(questions))[:asked])
    questions = [questions[index] for index in chosen]
    if sum(len(excerpt.turns) - 1 for excerpt in excerpts) < _LEAST_PAIRS or len(questions) < _LEAST_QUESTIONS:
        return None
    ranker = _learn_contrastive(network, codec, excerpts, compute, seed, limit)
    features, questions = _features(ranker, engine, codec, valid, questions, limit)
    conversations = np.array([question.conversation for question in questions])
    mixture = _fit_mixture(features).astype(np.float32)
    return LearntRanking(replace(ranker, mixture=mixture), _cross_validated(features, conversations))


def _excerpts(stream: IdStream, codec: DialogueCodec, most: int, limit: TimeLimit = NO_LIMIT) -> Iterator[_Excerpt]:
    """Excerpts of a stream with about `most` ids in all, from windows spread over it evenly, in any order."""
    size = len(stream)
    count = max(1, min(most, size) // _WINDOW)
    for number in limit.until_over(epoch_permutation(0, 0, count).tolist()):
        start = number * size // count
        stop = min((number + 1) * size // count, start + max(1, most // count))
        ids = stream.take(np.arange(start, stop)).astype(np.int32)
        yield from _split(np.append(ids, np.int32(codec.end)) if stop == size else ids, codec)


def _split(ids: Ids, codec: DialogueCodec) -> Iterator[_Excerpt]:
    """The excerpts in a run of ids. Turns that are cut at its ends are left out."""
    opens = np.flatnonzero((ids < codec.speakers) | (ids == codec.end))  # turns, and conversations
    pieces: list[Ids] = []
    turns: list[tuple[int, str]] = []
    length = 0
    for start, stop in zip(opens.tolist(), opens[1:].tolist(), strict=False):
        is_end = ids[start] == codec.end
        if is_end or length + stop - start > _LONGEST:
            if len(turns) > 1:
                yield _Excerpt(np.concatenate([np.array([codec.end], dtype=np.int32), *pieces]), turns)
            pieces, turns, length = [], [], 0
        if not is_end:
            turn = ids[start:stop]
            words = decode(codec.text, (turn[1:] - codec.speakers).tolist()).decode("utf-8", "surrogateescape")
            pieces.append(turn)
            turns.append((int(turn[0]), words))
            length += len(turn)
    if len(turns) > 1:
        yield _Excerpt(np.concatenate([np.array([codec.end], dtype=np.int32), *pieces]), turns)


def _outputs(
    network: LanguageModel, codec: DialogueCodec, excerpts: Sequence[_Excerpt], compute: Compute, limit: TimeLimit
) -> tuple[list[_Excerpt], Tensor]:
    """The top layer's output before every turn but the first of each excerpt, shape (replies, units), as float16.

    With it come the excerpts that there was time for, in the same order.
    """
    done: list[_Excerpt] = []
    found: list[Tensor] = []
    in_order = sorted(excerpts, key=lambda excerpt: -len(excerpt.ids))  # of similar length side by side
    batches = [in_order[start : start + _EXCERPTS_PER_BATCH] for start in range(0, len(in_order), _EXCERPTS_PER_BATCH)]
    for index in limit.until_over(epoch_permutation(0, 0, len(batches)).tolist()):
        batch = batches[index]
        ids = np.full((len(batch[0].ids), len(batch)), codec.end, dtype=np.int64)
        for column, excerpt in enumerate(batch):
            ids[: len(excerpt.ids), column] = excerpt.ids
        inputs = torch.from_numpy(ids).to(compute.device)
        with torch.no_grad():
            hidden, _ = network(inputs, network.initial(len(batch)), dtype=compute.dtype)
        for column, excerpt in enumerate(batch):
            opens = torch.from_numpy(np.flatnonzero(excerpt.ids < codec.speakers)[1:])
            found.append(hidden[opens.to(hidden.device) - 1, column].half().cpu())
        done += batch
    return done, torch.cat(found)


class _NgramTable(NamedTuple):
    keys: npt.NDArray[np.int32]
    idf: npt.NDArray[np.float32]


def _ngram_table(texts: Sequence[str]) -> _NgramTable:
    """The commonest n-grams that occur in at least two texts, and ln((1 + texts) / (1 + texts with it)) + 1."""
    keys, counts = np.unique(bags([as_bytes(text) for text in texts], ORDER, BUCKETS).buckets, return_counts=True)
    common = np.argsort(-counts, kind="stable")[:_MOST_NGRAMS]
    common = np.sort(common[counts[common] > 1])
    idf = np.log((1 + len(texts)) / (1 + counts[common])) + 1
    return _NgramTable(keys[common].astype(np.int32), idf.astype(np.float32))


class _Contrastive(nn.Module):
    """The vectors of contexts and replies (see `ReplyRanker`)."""

    def __init__(self, ngrams: int, units: int, generator: torch.Generator) -> None:
        super().__init__()
        size = _DIMENSIONS
        self.said, self.replied = (nn.Parameter(torch.empty(ngrams, size)) for _ in range(2))
        self.projection, self.bias = nn.Parameter(torch.empty(size, units)), nn.Parameter(torch.zeros(size))
        self.turn_weights = nn.Parameter(_INITIAL_TURN_DECAY ** torch.arange(RECENT_TURNS, dtype=torch.float32))
        for table in (self.said, self.replied):
            nn.init.normal_(table, std=0.3 * size**-0.5, generator=generator)
        nn.init.normal_(self.projection, std=units**-0.5, generator=generator)

    def contexts(self, hidden: Tensor, histories: Sequence[Sequence[Bag]]) -> Tensor:
        """The vectors of contexts, shape (contexts, dimensions); a history's turns are oldest first."""
        flat: list[Bag] = []
        ages: list[npt.NDArray[np.int64]] = []
        for turns in histories:
            recent = turns[-RECENT_TURNS:][::-1]
            flat += recent
            ages.append(np.repeat(np.arange(len(recent)), [len(bag) for bag in recent]))
        starts = np.cumsum([0, *(len(age) for age in ages)])[:-1]
        weights = self.turn_weights[torch.from_numpy(np.concatenate(ages))] * _root_weights(flat)
        words = _sums(self.said, flat, torch.from_numpy(starts), weights)
        return F.linear(hidden, self.projection, self.bias) + words

    def replies(self, replies: Sequence[Bag]) -> Tensor:
        """The vectors of replies, shape (replies, dimensions)."""
        starts = np.cumsum([0, *(len(bag) for bag in replies)])[:-1]
        return _sums(self.replied, replies, torch.from_numpy(starts), _root_weights(replies))


def _root_weights(texts: Sequence[Bag]) -> Tensor:
    """One over the root of the number of n-grams of its text, for every n-gram of every text."""
    sizes = np.array([len(bag) for bag in texts], dtype=np.int64)
    return torch.from_numpy(np.repeat(np.maximum(sizes, 1) ** -0.5, sizes).astype(np.float32))


def _sums(table: Tensor, texts: Sequence[Bag], starts: Tensor, weights: Tensor) -> Tensor:
    rows = torch.from_numpy(np.concatenate(texts)) if texts else torch.empty(0, dtype=torch.int64)
    return F.embedding_bag(rows, table, starts, mode="sum", per_sample_weights=weights)


def _learn_contrastive(
    network: LanguageModel,
    codec: DialogueCodec,
    excerpts: Sequence[_Excerpt],
    compute: Compute,
    seed: int,
    limit: TimeLimit,
) -> ReplyRanker:
    """A ranker whose mixture is not fitted yet."""
    excerpts, hidden = _outputs(network, codec, excerpts, compute, limit.part(_OUTPUTS))
    texts = [words for excerpt in excerpts for _, words in excerpt.turns]
    table = _ngram_table(texts)
    turn_bags = known_bags(table.keys, texts)
    numbers: dict[str, int] = {}
    same_text = np.array([numbers.setdefault(text, len(numbers)) for text in texts])
    first = np.cumsum([0, *(len(excerpt.turns) for excerpt in excerpts)])[:-1]
    begins = np.repeat(first, [len(excerpt.turns) - 1 for excerpt in excerpts])
    replies = np.concatenate(
        [start + np.arange(1, len(excerpt.turns)) for start, excerpt in zip(first, excerpts, strict=True)]
    )
    generator = torch.Generator().manual_seed(seed)
    vectors = _Contrastive(len(table.keys), hidden.shape[1], generator)
    group = ParameterGroup(dict(vectors.named_parameters()), _DECAY)
    optimiser = AdamW([group])
    per_epoch = max(1, len(replies) // _BATCH)
    steps = _EPOCHS * per_epoch
    clock = limit.part(_CONTRASTIVE)
    available, progress = clock.left, 0.0
    for step in range(steps):
        limit.check()
        if step % per_epoch == 0:
            order = epoch_permutation(seed, step // per_epoch, len(replies))
        rows = order[(step % per_epoch) * _BATCH : (step % per_epoch + 1) * _BATCH]
        progress = max(step / steps, 1 - clock.left / max(available, 1e-9) if math.isfinite(available) else 0.0)
        if progress >= 1:
            break
        group.learning_rate = _RATE * min(1.0, (progress + 1 / steps) / _WARMUP) * (1 - progress)
        kept = torch.rand(len(rows), hidden.shape[1], generator=generator) >= _DROPOUT
        histories = [turn_bags[max(begins[row], replies[row] - RECENT_TURNS) : replies[row]] for row in rows]
        context = vectors.contexts(hidden[rows].float() * kept / (1 - _DROPOUT), histories)
        scores = context @ vectors.replies([turn_bags[index] for index in replies[rows]]).T
        texts_of = torch.from_numpy(same_text[replies[rows]])
        same = texts_of[:, None] == texts_of
        same.fill_diagonal_(False)
        optimiser.zero_grad()
        F.cross_entropy(scores.masked_fill(same, -math.inf), torch.arange(len(rows))).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    arrays = {name: weight.detach().numpy() for name, weight in vectors.named_parameters()}
    words = word_buckets(texts)
    return ReplyRanker(words, *table, mixture=np.zeros(len(FEATURES), dtype=np.float32), **arrays)


def _features(
    ranker: ReplyRanker,
    engine: Engine,
    codec: DialogueCodec,
    conversations: Sequence[SpeakerTurns],
    questions: Sequence[RankingQuestion],
    limit: TimeLimit,
) -> tuple[Floats, list[RankingQuestion]]:
    """The features of the candidates of each question, shape (questions, candidates, features).

    Where a question has fewer candidates than others, those it lacks are NaN. With the features come the questions that
    there was time for.
    """
    found: list[Floats] = []
    answered: list[RankingQuestion] = []

    def take(scored: ScoredQuestion) -> None:
        history = history_of(some, scored.question)
        texts = ranker.bags([*history, *scored.question.candidates])
        context = ranker.context(scored.hidden, texts[: len(history)])
        found.append(ranker.features(context, scored.likelihoods, texts[len(history) :]))
        answered.append(replace(scored.question, conversation=numbers[scored.question.conversation]))

    for start in limit.until_over(range(0, len(questions), _QUESTIONS_AT_ONCE)):
        asked = questions[start : start + _QUESTIONS_AT_ONCE]
        numbers = sorted({question.conversation for question in asked})
        some = [conversations[number] for number in numbers]
        asked = [replace(question, conversation=numbers.index(question.conversation)) for question in asked]
        score_questions(engine, codec, some, asked, take)
    features = np.full((len(found), max(map(len, found)), len(FEATURES)), math.nan)
    for row, each in enumerate(found):
        features[row, : len(each)] = each
    return features, answered


def _fit_mixture(features: Floats) -> Floats:
    """The weights of a softmax over candidates under which the true replies, number 0, are likeliest.

    The problem is convex; Newton's method solves it in a few steps.

    Args:
        features: shape (questions, candidates, features), NaN for candidates that a question lacks.
    """
    lacking = np.asarray(np.isnan(features).all(axis=2))
    spread = features[~lacking].std(axis=0)
    spread[spread == 0] = 1.0
    inputs = np.where(lacking[:, :, None], 0.0, features / spread)
    weights, loss = np.zeros(features.shape[-1]), math.inf
    step = np.zeros_like(weights)
    for _ in range(_NEWTON_STEPS):
        probabilities, tried = _mixed(inputs, lacking, weights + step)
        while tried > loss:
            step /= 2
            probabilities, tried = _mixed(inputs, lacking, weights + step)
        weights, loss = weights + step, tried
        means = np.einsum("qc,qcf->qf", probabilities, inputs)
        gradient = (means - inputs[:, 0]).mean(axis=0) + 2 * _PENALTY * weights
        second = np.einsum("qc,qcf,qcg->fg", probabilities, inputs, inputs) - means.T @ means
        step = -np.linalg.solve(second / len(inputs) + 2 * _PENALTY * np.eye(len(weights)), gradient)
    return weights / spread


def _mixed(inputs: Floats, lacking: npt.NDArray[np.bool_], weights: Floats) -> tuple[Floats, float]:
    """The probabilities of all candidates, 0 for those that a question lacks, and the penalised loss."""
    logits = np.where(lacking, -math.inf, inputs @ weights)
    logits -= logits.max(axis=1, keepdims=True)
    totals = np.exp(logits).sum(axis=1, keepdims=True)
    loss = float((np.log(totals[:, 0]) - logits[:, 0]).mean() + _PENALTY * (weights**2).sum())
    return np.exp(logits) / totals, loss


def _cross_validated(features: Floats, conversations: npt.NDArray[np.int64]) -> float:
    """The fraction of questions whose true reply comes first, by mixtures fitted to other conversations."""
    folds = conversations % _FOLDS
    hits = 0
    for fold in range(_FOLDS):
        if (folds == fold).any() and (folds != fold).any():
            scores = features[folds == fold] @ _fit_mixture(features[folds != fold])
            hits += int((np.where(np.isnan(scores), -math.inf, scores).argmax(axis=1) == 0).sum())
    return hits / len(features)
