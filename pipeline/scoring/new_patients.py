"""The patients of one run of `predict` as drift sees them: kept for later looks, and looked at with those who came before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from pipeline.common.config import Config
from pipeline.drift import history, look, summaries
from pipeline.drift.look import Watched
from pipeline.registry.champions import Champion


class Seen:
    """What is told of patients while they are scored."""

    def __init__(self, model: Champion) -> None:
        """`model` is the champion to whose training cohort they are held."""
        self._model, self._rows = model, list[dict[str, Any]]()

    def tell(self, patient: str, images: pd.DataFrame, answer: Mapping[str, Any], vector: list[float]) -> None:
        """Be told of one; the name is not kept, and nothing of who has a picture of the training cohort."""
        row = {**summaries.of_patient(images), "vector": vector}
        if summaries.known_again(pd.Series([row["keys"]]), self._model.patients["keys"])[0]:
            return
        if answer:
            names = self._model.settings["classes"]
            row |= {"call": answer["call"], "probabilities": [float(answer[f"probability_{name}"]) for name in names]}
        self._rows.append(row)

    def keep(self) -> None:
        """Count them among the new patients."""
        if self._rows:
            history.add(self._rows, self._model.identity, datetime.now(UTC))

    def look(self, config: Config, aside: bool) -> Watched | None:
        """At the newest, those who came before and these; at these alone if they are put `aside`.

        None where the model was registered with nothing to compare with.
        """
        known = self._model.patients
        if known.empty:
            return None
        mine = summaries.once(summaries.table(self._rows))
        if not aside:
            before = history.of_model(history.read(), self._model.identity, known)
            before = before[~summaries.known_again(before["keys"], mine["keys"])]
            mine = pd.concat([table for table in (before, mine) if len(table)] or [mine], ignore_index=True)
        name = f"{self._model.subtype} v{self._model.version}"
        return Watched(look.look(known, mine, config.drift, config.seed), name, look.standing(known, mine, config.drift))
