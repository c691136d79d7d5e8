"""Evaluation of a dialogue model: perplexity, ranking of the true reply among others, and diversity of replies.

The baselines of the ranking are a random reply and TF-IDF retrieval.
"""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen.evaluation.text import text_metrics
from seqgen.generation.engines.base import Engine
from seqgen.generation.ranking import RECENT_TURNS, Likelihoods, ReplyRanker
from seqgen.generation.scoring import ExactSum, ScoringJob, TokenScores, score_records
from seqgen.tokenizers.codec import Ids
from seqgen.tokenizers.dialogue import DialogueCodec
from seqgen.untrusted import as_bytes

NUM_DISTRACTORS = 9  # replies of other conversations besides the true one, as in hits@1 of 10
_REPLIES_PER_BATCH = 256
_QUESTIONS_PER_BATCH = 24
_MAX_WAITING_QUESTIONS = 960  # each with the state before it
_WORD = re.compile(r"[^\W\d_]+|\d+", re.UNICODE)
_HAN = re.compile("([\u3400-\u9fff\uf900-\ufaff])")

SpeakerTurns = Sequence[tuple[int, str]]  # (speaker, words) for each turn of a conversation
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RankingQuestion:
    """A turn of a conversation, by index, and up to ten different replies, of which number 0 is the true one."""

    conversation: int
    turn: int
    speaker: int
    candidates: tuple[str, ...]


def ranking_questions(conversations: Sequence[SpeakerTurns], seed: int = 0) -> list[RankingQuestion]:
    """A question for every turn but the first of each conversation, with replies drawn from other conversations.

    Where those have fewer than `NUM_DISTRACTORS` different replies besides the true one, all of them are candidates;
    where they have none, there is no question.
    """
    rng = np.random.Generator(np.random.Philox(key=seed))
    pool = [(number, words) for number, turns in enumerate(conversations) for _, words in turns[1:]]
    owners: dict[str, int] = {}  # different replies, and the conversation that has each; -1: several have it
    for number, words in pool:
        owners[words] = number if owners.get(words, number) == number else -1
    found = []
    for number, turns in enumerate(conversations):
        elsewhere = (words for words, owner in owners.items() if owner != number)
        rest = list(itertools.islice(elsewhere, NUM_DISTRACTORS + 1))  # one of them may be the true reply
        for turn in range(1, len(turns)):
            speaker, true = turns[turn]
            drawn = (pool[choice] for choice in rng.integers(len(pool), size=50 * NUM_DISTRACTORS).tolist())
            # Replies that are rare beside common ones may not be drawn.
            every = itertools.chain((words for owner, words in drawn if owner != number), rest)
            others = _first_different(words for words in every if words != true)
            if others:
                found.append(RankingQuestion(number, turn, speaker, (true, *others)))
    return found


def _first_different(replies: Iterable[str]) -> list[str]:
    """The first `NUM_DISTRACTORS` replies that differ, or all of them."""
    found: dict[str, None] = {}
    for words in replies:
        found[words] = None
        if len(found) == NUM_DISTRACTORS:
            break
    return list(found)


def hits_by_chance(questions: Sequence[RankingQuestion]) -> float:
    """The expected fraction of questions whose true reply a random ranking puts first."""
    return statistics.mean(1 / len(question.candidates) for question in questions) if questions else 0.0


class ReplyScorer:
    """Scores replies in batches, after a history or without one."""

    def __init__(self, engine: Engine, codec: DialogueCodec) -> None:
        self._engine, self._codec = engine, codec

    def start(self) -> tuple[Any, int]:
        """The state before the first turn, and the id still to be read."""
        return self._engine.initial(1), self._codec.end

    def after(self, state: Any, last: Sequence[int]) -> Any:
        """The states when the ids still to be read have been read, one in each stream."""
        return self._engine.step(np.array(last), state)[1]

    def replies(self, state: Any, last: int, speaker: int, replies: Sequence[Ids]) -> Floats:
        """Log-probabilities of the words of replies by `speaker` after the state of one stream, shape (replies,)."""
        count = len(replies)
        return self.rows(self._engine.repeat(self.after(state, [last]), count), [speaker] * count, replies)

    def rows(self, state: Any, speakers: Sequence[int], replies: Sequence[Ids]) -> Floats:
        """The same with a state for each reply: `state` has as many streams, and has read the whole history."""
        result: Floats = np.zeros(len(replies))
        order = np.argsort([-len(reply) for reply in replies], kind="stable")
        order = order[: sum(1 for reply in replies if len(reply))]
        if not len(order):
            return result
        lengths = np.array([len(replies[number]) for number in order])
        targets = np.zeros((int(lengths[0]), len(order)), dtype=np.int32)
        for row, number in enumerate(order):
            targets[: lengths[row], row] = replies[number]
        opening = [min(speakers[number], self._codec.speakers - 1) for number in order]
        ids = np.concatenate([np.array(opening, dtype=np.int32)[None], targets[:-1]])
        nats, _ = self._engine.nats_of_lanes(ids, targets, lengths, self._engine.select(state, order.tolist()))
        result[order] = [-math.fsum(column) for column in nats.T]
        return result


@dataclass(frozen=True)
class HitsAtOne:
    """The fraction of questions whose true reply is ranked first, by several scores.

    They are the log-probability, the log-probability per token, the mutual information, log p(reply | history) −
    log p(reply), and the learnt ranking (`ReplyRanker`), None if the model has none.
    """

    by_probability: float
    by_token: float
    by_mutual_information: float
    by_ranker: float | None
    questions: int


class ScoredQuestion(NamedTuple):
    """A question, the top layer's output after its history, shape (units,), and its candidates' likelihoods."""

    question: RankingQuestion
    hidden: npt.NDArray[np.float32]
    likelihoods: Likelihoods


class HitsTally:
    """Counts the questions whose true reply comes first.

    A question in which k candidates share the highest score, the true one among them, counts 1/k.
    """

    def __init__(self, conversations: Sequence[SpeakerTurns], ranker: ReplyRanker | None = None) -> None:
        self._conversations, self._ranker = conversations, ranker
        self._wins = np.zeros(4)
        self._count = 0

    def add(self, scored: ScoredQuestion) -> None:
        """Count a question."""
        given, alone, tokens = scored.likelihoods
        wins = [given, given / np.maximum(1, tokens), given - alone]
        if self._ranker is not None:
            wins.append(self._ranked(self._ranker, scored))
        self._wins[: len(wins)] += [_first_wins(scores) for scores in wins]
        self._count += 1

    def result(self) -> HitsAtOne:
        """The fractions of all questions so far."""
        probability, token, mutual, ranked = (self._wins / max(1, self._count)).tolist()
        return HitsAtOne(probability, token, mutual, None if self._ranker is None else ranked, self._count)

    def _ranked(self, ranker: ReplyRanker, scored: ScoredQuestion) -> Floats:
        history = history_of(self._conversations, scored.question)
        bags = ranker.bags([*history, *scored.question.candidates])
        context = ranker.context(scored.hidden, bags[: len(history)])
        return ranker.scores(context, scored.likelihoods, bags[len(history) :])


def history_of(conversations: Sequence[SpeakerTurns], question: RankingQuestion) -> list[str]:
    """The turns before a question that a ranker looks at, oldest first."""
    turns = conversations[question.conversation][: question.turn]
    return [words for _, words in turns[-RECENT_TURNS:]]


class ConversationJob(ScoringJob):
    """A conversation that is scored, from an empty state to its end.

    Every token counts, including those of the speakers and of the end. The states before the turns of `questions` are
    kept.
    """

    def __init__(self, codec: DialogueCodec, turns: SpeakerTurns, questions: Sequence[RankingQuestion] = ()) -> None:
        self.turns, self.questions = turns, questions
        self.tokens = 0
        self.nats = ExactSum()
        self.before: dict[int, tuple[Any, int]] = {}  # turn → the engine's state, and the id still to be read
        self.keeps_states = bool(questions)
        self._codec = codec
        self._asked = {question.turn for question in questions}
        self._next = 0  # turn

    def ids(self) -> Iterator[Ids]:
        """See `ScoringJob`."""
        for speaker, words in self.turns:
            yield self._codec.encode_turn(speaker, as_bytes(words))
        yield np.array([self._codec.end], dtype=np.int32)

    def take(self, scores: TokenScores) -> None:
        """See `ScoringJob`."""
        self.nats.add(scores.nats)
        self.tokens += len(scores.ids)

    def reached(self, state: Any, last: int) -> None:
        """See `ScoringJob`."""
        self._next += 1
        if self._next in self._asked:
            self.before[self._next] = state, last


class ReplyRanking:
    """Scores the candidates of questions, as many at a time as are cheap."""

    def __init__(
        self,
        engine: Engine,
        codec: DialogueCodec,
        questions: Sequence[RankingQuestion],
        take: Callable[[ScoredQuestion], None],
    ) -> None:
        """
        Args:
            questions: all that will be asked.
            take: called with each question when it has been scored.
        """
        self._engine, self._take = engine, take
        self._scorer = ReplyScorer(engine, codec)
        replies = {reply for question in questions for reply in question.candidates}
        self._encoded = {reply: codec.encode(as_bytes(reply)) for reply in replies}
        wanted = {(question.speaker, reply) for question in questions for reply in question.candidates}
        self._without_history = _scores_without_history(self._scorer, self._encoded, wanted)
        self._waiting: list[tuple[RankingQuestion, Any, int]] = []

    def add(self, job: ConversationJob) -> None:
        """Take the questions of a conversation that was scored."""
        self._waiting += [(question, *job.before[question.turn]) for question in job.questions]
        if len(self._waiting) >= _MAX_WAITING_QUESTIONS:
            self.finish()

    def finish(self) -> None:
        """Score the questions that were taken last."""
        # Candidates of similar length side by side.
        self._waiting.sort(key=lambda one: max(len(self._encoded[reply]) for reply in one[0].candidates))
        for start in range(0, len(self._waiting), _QUESTIONS_PER_BATCH):
            self._score_batch(self._waiting[start : start + _QUESTIONS_PER_BATCH])
        self._waiting.clear()

    def _score_batch(self, batch: Sequence[tuple[RankingQuestion, Any, int]]) -> None:
        rows = [(row, reply) for row, (question, _, _) in enumerate(batch) for reply in question.candidates]
        states = self._scorer.after(self._engine.join([state for _, state, _ in batch]), [last for *_, last in batch])
        scores = self._scorer.rows(
            self._engine.select(states, [row for row, _ in rows]),
            [batch[row][0].speaker for row, _ in rows],
            [self._encoded[reply] for _, reply in rows],
        )
        ends = np.cumsum([len(question.candidates) for question, _, _ in batch])
        for row, given in enumerate(np.split(scores, ends[:-1])):
            question = batch[row][0]
            alone = np.array([self._without_history[question.speaker, reply] for reply in question.candidates])
            lengths = np.array([len(self._encoded[reply]) for reply in question.candidates], dtype=np.float64)
            hidden = self._engine.export_state(states, row)[-1, 0]
            self._take(ScoredQuestion(question, hidden, Likelihoods(given, alone, lengths)))


def evaluate_conversations(
    engine: Engine,
    codec: DialogueCodec,
    conversations: Sequence[SpeakerTurns],
    questions: Sequence[RankingQuestion] = (),
    progress: Callable[[int, int], None] = lambda done, of: None,
    ranker: ReplyRanker | None = None,
) -> tuple[DialogueTally, HitsAtOne]:
    """Score conversations side by side, and rank the candidates of all questions.

    Args:
        questions: in the order of the conversations.
        ranker: the model's, if it has one.
    """
    hits = HitsTally(conversations, ranker)
    tally = score_questions(engine, codec, conversations, questions, hits.add, progress)
    return tally, hits.result()


def score_questions(
    engine: Engine,
    codec: DialogueCodec,
    conversations: Sequence[SpeakerTurns],
    questions: Sequence[RankingQuestion],
    take: Callable[[ScoredQuestion], None],
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> DialogueTally:
    """Score conversations side by side, and the candidates of all questions, each of which is given to `take`."""
    asked: dict[int, list[RankingQuestion]] = {}
    for question in questions:
        asked.setdefault(question.conversation, []).append(question)
    tally, ranking = DialogueTally(), ReplyRanking(engine, codec, questions, take)
    jobs = (ConversationJob(codec, turns, asked.get(number, ())) for number, turns in enumerate(conversations))
    for job in score_records(engine, codec, jobs):
        tally.add(job)
        ranking.add(job)
        progress(tally.records, len(conversations))
    ranking.finish()
    return tally


def _first_wins(scores: Floats) -> float:
    """1 if number 0 has the highest score, 1/k if it is one of k, otherwise 0."""
    best = scores.max()
    return float(scores[0] == best) / int((scores == best).sum())


def _scores_without_history(
    scorer: ReplyScorer, encoded: dict[str, Ids], wanted: set[tuple[int, str]]
) -> dict[tuple[int, str], float]:
    """Log-probabilities of replies at the beginning of a conversation, by speaker and reply."""
    state, last = scorer.start()
    found: dict[tuple[int, str], float] = {}
    for speaker in sorted({speaker for speaker, _ in wanted}):
        replies = sorted((reply for other, reply in wanted if other == speaker), key=lambda reply: len(encoded[reply]))
        for start in range(0, len(replies), _REPLIES_PER_BATCH):
            batch = replies[start : start + _REPLIES_PER_BATCH]
            scores = scorer.replies(state, last, speaker, [encoded[reply] for reply in batch])
            found |= {(speaker, reply): float(score) for reply, score in zip(batch, scores, strict=True)}
    return found


@dataclass
class DialogueTally:
    """Sums over conversations."""

    records: int = 0
    turns: int = 0
    tokens: int = 0
    nats: float = 0.0
    characters: int = 0
    bytes: int = 0
    words: int = 0

    def add(self, job: ConversationJob) -> None:
        """Add a conversation that was scored."""
        self.records += 1
        self.turns += len(job.turns)
        self.tokens += job.tokens
        self.nats += float(job.nats)
        for _, words in job.turns:
            self.characters += len(words)
            self.bytes += len(as_bytes(words))
            self.words += len(words.split())

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
