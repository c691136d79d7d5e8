"""The last good step of a run, kept in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seqgen.errors import TrainingError

if TYPE_CHECKING:
    from seqgen.training.loop import Run

_MOST_RECOVERIES = 12  # halvings of the rate: after that it is 4,000 times lower and something else is wrong


class Snapshot:
    """The last good step, in memory: where the run goes back to when a loss is not finite."""

    EVERY = 100  # steps; the copy costs a thousandth of that

    def __init__(self, run: Run) -> None:
        self._good = self._take(run)
        self._newest = self._good

    def stepped(self, run: Run) -> None:
        """A step came out finite, so the weights before it were good: only now is the newest copy believed."""
        self._good = self._newest
        if run.position.step % self.EVERY == 0:
            self._newest = self._take(run)

    def _take(self, run: Run) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, position = run.state()
        return {name: array.copy() for name, array in arrays.items()}, position

    def restore(self, run: Run) -> None:
        """Back to the snapshot with half the rate. The clock and the count of recoveries are not turned back."""
        now = run.position
        if now.recoveries >= _MOST_RECOVERIES:
            raise TrainingError(
                f"the loss was not finite {now.recoveries + 1} times, at ever lower learning rates: "
                "the data or the settings make this model impossible to train"
            )
        factor, recoveries, began = now.rate_factor / 2, now.recoveries + 1, run.began
        kept = {"best_loss": now.best_loss, "best_step": now.best_step, "worse": now.worse}
        self._newest = self._good
        arrays, position = self._good
        run.restore(arrays, {**position, **kept, "rate_factor": factor, "recoveries": recoveries,
                                   "next_validation": now.next_validation})  # fmt: skip
        run.objective.load_carried_state({})  # what is carried may be the very thing that is not finite
        run.began = began
