"""Environments that do not give the task away: what may be changed of which, and what to say of the others.

Christiano et al. 2017, A.1 and A.2: how an episode ends tells the agent what is wanted of it, so the paper's
episodes all have the same length, and what it means to fall is left to the labeler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pairplay.config import EnvConfig
from pairplay.types import UserError


@dataclass(frozen=True)
class _Simulator:
    """One environment id whose simulator can be stepped past the moment at which it says that the episode is over."""

    free: Mapping[str, float] | None = field(default_factory=dict)
    """Arguments with which torque and contact cost nothing; None when its reward cannot be changed."""


# Of the v5 line alone: v4 goes on paying for being upright after a fall, and so pays for lying down.
_SIMULATORS: dict[str, _Simulator] = {
    "Hopper-v5": _Simulator({"ctrl_cost_weight": 0.0}),
    "Walker2d-v5": _Simulator({"ctrl_cost_weight": 0.0}),
    "Swimmer-v5": _Simulator({"ctrl_cost_weight": 0.0}),
    "HalfCheetah-v5": _Simulator({"ctrl_cost_weight": 0.0}),
    "Ant-v5": _Simulator({"ctrl_cost_weight": 0.0, "contact_cost_weight": 0.0}),
    "Reacher-v5": _Simulator({"reward_control_weight": 0.0}),
    "InvertedPendulum-v5": _Simulator(),
    "InvertedDoublePendulum-v5": _Simulator(),
    "Humanoid-v5": _Simulator({"ctrl_cost_weight": 0.0, "contact_cost_weight": 0.0}),
    "HumanoidStandup-v5": _Simulator({"ctrl_cost_weight": 0.0, "impact_cost_weight": 0.0}),
    "Pusher-v5": _Simulator({"reward_control_weight": 0.0}),
    "CartPole-v1": _Simulator(None),
    "Pendulum-v1": _Simulator(None),
}
"""The paper's eight tasks first. Each was stepped past its end for thousands of steps: it stays finite, and its
reward for being upright stops where it would have ended."""


def simulator_options(env_id: str, config: EnvConfig) -> dict[str, float]:
    """What the simulator must be made with for `config`. UserError where it has no such option."""
    if config.torque_cost:
        return {}
    simulator = _SIMULATORS.get(env_id)
    if simulator is None or simulator.free is None:
        known = ", ".join(name for name, entry in _SIMULATORS.items() if entry.free is not None)
        raise UserError(
            f"{env_id} has no torque cost that could be switched off: leave out --env.no-torque-cost. Known: {known}"
        )
    return dict(simulator.free)


def check_ends(env_id: str, config: EnvConfig, max_episode_steps: int) -> None:
    """UserError where `config.ends` asks for what `env_id`, with this time limit (0: none), cannot do."""
    if config.play_on_steps < 0:
        raise UserError(f"--env.play-on-steps {config.play_on_steps}: must be at least 0")
    if config.ends != "continue":
        if config.play_on_steps:
            raise UserError(f"--env.play-on-steps {config.play_on_steps} goes with --env.ends continue")
        return
    if env_id not in _SIMULATORS:
        raise UserError(
            f"{env_id} cannot be played on past its end: use --env.ends hide, which works everywhere. "
            f"--env.ends continue knows {', '.join(_SIMULATORS)}"
        )
    if not max_episode_steps:
        raise UserError(f"{env_id} would never end: give --env.max-episode-steps with --env.ends continue")


def play_on(simulator: Any) -> None:
    """Let `simulator`, which has just reported its end, be stepped further without complaint."""
    if hasattr(simulator, "steps_beyond_terminated"):
        simulator.steps_beyond_terminated = 1  # CartPole: 0 makes it warn, and None pays for the next step too


def horizon_warning(env_id: str, ends: str) -> str | None:
    """What to tell a person once an episode has terminated while the reward is learned; None if nothing is amiss.

    To be asked when `Rollout.terminated` is true anywhere: many an environment can end and never does.
    """
    if ends != "keep":
        return None
    mend = "--env.ends hide (the agent cannot tell that it ended)"
    if env_id in _SIMULATORS:
        mend = f"--env.ends continue (every episode lasts to its time limit) or {mend}"
    return (
        f"{env_id} ends episodes by itself, and how long they last tells the agent what is wanted whatever anybody "
        f"answers. This run goes on; to learn from the answers alone, start with {mend}. "
        "See docs/guide/variable-horizon.md"
    )
