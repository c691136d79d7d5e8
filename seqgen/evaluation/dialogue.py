"""How good a model of conversations is: what the words cost it, whether it knows the true reply among others, and how
varied its own replies are; beside a random reply and the nearest by words."""

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

from seqgen.evaluation.text import text_metrics
from seqgen.model.invariant import batch_invariant
from seqgen.model.language import LanguageModel, LayerStates
from seqgen.tokenizers.codec import Ids
from seqgen.tokenizers.dialogue import DialogueCodec

NUM_DISTRACTORS = 9  # replies of other conversations beside the true one, as in hits@1 of 10
_BATCH = 64
_TOGETHER = 16  # questions ranked in one go
_AT_ONCE = 2048  # rows of logits in memory
_WORD = re.compile(r"[^\W\d_]+|\d+", re.UNICODE)
_HAN = re.compile("([\u3400-\u9fff\uf900-\ufaff])")

SpeakerTurns = Sequence[tuple[int, str]]  # a conversation: (speaker, words) in turn
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RankingQuestion:
    """Turn number `place` of a conversation, and ten replies of which number 0 is the true one."""

    conversation: int
    place: int
    speaker: int
    replies: tuple[str, ...]


def ranking_questions(conversations: Sequence[SpeakerTurns], seed: int = 0) -> list[RankingQuestion]:
    """One for every turn but the first of each conversation; the others drawn from other conversations' replies."""
    chance = np.random.Generator(np.random.Philox(key=seed))
    pool = [(number, words) for number, turns in enumerate(conversations) for _, words in turns[1:]]
    found = []
    for number, turns in enumerate(conversations):
        for place in range(1, len(turns)):
            speaker, true = turns[place]
            others: list[str] = []
            for choice in chance.integers(len(pool), size=50 * NUM_DISTRACTORS):  # a small set may hold too few others
                owner, words = pool[int(choice)]
                if owner != number and words != true:
                    others.append(words)
                if len(others) == NUM_DISTRACTORS:
                    found.append(RankingQuestion(number, place, speaker, (true, *others)))
                    break
    return found


class DialogueScorer:
    """Reads turns with a network: what they cost after a history, or after nothing."""

    def __init__(self, network: LanguageModel, codec: DialogueCodec, dtype: torch.dtype | None = None) -> None:
        """`dtype` is the type of the products in `rows` and `advance`, by default that of the weights."""
        self._network, self._codec, self._kind = network, codec, dtype
        self._device = network.embedding.device

    def start(self) -> tuple[LayerStates, int]:
        """The state before anything was said, and the id still to be read."""
        return self._network.initial(1), self._codec.end

    def score_turn(self, states: LayerStates, last: int, turn: Ids) -> tuple[LayerStates, int, float]:
        """After a turn: the state, the id still to be read, and what the turn cost in nats."""
        nats, states = self._cost(states, last, turn)
        return states, int(turn[-1]), nats

    def end(self, states: LayerStates, last: int) -> float:
        """What it costs that the conversation ends here."""
        return self._cost(states, last, np.array([self._codec.end], dtype=np.int32))[0]

    def _cost(self, states: LayerStates, last: int, ids: Ids) -> tuple[float, LayerStates]:
        targets = torch.from_numpy(ids.astype(np.int64)).to(self._device)
        inputs = torch.cat([targets.new_tensor([last]), targets[:-1]])
        with torch.inference_mode():
            hidden, states = self._network(inputs[:, None], states)
            nats = F.cross_entropy(self._network.logits(hidden[:, 0]), targets, reduction="sum")
        return float(nats), states

    def replies(self, states: LayerStates, last: int, speaker: int, replies: Sequence[Ids]) -> Floats:
        """The log-probability of each reply's words, by `speaker`, at this place; shape (replies,)."""
        return self.rows(
            stack_states([states] * len(replies)), [last] * len(replies), [speaker] * len(replies), replies
        )

    def rows(self, states: LayerStates, last: Sequence[int], speakers: Sequence[int], replies: Sequence[Ids]) -> Floats:
        """The same with a place of its own for each reply: `states` of so many rows, `last` the id still to be read."""
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
            hidden, _ = self._network(inputs, states, dtype=self._kind)
            wanted = torch.from_numpy(inside).to(self._device)
            top, goals = hidden[1:][wanted], targets[1:][wanted]
            costs = [
                F.cross_entropy(self._network.logits(some), goal, reduction="none")
                for some, goal in zip(torch.split(top, _AT_ONCE), torch.split(goals, _AT_ONCE), strict=True)
            ]
            result[inside] = -torch.cat(costs).double().cpu().numpy() if costs else 0
        return result.sum(axis=0)

    def advance(self, states: LayerStates, last: int, turn: Ids) -> tuple[LayerStates, int]:
        """The state after a turn, and the id still to be read."""
        ids = torch.from_numpy(np.append(np.int64(last), turn[:-1].astype(np.int64))).to(self._device)
        with torch.inference_mode():
            _, states = self._network(ids[:, None], states, dtype=self._kind)
        return states, int(turn[-1])


def stack_states(states: Sequence[LayerStates]) -> LayerStates:
    """Single states as the rows of one."""
    return tuple(
        tuple(torch.cat(list(rows)) for rows in zip(*layers, strict=True)) for layers in zip(*states, strict=True)
    )


@dataclass(frozen=True)
class HitsAtOne:
    """The share of questions in which the true reply is ranked first: by log-probability, by log-probability a token,
    and by mutual information, log p(reply | history) − log p(reply)."""

    by_probability: float
    by_token: float
    by_mutual_information: float
    ranking_questions: int


def hits_at_one(
    network: LanguageModel,
    codec: DialogueCodec,
    conversations: Sequence[SpeakerTurns],
    asked: Sequence[RankingQuestion],
    progress: Callable[[int, int], None] = lambda done, of: None,
    dtype: torch.dtype | None = None,
) -> HitsAtOne:
    """Ranks the ten replies of every question, given in the order of the conversations; equals share the place.

    Args:
        kind: type of the products; a ranking hardly changes with bfloat16, which is twice as fast where there is any.
    """
    reader = DialogueScorer(network, codec, dtype)
    spelt = {reply: codec.encode(_bytes(reply)) for question in asked for reply in question.replies}
    alone = _alone(reader, spelt, {(question.speaker, reply) for question in asked for reply in question.replies})
    places: list[tuple[LayerStates, int]] = []
    for index, turns in enumerate(conversations):
        states, last = reader.start()
        for place, (speaker, words) in enumerate(turns):
            if len(places) < len(asked) and (asked[len(places)].conversation, asked[len(places)].place) == (
                index,
                place,
            ):
                places.append((states, last))
            states, last = reader.advance(states, last, codec.encode_turn(speaker, _bytes(words)))
    wins = np.zeros(3)
    # Together with others of like length: a large product costs less than many small ones.
    order = sorted(range(len(places)), key=lambda number: max(len(spelt[reply]) for reply in asked[number].replies))
    for start in range(0, len(order), _TOGETHER):
        some = order[start : start + _TOGETHER]
        rows = [(number, reply) for number in some for reply in asked[number].replies]
        logs = reader.rows(
            stack_states([places[number][0] for number, _ in rows]), [places[number][1] for number, _ in rows],
            [asked[number].speaker for number, _ in rows], [spelt[reply] for _, reply in rows],
        )  # fmt: skip
        for number, given in zip(some, logs.reshape(len(some), -1), strict=True):
            replies = asked[number].replies
            free = np.array([alone[asked[number].speaker, reply] for reply in replies])
            lengths = np.array([max(1, len(spelt[reply])) for reply in replies])
            wins += [_first(given), _first(given / lengths), _first(given - free)]
        progress(start + len(some), len(order))
    share = wins / max(1, len(places))
    return HitsAtOne(float(share[0]), float(share[1]), float(share[2]), len(places))


def _first(scores: Floats) -> float:
    """1 if number 0 has the highest score, a share of it if others have the same."""
    best = scores.max()
    return float(scores[0] == best) / int((scores == best).sum())


def _alone(reader: DialogueScorer, spelt: dict[str, Ids], wanted: set[tuple[int, str]]) -> dict[tuple[int, str], float]:
    """What each reply costs its speaker where nothing was said before, as a log-probability."""
    states, last = reader.start()
    found: dict[tuple[int, str], float] = {}
    for speaker in sorted({speaker for speaker, _ in wanted}):
        replies = sorted((reply for other, reply in wanted if other == speaker), key=lambda reply: len(spelt[reply]))
        for start in range(0, len(replies), _BATCH):
            some = replies[start : start + _BATCH]
            logs = reader.replies(states, last, speaker, [spelt[reply] for reply in some])
            found |= {(speaker, reply): float(log) for reply, log in zip(some, logs, strict=True)}
    return found


def _bytes(words: str) -> bytes:
    return words.encode("utf-8", "surrogateescape")


@dataclass
class DialogueTally:
    """Sums over conversations: every token counts, those that say who speaks and that it ends as well."""

    records: int = 0
    turns: int = 0
    tokens: int = 0
    nats: float = 0.0
    characters: int = 0
    bytes: int = 0
    words: int = 0

    def add(self, reader: DialogueScorer, codec: DialogueCodec, turns: SpeakerTurns) -> None:
        """Reads one conversation, from nothing to its end."""
        states, last = reader.start()
        for speaker, words in turns:
            ids = codec.encode_turn(speaker, _bytes(words))
            states, last, nats = reader.score_turn(states, last, ids)
            self.nats += nats
            self.tokens += len(ids)
            self.characters += len(words)
            self.bytes += len(_bytes(words))
            self.words += len(words.split())
        self.nats += reader.end(states, last)
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
    """The share of different runs of `length` words among all such runs (distinct-n; Li et al., 2016)."""
    runs: Counter[tuple[str, ...]] = Counter()
    for reply in replies:
        words = word_tokens(reply)
        runs.update(tuple(words[place : place + length]) for place in range(len(words) - length + 1))
    return len(runs) / max(1, runs.total())


class TfidfRetrieval:
    """The rival that knows no language: the reply whose words are nearest to those said before, by the cosine of their
    TF-IDF vectors (Lowe et al., 2015, section 4.1)."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Weighs words by how few of `texts` have them, ln((1 + n) / (1 + having)) + 1."""
        having: Counter[str] = Counter()
        count = 0
        for text in texts:
            having.update(set(word_tokens(text)))
            count += 1
        self._count, self._having = count, having

    def vector(self, text: str) -> dict[str, float]:
        """The weights of a text's words, of length 1 together."""
        weights = {
            word: times * (math.log((1 + self._count) / (1 + self._having[word])) + 1)
            for word, times in Counter(word_tokens(text)).items()
        }
        size = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {word: weight / size for word, weight in weights.items()}

    def mean_cosine(self, replies: Sequence[str], histories: Sequence[str]) -> float:
        """How near replies are to what was said before them, on average: 0 without a word in common, 1 the same."""
        total = 0.0
        for reply, history in zip(replies, histories, strict=True):
            said = self.vector(history)
            total += sum(weight * said.get(word, 0.0) for word, weight in self.vector(reply).items())
        return total / max(1, len(replies))

    def hits_at_one(
        self, conversations: Sequence[SpeakerTurns], asked: Sequence[RankingQuestion], turns: int | None = None
    ) -> float:
        """The share of questions in which the true reply is nearest to the last `turns` turns (None: all); equals
        share the place."""
        known: dict[str, dict[str, float]] = {}
        total = 0.0
        for question in asked:
            history = conversations[question.conversation][: question.place]
            said = self.vector(" ".join(words for _, words in (history if turns is None else history[-turns:])))
            scores = []
            for reply in question.replies:
                if reply not in known:
                    known[reply] = self.vector(reply)
                scores.append(sum(weight * said.get(word, 0.0) for word, weight in known[reply].items()))
            total += _first(np.array(scores))
        return total / max(1, len(asked))


def sample_reply_contexts(
    conversations: Sequence[SpeakerTurns], most: int, seed: int = 0
) -> Iterator[tuple[SpeakerTurns, str]]:
    """Up to `most` places for a reply, drawn without favour: the turns before, and what was really said."""
    places = [(number, place) for number, turns in enumerate(conversations) for place in range(1, len(turns))]
    chance = np.random.Generator(np.random.Philox(key=seed))
    for choice in sorted(chance.permutation(len(places))[:most].tolist()):
        number, place = places[choice]
        yield conversations[number][:place], conversations[number][place][1]
