"""A conversation with a model: what was said is kept as recurrent state, of whatever length, and never read twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from seqgen.config import ReplyOptions, SampleOptions
from seqgen.generation.engines.base import Engine
from seqgen.generation.prompts import Prompt, with_shown_text
from seqgen.generation.sampling.constraints import AutomatonMasks, make_masks
from seqgen.generation.sampling.draw import PrimedState, extend_primed, ids
from seqgen.generation.sampling.draw import prime as prime_ids
from seqgen.generation.sampling.filters import FilterChain, ResolvedNames, log_softmax
from seqgen.generation.sampling.token_names import resolve_names
from seqgen.generation.state import SavedState
from seqgen.tokenizers import Ids
from seqgen.tokenizers.dialogue import DialogueCodec
from seqgen.untrusted import as_bytes

USER, MODEL = 0, 1  # speakers
_LONGEST = 400  # tokens of a reply, or characters where it must match: beyond it the model has lost the thread
_REPEATED = 4  # tokens in a row that a good reply doesn't say twice


@dataclass(frozen=True)
class Reply:
    """What the model said. `log_probability` of its tokens and its end given all before; `alone` given nothing; both
    in nats. `score` is what the candidates were ranked by."""

    text: str
    tokens: int
    log_probability: float
    alone: float | None = None
    score: float | None = None


def prime(engine: Engine, codec: DialogueCodec, prompt: bytes) -> Prompt:
    """Reads a prompt as the first thing that anybody says, for `text.stream` to go on with the whole conversation."""
    begin = codec.turn(USER, prompt) if prompt else np.empty(0, dtype=np.int32)
    text = (b"A: " + prompt if prompt else b"").decode("utf-8", "surrogateescape")
    return Prompt(text, prime_ids(engine, codec, begin), range(codec.speakers), begin[:1].tolist())


def continue_from(engine: Engine, codec: DialogueCodec, saved: SavedState, prompt: bytes = b"") -> Prompt:
    """From where a conversation was left; what `prompt` says is the next turn."""
    begun = [USER] if saved.history else []
    context_ids = [*begun, *saved.tail]
    here = Prompt(
        "", saved.primed(engine), range(codec.speakers), context_ids, saved.pending, cut=saved.cut, is_continuation=True
    )
    if not prompt:
        return here
    said = "\n" * len(begun) + "A: " + prompt.decode("utf-8", "surrogateescape")
    primed = extend_primed(engine, here.primed, codec.turn(USER, prompt))
    return replace(with_shown_text(replace(here, primed=primed), codec, said), context_ids=[USER])


@dataclass(frozen=True)
class _Place:
    """Where a conversation is: a state, the id still to be stepped on, and the words that filters look back on."""

    state: object
    last: int
    history: tuple[int, ...] = ()


@dataclass
class Conversation:
    """A conversation under way. `turns` holds what was said, as (speaker, words).

    Raises `UserError` where the options name what this model has not, or leave nothing to say.
    """

    engine: Engine
    codec: DialogueCodec
    options: SampleOptions
    reply_options: ReplyOptions = field(default_factory=ReplyOptions)
    turns: list[tuple[int, str]] = field(default_factory=list)
    _places: list[_Place] = field(default_factory=list)  # before each turn
    _here: _Place = field(init=False)
    _drawn: int = 0  # replies so far: each has a random stream of its own
    _names: ResolvedNames = field(init=False)
    _masks: AutomatonMasks | None = field(init=False)

    def __post_init__(self) -> None:
        self._here = _Place(self.engine.initial(1), self.codec.end)
        self._names = resolve_names(self.options, self.codec)
        self._masks = make_masks(self.options, self.codec, [*range(self.codec.speakers), self.codec.end])
        if self._masks:
            self._masks.stream(_LONGEST)

    def start_at(self, number: int) -> None:
        """Begins with random stream `number`: conversations beside one another should not draw alike."""
        self._drawn = number << 20

    def restart(self) -> None:
        """Forgets all that was said. The random stream goes on."""
        self.turns.clear()
        self._places.clear()
        self._here = _Place(self.engine.initial(1), self.codec.end)

    def hear(self, words: str, speaker: int = USER) -> None:
        """Takes a turn that somebody else has said."""
        self._take(speaker, words, self.codec.turn(speaker, as_bytes(words)))

    def reply(self, stopped: Callable[[], bool] = lambda: False, speaker: int = MODEL) -> Iterator[str | Reply]:
        """The model's turn: pieces of text as they come, then the `Reply`. With candidates the text comes whole.

        Args:
            stopped: asked after every token; true ends the reply there. It counts as said.
            speaker: whose turn it is.
        """
        opening = np.array([speaker], dtype=np.int32)
        before = self._advance(self._here, opening)
        if self.reply_options.candidates == 1:
            said: Ids = np.empty(0, dtype=np.int32)
            decoder = self.codec.text.decoder()
            text, total = "", 0.0
            for token, log_probability in self._tokens(before, [self._drawn], stopped):
                total += log_probability
                if token is None:
                    break
                said = np.append(said, np.int32(token))
                piece = decoder.push(token - self.codec.speakers).decode("utf-8", "surrogateescape")
                if not text:
                    piece = piece.lstrip()
                text += piece
                if piece:
                    yield piece
            rest = decoder.finish().decode("utf-8", "surrogateescape")
            if rest:
                yield rest
            chosen = Reply((text + rest).strip(), len(said), total)
        else:
            said, chosen = self._best(before, opening, stopped)
            yield chosen.text
        self._drawn += self.reply_options.candidates
        self._take(speaker, chosen.text, np.append(opening, said))
        yield chosen

    def undo(self) -> bool:
        """Takes back the last thing that the person said, and the reply to it. False where there is none."""
        spoken = [place for place, (speaker, _) in enumerate(self.turns) if speaker == USER]
        if not spoken:
            return False
        self._here = self._places[spoken[-1]]
        del self.turns[spoken[-1] :], self._places[spoken[-1] :]
        return True

    def undo_reply(self) -> bool:
        """Takes back the last turn if it was the model's, so that it can try again."""
        if not self.turns or self.turns[-1][0] != MODEL:
            return False
        self.turns.pop()
        self._here = self._places.pop()
        return True

    def _take(self, speaker: int, words: str, spelt: Ids) -> None:
        self._places.append(self._here)
        self.turns.append((speaker, words))
        self._here = self._advance(self._here, spelt)

    def _advance(self, place: _Place, spelt: Ids) -> _Place:
        whole = np.concatenate([np.array([place.last], dtype=np.int32), spelt])
        window = self._filters().window
        words = tuple(token for token in spelt.tolist() if token >= self.codec.speakers) if window else ()
        history = (place.history + words)[-window:] if window else ()
        return _Place(self.engine.read(whole[:-1], place.state), int(whole[-1]), history)

    def _filters(self) -> FilterChain:
        return FilterChain(self.options, names=self._names)

    def _tokens(
        self, place: _Place, indices: list[int], stopped: Callable[[], bool]
    ) -> Iterator[tuple[int | None, float]]:
        """Tokens of one reply with their log-probabilities; None where it is over."""
        guides = [_Words(self.codec) for _ in indices]
        constraints = [self._masks.stream(_LONGEST) for _ in indices] if self._masks else []
        primed = PrimedState(list(place.history), place.last, place.state)
        matching = self.options.grammar is not None  # then it ends by itself
        drawn = ids(self.engine, primed, self._filters(), self.options.seed, indices, guides, constraints)
        count = 0
        while not (constraints and constraints[0].over):
            ((token, log_probability),) = next(drawn)
            if guides[0].over or (count >= _LONGEST and not matching):
                yield None, log_probability
                return
            yield token, log_probability
            if stopped():
                return
            count += 1
        yield None, 0.0  # what was asked for is complete

    def _best(self, place: _Place, opening: Ids, stopped: Callable[[], bool]) -> tuple[Ids, Reply]:
        """The candidate with the highest mutual information with the history (Li et al., 2016, eq. 9):
        log p(reply | history) − λ log p(reply), among those that don't repeat themselves or what was said before."""
        found: dict[tuple[int, ...], float] = {}
        for index in range(self._drawn, self._drawn + self.reply_options.candidates):
            drawn = list(self._tokens(place, [index], lambda: False))
            tokens = tuple(token for token, _ in drawn if token is not None)
            found[tokens] = sum(log_probability for _, log_probability in drawn)
            if stopped():
                break
        nothing = self._advance(_Place(self.engine.initial(1), self.codec.end), opening)
        ranked = []
        for tokens, log_probability in found.items():
            alone = self._log_probability(nothing, tokens)
            score = log_probability - self.reply_options.mutual * alone
            text = self._spell(tokens)
            ranked.append((not self._repeats(tokens, text), score, tokens, Reply(
                text, len(tokens), log_probability, alone, score
            )))  # fmt: skip
        _, _, tokens, best = max(ranked, key=lambda entry: entry[:2])
        return np.array(tokens, dtype=np.int32), best

    def _log_probability(self, place: _Place, tokens: tuple[int, ...]) -> float:
        """Of the tokens of a reply, and that it ends there."""
        state, last, total = place.state, place.last, 0.0
        for token in (*tokens, None):
            raw, state = self.engine.step(np.array([last]), state)
            logs = log_softmax(raw[0].astype(np.float64))
            if token is None:
                controls = [*range(self.codec.speakers), self.codec.end]
                return total + float(np.logaddexp.reduce(logs[controls]))
            total += float(logs[token])
            last = token
        return total

    def _spell(self, tokens: tuple[int, ...]) -> str:
        decoder = self.codec.text.decoder()
        data = b"".join([decoder.push(token - self.codec.speakers) for token in tokens]) + decoder.finish()
        return data.decode("utf-8", "surrogateescape").strip()

    def _repeats(self, tokens: tuple[int, ...], text: str) -> bool:
        """Whether a reply says the same twice, or what the model has said before."""
        runs = [tokens[place : place + _REPEATED] for place in range(len(tokens) - _REPEATED + 1)]
        said = {words for speaker, words in self.turns if speaker == MODEL}
        return len(set(runs)) < len(runs) or text in said


class _Words:
    """See `draw.Guide`. Words until a speaker's token or `end` closes the turn; not before something can be seen."""

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
