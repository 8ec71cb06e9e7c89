"""When the reward model is asked to rank what the agent does."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from pairplay.config import RewardModelConfig, TrainConfig
from pairplay.health.oversight import Oversight
from pairplay.reward.fit import splitter_of
from pairplay.reward.model import RewardModel
from pairplay.run.layout import RunDir
from pairplay.types import EnvSpec


def test_the_model_ranks_once_it_has_met_the_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small fits change little: a ranking after one of them would stay, whatever the answers say."""
    spec = EnvSpec("Vector-v0", (3,), 1, 2, (), (), 15.0)
    model = RewardModel(spec, RewardModelConfig(hidden=4), seed=1, device=torch.device("cpu"))
    run, splitter = RunDir.create(tmp_path / "run", spec.env_id, 1), splitter_of(model.config, model.seed)
    oversight, ranked = Oversight(TrainConfig(), run, model, splitter, 6), list[int]()

    def check(*, answers: int, **found: Any) -> None:
        ranked.append(answers)

    monkeypatch.setattr(oversight.enough, "check", check)
    with closing(oversight):
        for answers, visits in ((24, 16), (24, 0), (24, 8), (40, 16), (40, 16), (40, 16), (40, -3)):
            oversight.measure([], answers, [], visits=visits)
            oversight.after_fit()
    assert ranked == [24, 40]
