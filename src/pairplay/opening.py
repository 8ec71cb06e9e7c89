"""The first clips, before the many environments are loaded: a person is waiting. Knows nothing of learning."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from pairplay.config import TrainConfig
from pairplay.envs.make import is_atari, make_envs
from pairplay.inquiry import Inquiry
from pairplay.labels.store import LabelStore
from pairplay.policy.rollout import Explorer, begin, collect
from pairplay.run.layout import RunDir
from pairplay.seeding import int_seed, rng
from pairplay.teachers.panel import parse_teachers

FEW = 2
"""Environments that play for the first clips: two clips show two of them."""


def ask_first(config: TrainConfig, run: RunDir) -> None:
    """Ask a person about random play in a few environments of their own, where all of them take long to load.

    An emulator takes 0.14 s to load its game, or 0.34 s on an older machine, and a run has dozens. What is played here
    is no part of the run's steps. Does nothing where anything was asked before, where no person teaches, or where
    loading is quick.
    """
    human, _ = parse_teachers(config.teacher)
    shown = config.queries.clips != "none" and config.env.colour_envs > 0
    learned = config.reward == "learned"
    if not (learned and human and shown and is_atari(config.env_id) and config.num_envs > FEW):
        return
    few = replace(config, num_envs=FEW, env=replace(config.env, colour_envs=FEW))
    with LabelStore.open(run.labels_db) as store:
        if store.asked_pairs():
            return
        with (
            closing(make_envs(few.env_id, FEW, few.env, seed=int_seed(few.seed, "opening"))) as envs,
            closing(Inquiry(few, run, store, envs)) as inquiry,
        ):
            windows = inquiry.windows(0, step=0, learning=False)
            explorer = Explorer(envs.spec, rng(few.seed, "opening"), persistence=few.queries.explore_persistence)
            rollout, _, captures = collect(
                explorer, envs, begin(envs), num_steps=few.ppo.num_steps, film=inquiry.film(windows)
            )
            inquiry.keep(rollout, windows, captures, step=0, iteration=0)
            inquiry.ask(None, step=0, iteration=0, learning=False)
