"""Make environments by their Gymnasium id: Atari games in C++, everything else one by one."""

from __future__ import annotations

import difflib
import importlib

import gymnasium
from gymnasium.envs.registration import EnvSpec as Registration

from pairplay.config import EnvConfig
from pairplay.cores import available_cores
from pairplay.envs import headless
from pairplay.envs.base import Envs
from pairplay.envs.fair import check_ends, simulator_options
from pairplay.envs.hidden_ends import HiddenEnds
from pairplay.envs.score_masks import rectangles
from pairplay.helper import POSSIBLE
from pairplay.names import search_here
from pairplay.types import UserError

_ATARI = "ale_py.env:AtariEnv"
_MUJOCO = "gymnasium.envs.mujoco"


def make_envs(env_id: str, num_envs: int, config: EnvConfig, *, seed: int) -> Envs:
    """`num_envs` copies of `env_id`, each with its own seed; the same arguments play the same episodes.

    Raises UserError for an unknown id (with the nearest name), for a missing library, for observations or
    actions of a kind that is not supported, and for options that this environment does not have.
    """
    if num_envs < 1:
        raise UserError(f"num_envs={num_envs}: at least 1 environment is needed")
    envs = _make(env_id, num_envs, config, seed=seed)
    return HiddenEnds(envs) if config.ends == "hide" else envs


def _make(env_id: str, num_envs: int, config: EnvConfig, *, seed: int) -> Envs:
    registration = find_registration(env_id)
    # The libraries behind the two families are heavy and optional, so each is imported where it is needed.
    if is_atari(env_id):
        from pairplay.envs.atari import AtariEnvs

        check_ends(env_id, config, config.max_episode_steps)
        simulator_options(env_id, config)
        return AtariEnvs(env_id, registration.kwargs["game"], num_envs, config, seed=seed)
    headless.prepare()
    processes = count_processes(env_id, num_envs, config)
    if processes > 1:
        from pairplay.envs.parallel import ParallelEnvs

        return ParallelEnvs(registration, num_envs, config, seed=seed, processes=processes)
    from pairplay.envs.control import ControlEnvs

    return ControlEnvs(registration, num_envs, config, seed=seed)


def count_processes(env_id: str, num_envs: int, config: EnvConfig) -> int:
    """In how many processes `num_envs` copies are played. UserError where so many were asked for in vain."""
    registration, wanted = find_registration(env_id), config.processes
    if wanted < 0:
        raise UserError(f"--env.processes {wanted}: must be at least 1, or 0 for one a core")
    if not str(registration.entry_point).startswith(_MUJOCO):
        if wanted > 1:
            raise UserError(
                f"--env.processes {wanted}: {registration.id} is played in one process; only Gymnasium's MuJoCo "
                "environments are slow enough to gain by several"
            )
        return 1
    if not POSSIBLE:
        return 1
    return min(num_envs, wanted or available_cores())


def is_atari(env_id: str) -> bool:
    """Whether ale-py's emulators play it. Raises UserError for an unknown id."""
    return bool(find_registration(env_id).entry_point == _ATARI)


def shows_score(env_id: str, config: EnvConfig) -> bool:
    """Whether the networks see all of an Atari game's screen. Raises UserError for an unknown id."""
    masked = config.mask_score and is_atari(env_id) and rectangles(find_registration(env_id).kwargs["game"])
    return is_atari(env_id) and not masked


def find_registration(env_id: str) -> Registration:
    """Gymnasium's entry for `env_id`, which may name the module that registers it: `module:Name-v0`.

    The module is looked for in the working directory first. Raises UserError with the nearest known name.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        search_here()
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(f"environment {env_id!r}: cannot import {module!r} ({error})") from error
    registration = gymnasium.registry.get(name)
    if registration is None:
        importlib.import_module("ale_py")  # registers the Atari games
        registration = gymnasium.registry.get(name)
    if registration is None or _is_legacy_atari(registration):
        raise UserError(f"unknown environment {env_id!r}.{_suggestion(name)}")
    return registration


def _suggestion(name: str) -> str:
    known = {key.lower(): key for key, entry in gymnasium.registry.items() if not _is_legacy_atari(entry)}
    wanted = name.lower().replace("noframeskip", "")
    nearest = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    if nearest:
        return f" Did you mean {known[nearest[0]]!r}?"
    return " Any Gymnasium id will do, such as 'ALE/Enduro-v5' or 'CartPole-v1'."


def _is_legacy_atari(registration: Registration) -> bool:
    # v0 and v4 promise other frame skips and no sticky actions; our options would silently break that promise.
    return registration.entry_point == _ATARI and not registration.id.startswith("ALE/")
