"""A conversation with a model, kept as recurrent state: of any length, and nothing is read twice."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.config import ReplyOptions, SampleOptions
from seqgen.errors import UserError
from seqgen.generation.engines.base import Engine
from seqgen.generation.prompts import Prompt, with_shown_text
from seqgen.generation.ranking import RECENT_TURNS, Likelihoods, ReplyRanker
from seqgen.generation.sampling.constraints import AutomatonMasks, make_masks
from seqgen.generation.sampling.draw import PrimedState, extend_primed, sample_ids
from seqgen.generation.sampling.draw import prime as prime_ids
from seqgen.generation.sampling.filters import FilterChain, log_softmax
from seqgen.generation.sampling.token_names import resolve_names
from seqgen.generation.state import SavedState
from seqgen.tokenizers import Ids, decode
from seqgen.tokenizers.dialogue import DialogueCodec
from seqgen.untrusted import as_bytes

USER, MODEL = 0, 1  # speakers
_MAX_REPLY = 400  # tokens, or characters if the reply must match a grammar: beyond, the model loses the thread
_REPEATED_TOKENS = 4  # a run that a good reply doesn't contain twice


@dataclass(frozen=True)
class Reply:
    """A reply of the model.

    Attributes:
        log_probability: of its tokens and, if the model drew it, its end, given the history, in nats.
        finish_reason: "end" (the model ended its turn), "length" (cut at the most tokens of a reply), "grammar"
            (complete) or "stopped" (by the caller).
        alone: `log_probability` without a history.
        score: by which candidates were ranked: that of the model's ranker or, without one, the mutual information.
    """

    text: str
    tokens: int
    log_probability: float
    finish_reason: str = "end"
    alone: float | None = None
    score: float | None = None


@dataclass
class _Draft:
    """A reply while it is drawn: its tokens, log-probabilities of these and of the end, and `Reply.finish_reason`."""

    tokens: list[int] = field(default_factory=list)
    words: float = 0.0
    end: float = 0.0  # where none was drawn
    finish_reason: str = ""

    @property
    def log_probability(self) -> float:
        """Of the tokens and the end."""
        return self.words + self.end


def prime(engine: Engine, codec: DialogueCodec, prompt: bytes) -> Prompt:
    """Read a prompt as the first turn of the user, for `streaming.stream` to continue with the whole conversation."""
    begin = codec.encode_turn(USER, prompt) if prompt else np.empty(0, dtype=np.int32)
    text = (b"A: " + prompt if prompt else b"").decode("utf-8", "surrogateescape")
    return Prompt(text, prime_ids(engine, codec, begin), range(codec.speakers), begin[:1].tolist())


def continue_from(engine: Engine, codec: DialogueCodec, saved: SavedState, prompt: bytes = b"") -> Prompt:
    """Continue a saved conversation; `prompt` is the next turn."""
    begun = [USER] if saved.history else []
    context_ids = [*begun, *saved.tail]
    plain = Prompt(
        "", saved.primed(engine), range(codec.speakers), context_ids, saved.pending, cut=saved.cut, is_continuation=True
    )
    if not prompt:
        return plain
    shown = "\n" * len(begun) + "A: " + prompt.decode("utf-8", "surrogateescape")
    primed = extend_primed(engine, plain.primed, codec.encode_turn(USER, prompt))
    return replace(with_shown_text(replace(plain, primed=primed), codec, shown), context_ids=[USER])


@dataclass(frozen=True)
class _Position:
    """A point in a conversation: the state, the id still to be fed to the network, and words for the filters."""

    state: object
    last: int
    history: tuple[int, ...] = ()


@dataclass
class ChatSession:
    """A conversation in progress. `turns` holds what was said, as (speaker, words).

    Args:
        ranker: chooses among candidates, unless the options weigh the mutual information (`ReplyOptions.mutual`).

    Raises `UserError` if the options name tokens that the model lacks, or leave nothing to say.
    """

    engine: Engine
    codec: DialogueCodec
    options: SampleOptions
    reply_options: ReplyOptions = field(default_factory=ReplyOptions)
    ranker: ReplyRanker | None = None
    turns: list[tuple[int, str]] = field(default_factory=list)
    _positions: list[_Position] = field(default_factory=list)  # before each turn
    _now: _Position = field(init=False)
    _next_stream: int = 0  # each candidate has a random stream of its own
    _resolved: dict[str, Any] = field(init=False)
    _masks: AutomatonMasks | None = field(init=False)

    def __post_init__(self) -> None:
        self._now = _Position(self.engine.initial(1), self.codec.end)
        self._resolved = resolve_names(self.options, self.codec)
        self._masks = make_masks(self.options, self.codec, [*range(self.codec.speakers), self.codec.end])
        if self._masks:
            self._masks.stream(_MAX_REPLY)

    def start_at(self, number: int) -> None:
        """Use the random streams of conversation `number`, so that several conversations draw differently."""
        self._next_stream = number << 20

    def branches(self, count: int) -> list[ChatSession]:
        """Return `count` copies of the conversation so far, which nothing reads again; each draws differently."""
        found = []
        for number in range(count):
            branch = copy.copy(self)
            branch.turns, branch._positions = [*self.turns], [*self._positions]
            branch.start_at(number)
            found.append(branch)
        return found

    def restart(self) -> None:
        """Forget all turns. The random streams continue."""
        self.turns.clear()
        self._positions.clear()
        self._now = _Position(self.engine.initial(1), self.codec.end)

    def hear(self, words: str, speaker: int = USER) -> int:
        """Take a turn of somebody else, and return the number of its tokens. Raises `UserError` as `reply` does."""
        speaker = self._known(speaker)
        ids = self.codec.encode_turn(speaker, as_bytes(words))
        self._take(speaker, words, ids)
        return len(ids)

    def reply(self, stopped: Callable[[], bool] = lambda: False, speaker: int = MODEL) -> Iterator[str | Reply]:
        """Generate the model's turn: pieces of text as they come, then the `Reply`.

        With several candidates the text comes as a whole.

        Args:
            stopped: called after every token; true ends the reply there, and it counts as said.
            speaker: whose turn it is; one beyond the last is the last.

        Raises `UserError` for a negative speaker.
        """
        speaker = self._known(speaker)
        opening = np.array([speaker], dtype=np.int32)
        before = self._advance(self._now, opening)
        if self.reply_options.candidates == 1 or self._draws_alike:
            decoder, draft, text = self.codec.text.decoder(), _Draft(), ""
            for token in self._draw(draft, before, self._next_stream, stopped):
                piece = decoder.push(token - self.codec.speakers).decode("utf-8", "surrogateescape")
                if not text:
                    piece = piece.lstrip()
                text += piece
                if piece:
                    yield piece
            rest = decoder.finish().decode("utf-8", "surrogateescape")
            if rest:
                yield rest
            chosen = Reply((text + rest).strip(), len(draft.tokens), draft.log_probability, draft.finish_reason)
        else:
            draft, chosen = self._best(before, opening, stopped)
            yield chosen.text
        self._next_stream += self.reply_options.candidates
        self._take(speaker, chosen.text, np.array([speaker, *draft.tokens], dtype=np.int32))
        yield chosen

    def before_last_turn(self) -> PrimedState:
        """The state from which the words of the last turn were predicted. There must be a turn."""
        position = self._advance(self._positions[-1], np.array([self.turns[-1][0]], dtype=np.int32))
        return PrimedState(list(position.history), position.last, position.state)

    def undo(self) -> bool:
        """Take back the last turn of the user and the reply to it. Returns False if there is none."""
        spoken = [index for index, (speaker, _) in enumerate(self.turns) if speaker == USER]
        if not spoken:
            return False
        self._now = self._positions[spoken[-1]]
        del self.turns[spoken[-1] :], self._positions[spoken[-1] :]
        return True

    def undo_reply(self) -> bool:
        """Take back the last turn if it was the model's, so that it can try again."""
        if not self.turns or self.turns[-1][0] != MODEL:
            return False
        self.turns.pop()
        self._now = self._positions.pop()
        return True

    def _known(self, speaker: int) -> int:
        """The speaker as whom the model reads one: those beyond the last are the last, as in training."""
        if speaker < 0:
            raise UserError(f"speakers are numbered from 0, so none is {speaker}")
        return min(speaker, self.codec.speakers - 1)

    def _take(self, speaker: int, words: str, ids: Ids) -> None:
        self._positions.append(self._now)
        self.turns.append((speaker, words))
        self._now = self._advance(self._now, ids)

    def _advance(self, position: _Position, ids: Ids) -> _Position:
        inputs = np.concatenate([np.array([position.last], dtype=np.int32), ids])
        window = self._filters().window
        words = tuple(token for token in ids.tolist() if token >= self.codec.speakers) if window else ()
        history = (position.history + words)[-window:] if window else ()
        return _Position(self.engine.read(inputs[:-1], position.state), int(inputs[-1]), history)

    @property
    def _draws_alike(self) -> bool:
        """Whether all candidates are the same: of temperature 0, if it is that everywhere."""
        return not self.options.temperature and not self.options.dynatemp_range

    def _filters(self) -> FilterChain:
        return FilterChain(self.options, resolved=self._resolved)

    def _draw(
        self, draft: _Draft, position: _Position, index: int, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[int]:
        """Draw a reply from the random stream `index`: yield its tokens, and put them into `draft`."""
        guide = _TurnGuide(self.codec)
        constraints = [self._masks.stream(_MAX_REPLY)] if self._masks else []
        primed = PrimedState(list(position.history), position.last, position.state)
        matching = self.options.grammar is not None  # then the grammar ends the reply
        drawn = sample_ids(self.engine, primed, self._filters(), self.options.seed, [index], [guide], constraints)
        draft.finish_reason = "grammar"
        while not (constraints and constraints[0].over):
            ((token, log_probability),) = next(drawn)
            if guide.over:
                draft.end, draft.finish_reason = log_probability, "end"
                return
            if len(draft.tokens) >= _MAX_REPLY and not matching:
                draft.finish_reason = "length"
                return
            draft.tokens.append(token)
            draft.words += log_probability
            yield token
            if stopped():
                draft.finish_reason = "stopped"
                return

    def _best(self, position: _Position, opening: Ids, stopped: Callable[[], bool]) -> tuple[_Draft, Reply]:
        """The best of several candidates that repeat neither themselves nor an earlier reply, and make up no word.

        The model's ranker scores them or, without one, their mutual information with the history (Li et al., 2016,
        eq. 9): log p(reply | history) − λ log p(reply).
        """
        found: dict[tuple[int, ...], _Draft] = {}
        for index in range(self._next_stream, self._next_stream + self.reply_options.candidates):
            draft = _Draft()
            found[tuple(self._draw(draft, position, index))] = draft
            if stopped():
                break
        drafts = list(found.values())
        without_history = self._advance(_Position(self.engine.initial(1), self.codec.end), opening)
        alone = [self._log_probability(without_history, draft) for draft in drafts]
        texts = [self._text(draft.tokens) for draft in drafts]
        scores = self._scores(position, drafts, alone, texts)
        ranked = []
        for draft, text, score, (_, total) in zip(drafts, texts, scores, alone, strict=True):
            reply = Reply(text, len(draft.tokens), draft.log_probability, draft.finish_reason, total, score)
            ranked.append((not self._repeats(draft.tokens, text), self._has_only_words(text), score, draft, reply))
        *_, best, reply = max(ranked, key=lambda entry: entry[:3])
        return best, reply

    def _scores(
        self, position: _Position, drafts: Sequence[_Draft], alone: Sequence[tuple[float, float]], texts: Sequence[str]
    ) -> list[float]:
        """The scores of candidates: the higher, the better.

        Args:
            alone: log-probabilities of words, and of words and end, without a history.
        """
        weight = self.reply_options.mutual
        if self.ranker is None or weight is not None:
            weight = 1.0 if weight is None else weight
            return [draft.log_probability - weight * without for draft, (_, without) in zip(drafts, alone, strict=True)]
        history = [words for _, words in self.turns[-RECENT_TURNS:]]
        bags = self.ranker.bags([*history, *texts])
        hidden = self.engine.export_state(position.state, 0)[-1, 0]
        likelihoods = Likelihoods(
            np.array([draft.words for draft in drafts]), np.array([words for words, _ in alone]),
            np.array([len(draft.tokens) for draft in drafts], dtype=np.float64),
        )  # fmt: skip
        context = self.ranker.context(hidden, bags[: len(history)])
        return list(self.ranker.scores(context, likelihoods, bags[len(history) :]).tolist())

    def _log_probability(self, position: _Position, draft: _Draft) -> tuple[float, float]:
        """The log-probability of a reply's tokens, and of tokens and end if it has one."""
        state, last, total = position.state, position.last, 0.0
        for token in draft.tokens:  # step by step, with the rounding of the draws that they are compared with
            logits, state = self.engine.step(np.array([last]), state)
            total += float(log_softmax(logits[0].astype(np.float64))[token])
            last = token
        if draft.finish_reason != "end":
            return total, total
        log_probs = log_softmax(self.engine.step(np.array([last]), state)[0][0].astype(np.float64))
        end = float(np.logaddexp.reduce(log_probs[[*range(self.codec.speakers), self.codec.end]]))
        return total, total + end

    def _text(self, tokens: Sequence[int]) -> str:
        data = decode(self.codec.text, [token - self.codec.speakers for token in tokens])
        return data.decode("utf-8", "surrogateescape").strip()

    def _has_only_words(self, text: str) -> bool:
        """Whether a reply has no made-up word, as subwords and characters can form; True without a ranker."""
        return self.ranker is None or self.ranker.has_only_words(text, [words for _, words in self.turns])

    def _repeats(self, tokens: Sequence[int], text: str) -> bool:
        """Whether a reply contains a run twice, or equals an earlier reply."""
        runs = [tuple(tokens[start : start + _REPEATED_TOKENS]) for start in range(len(tokens) - _REPEATED_TOKENS + 1)]
        earlier = {words for speaker, words in self.turns if speaker == MODEL}
        return len(set(runs)) < len(runs) or text in earlier


class _TurnGuide:
    """A `draw.Guide` for one turn: words until a speaker's token or `end`, and at least one visible character."""

    def __init__(self, codec: DialogueCodec) -> None:
        self._speakers, self._end = codec.speakers, codec.end
        self._size = codec.vocab_size
        self._visible = [
            bool(piece.strip()) if isinstance(piece, str) else (piece or 0) > 32 for piece in codec.pieces()
        ]
        self._forbidden = [
            token for token, piece in enumerate(codec.pieces()) if piece is None and token >= codec.speakers
        ]
        self._begun = False
        self.over = False

    def mask(self) -> npt.NDArray[np.bool_]:
        mask = np.ones(self._size, dtype=bool)
        mask[self._forbidden] = False
        mask[self._end] = self._begun
        mask[: self._speakers] = self._begun
        return mask

    def push(self, token: int) -> bool:
        self._begun |= self._visible[token]
        self.over |= token < self._speakers or token == self._end
        return not self.over
