"""Evaluation of a dialogue model: perplexity, ranking of the true reply among others, and diversity of replies.

The baselines of the ranking are a random reply and TF-IDF retrieval.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from seqgen.evaluation.text import network_scorer, text_metrics
from seqgen.model.batch_invariant import batch_invariant
from seqgen.model.language import LanguageModel, LayerStates
from seqgen.tokenizers.codec import Ids
from seqgen.tokenizers.dialogue import DialogueCodec

NUM_DISTRACTORS = 9  # replies of other conversations besides the true one, as in hits@1 of 10
_REPLIES_PER_BATCH = 64
_QUESTIONS_PER_BATCH = 16
_MAX_LOGITS_ROWS = 2048  # in memory at a time
_WORD = re.compile(r"[^\W\d_]+|\d+", re.UNICODE)
_HAN = re.compile("([\u3400-\u9fff\uf900-\ufaff])")

SpeakerTurns = Sequence[tuple[int, str]]  # (speaker, words) for each turn of a conversation
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RankingQuestion:
    """A turn of a conversation, by index, and ten candidate replies, of which number 0 is the true one."""

    conversation: int
    turn: int
    speaker: int
    candidates: tuple[str, ...]


def ranking_questions(conversations: Sequence[SpeakerTurns], seed: int = 0) -> list[RankingQuestion]:
    """A question for every turn but the first of each conversation, with replies drawn from other conversations."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    pool = [(number, words) for number, turns in enumerate(conversations) for _, words in turns[1:]]
    found = []
    for number, turns in enumerate(conversations):
        for turn in range(1, len(turns)):
            speaker, true = turns[turn]
            others: list[str] = []
            for choice in rng.integers(len(pool), size=50 * NUM_DISTRACTORS):  # a small set may not have enough others
                owner, words = pool[int(choice)]
                if owner != number and words != true:
                    others.append(words)
                if len(others) == NUM_DISTRACTORS:
                    found.append(RankingQuestion(number, turn, speaker, (true, *others)))
                    break
    return found


class ReplyScorer:
    """Scores replies in batches with a network, after a history or without one."""

    def __init__(self, network: LanguageModel, codec: DialogueCodec, dtype: torch.dtype | None = None) -> None:
        """`dtype` is that of the products, by default the weights'."""
        self._network, self._codec, self._dtype = network, codec, dtype
        self._device = network.embedding.device

    def start(self) -> tuple[LayerStates, int]:
        """The state before the first turn, and the id still to be read."""
        return self._network.initial(1), self._codec.end

    def replies(self, states: LayerStates, last: int, speaker: int, replies: Sequence[Ids]) -> Floats:
        """Log-probabilities of the words of replies by `speaker` after one state, shape (replies,)."""
        return self.rows(
            stack_states([states] * len(replies)), [last] * len(replies), [speaker] * len(replies), replies
        )

    def rows(self, states: LayerStates, last: Sequence[int], speakers: Sequence[int], replies: Sequence[Ids]) -> Floats:
        """The same with a state for each reply: `states` has as many rows; `last` are the ids still to be read."""
        count, longest = len(replies), max(map(len, replies), default=0)
        ids = np.zeros((longest + 1, count), dtype=np.int64)
        ids[0] = np.minimum(speakers, self._codec.speakers - 1)
        for row, reply in enumerate(replies):
            ids[1 : len(reply) + 1, row] = reply
        targets = torch.from_numpy(ids).to(self._device)
        inputs = torch.cat([targets.new_tensor([list(last)]), targets[:-1]])
        lengths = np.array([len(reply) for reply in replies])
        inside = np.arange(longest)[:, None] < lengths
        result: Floats = np.zeros((longest, count))
        with torch.inference_mode(), batch_invariant():
            hidden, _ = self._network(inputs, states, dtype=self._dtype)
            wanted = torch.from_numpy(inside).to(self._device)
            top, goals = hidden[1:][wanted], targets[1:][wanted]
            costs = [
                F.cross_entropy(self._network.logits(some), goal, reduction="none")
                for some, goal in zip(
                    torch.split(top, _MAX_LOGITS_ROWS), torch.split(goals, _MAX_LOGITS_ROWS), strict=True
                )
            ]
            result[inside] = -torch.cat(costs).double().cpu().numpy() if costs else 0
        return result.sum(axis=0)

    def advance(self, states: LayerStates, last: int, turn: Ids) -> tuple[LayerStates, int]:
        """The state after a turn, and the id still to be read."""
        ids = torch.from_numpy(np.append(np.int64(last), turn[:-1].astype(np.int64))).to(self._device)
        with torch.inference_mode():
            _, states = self._network(ids[:, None], states, dtype=self._dtype)
        return states, int(turn[-1])


def stack_states(states: Sequence[LayerStates]) -> LayerStates:
    """Concatenate states of single streams into one state."""
    return tuple(
        tuple(torch.cat(list(rows)) for rows in zip(*layers, strict=True)) for layers in zip(*states, strict=True)
    )


@dataclass(frozen=True)
class HitsAtOne:
    """The fraction of questions whose true reply is ranked first, by three scores.

    They are the log-probability, the log-probability per token, and the mutual information,
    log p(reply | history) − log p(reply).
    """

    by_probability: float
    by_token: float
    by_mutual_information: float
    questions: int


def hits_at_one(
    network: LanguageModel,
    codec: DialogueCodec,
    conversations: Sequence[SpeakerTurns],
    questions: Sequence[RankingQuestion],
    progress: Callable[[int, int], None] = lambda done, of: None,
    dtype: torch.dtype | None = None,
) -> HitsAtOne:
    """Rank the candidates of every question, which are in the order of the conversations.

    A question in which k candidates share the highest score, the true one among them, counts 1/k.

    Args:
        dtype: of the products; a ranking hardly changes with bfloat16, which is twice as fast on hardware that has it.
    """
    scorer = ReplyScorer(network, codec, dtype)
    encoded = {reply: codec.encode(_bytes(reply)) for question in questions for reply in question.candidates}
    wanted = {(question.speaker, reply) for question in questions for reply in question.candidates}
    without_history = _scores_without_history(scorer, encoded, wanted)
    states_before: list[tuple[LayerStates, int]] = []
    for index, turns in enumerate(conversations):
        states, last = scorer.start()
        for turn, (speaker, words) in enumerate(turns):
            if len(states_before) < len(questions):
                question = questions[len(states_before)]
                if (question.conversation, question.turn) == (index, turn):
                    states_before.append((states, last))
            states, last = scorer.advance(states, last, codec.encode_turn(speaker, _bytes(words)))
    wins = np.zeros(3)
    # Batches of similar lengths: a large product is cheaper than many small ones.
    order = sorted(
        range(len(states_before)), key=lambda number: max(len(encoded[reply]) for reply in questions[number].candidates)
    )
    for start in range(0, len(order), _QUESTIONS_PER_BATCH):
        batch = order[start : start + _QUESTIONS_PER_BATCH]
        rows = [(number, reply) for number in batch for reply in questions[number].candidates]
        scores = scorer.rows(
            stack_states([states_before[number][0] for number, _ in rows]),
            [states_before[number][1] for number, _ in rows],
            [questions[number].speaker for number, _ in rows],
            [encoded[reply] for _, reply in rows],
        )
        for number, given in zip(batch, scores.reshape(len(batch), -1), strict=True):
            candidates = questions[number].candidates
            alone = np.array([without_history[questions[number].speaker, reply] for reply in candidates])
            lengths = np.array([max(1, len(encoded[reply])) for reply in candidates])
            wins += [_first_wins(given), _first_wins(given / lengths), _first_wins(given - alone)]
        progress(start + len(batch), len(order))
    fractions = wins / max(1, len(states_before))
    return HitsAtOne(float(fractions[0]), float(fractions[1]), float(fractions[2]), len(states_before))


def _first_wins(scores: Floats) -> float:
    """1 if number 0 has the highest score, 1/k if it is one of k, otherwise 0."""
    best = scores.max()
    return float(scores[0] == best) / int((scores == best).sum())


def _scores_without_history(
    scorer: ReplyScorer, encoded: dict[str, Ids], wanted: set[tuple[int, str]]
) -> dict[tuple[int, str], float]:
    """Log-probabilities of replies at the beginning of a conversation, by speaker and reply."""
    states, last = scorer.start()
    found: dict[tuple[int, str], float] = {}
    for speaker in sorted({speaker for speaker, _ in wanted}):
        replies = sorted((reply for other, reply in wanted if other == speaker), key=lambda reply: len(encoded[reply]))
        for start in range(0, len(replies), _REPLIES_PER_BATCH):
            batch = replies[start : start + _REPLIES_PER_BATCH]
            scores = scorer.replies(states, last, speaker, [encoded[reply] for reply in batch])
            found |= {(speaker, reply): float(score) for reply, score in zip(batch, scores, strict=True)}
    return found


def _bytes(words: str) -> bytes:
    return words.encode("utf-8", "surrogateescape")


@dataclass
class DialogueTally:
    """Sums over conversations. Every token counts, including those of the speakers and of the end."""

    records: int = 0
    turns: int = 0
    tokens: int = 0
    nats: float = 0.0
    characters: int = 0
    bytes: int = 0
    words: int = 0

    def add(self, network: LanguageModel, codec: DialogueCodec, turns: SpeakerTurns) -> None:
        """Score one conversation, from an empty state to its end."""
        scorer = network_scorer(network, codec)
        for speaker, words in turns:
            ids = codec.encode_turn(speaker, _bytes(words))
            self.nats += sum(float(scored.nats.sum()) for scored in scorer.read(ids))
            self.tokens += len(ids)
            self.characters += len(words)
            self.bytes += len(_bytes(words))
            self.words += len(words.split())
        self.nats += sum(float(scored.nats.sum()) for scored in scorer.read(np.array([codec.end], dtype=np.int32)))
        self.tokens += 1
        self.records += 1
        self.turns += len(turns)

    def metrics(self) -> dict[str, float]:
        """See `text_metrics`."""
        return text_metrics(self.nats, self.characters, self.bytes, words=self.words, tokens=self.tokens)


def word_tokens(text: str) -> list[str]:
    """Words in lower case; a Chinese character is a word."""
    return _WORD.findall(_HAN.sub(r" \1 ", text.lower()))


def distinct_n(replies: Iterable[str], length: int) -> float:
    """The fraction of distinct n-grams of `length` words among all of them (distinct-n; Li et al., 2016)."""
    ngrams: Counter[tuple[str, ...]] = Counter()
    for reply in replies:
        words = word_tokens(reply)
        ngrams.update(tuple(words[start : start + length]) for start in range(len(words) - length + 1))
    return len(ngrams) / max(1, ngrams.total())


class TfidfRetrieval:
    """A baseline that ranks replies by the cosine of their TF-IDF vectors with the history (Lowe et al., 2015, 4.1)."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Learn the inverse document frequencies, ln((1 + n) / (1 + df)) + 1, of the words in `texts`."""
        frequencies: Counter[str] = Counter()
        count = 0
        for text in texts:
            frequencies.update(set(word_tokens(text)))
            count += 1
        self._count, self._frequencies = count, frequencies

    def vector(self, text: str) -> dict[str, float]:
        """The TF-IDF weights of a text's words, normalised to length 1."""
        weights = {
            word: times * (math.log((1 + self._count) / (1 + self._frequencies[word])) + 1)
            for word, times in Counter(word_tokens(text)).items()
        }
        size = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {word: weight / size for word, weight in weights.items()}

    def mean_cosine(self, replies: Sequence[str], histories: Sequence[str]) -> float:
        """The mean cosine of replies with their histories: 0 without a common word, 1 for equal words."""
        total = 0.0
        for reply, history in zip(replies, histories, strict=True):
            context = self.vector(history)
            total += sum(weight * context.get(word, 0.0) for word, weight in self.vector(reply).items())
        return total / max(1, len(replies))

    def hits_at_one(
        self, conversations: Sequence[SpeakerTurns], questions: Sequence[RankingQuestion], turns: int | None = None
    ) -> float:
        """The fraction of questions whose true reply is closest to the last `turns` turns, by default all.

        A question in which k candidates are equally close, the true one among them, counts 1/k.
        """
        known: dict[str, dict[str, float]] = {}
        total = 0.0
        for question in questions:
            history = conversations[question.conversation][: question.turn]
            context = self.vector(" ".join(words for _, words in (history if turns is None else history[-turns:])))
            scores = []
            for reply in question.candidates:
                if reply not in known:
                    known[reply] = self.vector(reply)
                scores.append(sum(weight * context.get(word, 0.0) for word, weight in known[reply].items()))
            total += _first_wins(np.array(scores))
        return total / max(1, len(questions))


def sample_reply_contexts(
    conversations: Sequence[SpeakerTurns], most: int, seed: int = 0
) -> Iterator[tuple[SpeakerTurns, str]]:
    """Yield up to `most` random histories, each with the reply that followed it."""
    turns = [(number, turn) for number, turns in enumerate(conversations) for turn in range(1, len(turns))]
    rng = np.random.Generator(np.random.Philox(key=seed))
    for choice in sorted(rng.permutation(len(turns))[:most].tolist()):
        number, turn = turns[choice]
        yield conversations[number][:turn], conversations[number][turn][1]
