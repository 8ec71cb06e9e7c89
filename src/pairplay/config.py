"""Every option of a run, in one frozen dataclass: the command line, the file and the documentation.

One docstring line a field is also its `--help`. Presets change defaults by environment family; a
file (`--config FILE.toml`) overrides the preset, and the command line overrides both.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Literal

from pairplay.names import unknown
from pairplay.types import UserError

Strategy = Literal["uniform", "disagreement", "entropy", "kcenter", "kcenter_disagreement", "kcenter_entropy"]


@dataclass(frozen=True)
class EnvConfig:
    """How the environment is seen by the networks and by people."""

    frame_size: int = 80
    """Atari: side of the grey frame the networks see (the paper used 84)."""
    frame_stack: int = 4
    """Atari: how many last frames make one observation."""
    frame_skip: int = 4
    """Atari: emulator frames an agent step repeats its action for."""
    full_action_space: bool = True
    """Atari: all 18 actions, or only those the game uses."""
    sticky_actions: float = 0.25
    """Atari: probability that the emulator repeats the previous action (ALE v5 default)."""
    noop_max: int = 30
    """Atari: up to so many no-ops at each reset."""
    mask_score: bool = True
    """Atari: black out score and speedometer for the networks, so that nobody reads the reward from the screen."""
    cut_black_rows: bool = True
    """Atari: leave out the rows at the upper and lower edge that the mask makes black from side to side."""
    colour_envs: int = 4
    """Atari: how many of the environments are also filmed in colour; segments are cut from these."""
    max_episode_steps: int = 0
    """End episodes (truncation) after so many agent steps; 0 keeps the environment's own limit."""
    ends: Literal["keep", "hide", "continue"] = "keep"
    """Episode ends tell the task: keep them, hide them from the learner, or let the simulator continue to the limit."""
    play_on_steps: int = 0
    """With ends continue: play on for so many steps, then begin anew as at a time limit; 0 plays to the limit."""
    end_penalty: float = 0.0
    """What the loss of a life, or an end before the time limit, costs to synthetic teachers (only to them)."""
    torque_cost: bool = True
    """MuJoCo: whether the environment's own reward charges for torque and contact (the paper's tasks did not)."""
    processes: int = 0
    """MuJoCo: in how many processes the environments are played; 0 for one a core."""


@dataclass(frozen=True)
class PPOConfig:
    """Proximal policy optimisation (Schulman et al. 2017)."""

    num_steps: int = 128
    """T, steps each environment plays in one rollout."""
    learning_rate: float = 2.5e-4
    """Adam's step size at the start."""
    anneal_lr: bool = True
    """Let the learning rate fall linearly to zero over the run."""
    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 0.95
    """λ of generalised advantage estimation."""
    update_epochs: int = 4
    """Passes over each rollout."""
    minibatch_size: int = 256
    """Samples a gradient step; must divide num_envs · num_steps."""
    clip_coef: float = 0.1
    """ε of the clipped objective."""
    clip_vloss: bool = False
    """Clip the value loss as well."""
    ent_coef: float = 0.01
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm."""
    norm_adv: bool = True
    """Normalise advantages within each minibatch."""
    target_kl: float = 0.0
    """Stop a rollout's updates once the policy has moved this far; 0 never stops."""
    network: Literal["nature", "small"] = "nature"
    """Pictures: the three convolutions of Mnih et al. 2015, or the two of Mnih et al. 2013, a third of the work."""
    hidden: int = 64
    """Width of the two hidden layers for state vectors."""
    scale_env_reward: bool = True
    """State vectors, --reward env: divide the reward by the running spread of its discounted sum."""


@dataclass(frozen=True)
class RewardModelConfig:
    """The learned reward r̂(o, a): an ensemble fitted to comparisons (Christiano et al. 2017, §2.2)."""

    members: int = 3
    """E, networks in the ensemble."""
    hidden: int = 64
    """Width of the hidden layers."""
    learning_rate: float = 1e-3
    """AdamW's step size."""
    l2: float = 1e-4
    """L2 on the weights (decoupled, as in AdamW): where it starts."""
    adaptive_l2: bool = True
    """Move each member's L2 so that its held-out loss stays between 1.1 and 1.5 times its training loss."""
    bootstrap: bool = True
    """Give each member its own bootstrap draw of the comparisons; otherwise all train on the same ones."""
    held_out: float = 0.368
    """Share of the comparisons held out of each member for validation (paper: 1/e); 0 trains on all."""
    network: Literal["paper", "nature", "small"] = "small"
    """Pictures: the four convolutions of Christiano et al. 2017, the three of Mnih et al. 2015, or the two of Mnih et
    al. 2013."""
    batch_norm: bool = False
    """Pictures: batch normalisation after each convolution, with running statistics when predicting."""
    dropout: float = 0.0
    """Pictures: share of features dropped while fitting (paper: 0.5); none when predicting."""
    see_action: bool = True
    """Whether the action enters the model: r(o, a) rather than r(o)."""
    normalise: bool = True
    """Bring each member to mean 0 and the target's spread before averaging; otherwise average raw predictions."""
    carry_value: bool = True
    """After a refit, move the value function by what the refit moved the reward's scale, so that it does not jump."""
    batch_pairs: int = 16
    """Comparisons a gradient step."""
    fit_pairs: int = 96
    """Comparisons visited at most in one iteration: the bound on its time."""
    fit_stride: int = 1
    """When fitting, predict every so many steps of a clip: neighbouring frames say nearly the same."""
    max_visits: int = 60
    """Each comparison is visited at most so often on average: more would only overfit."""
    pretrain_pairs: int = 960
    """Comparisons visited once, just before the policy begins to learn."""
    error_rate: float = 0.1
    """ε, the share of answers assumed to be uniformly random."""
    target_std: float = 0.05
    """Standard deviation the predicted reward is scaled to (paper: 0.05 Atari, 1 control): how loud the critic is."""
    shaping: float = 0.0
    """Potential-based shaping of the predicted reward: 0 none; at 1 an action is paid for the change it makes."""
    shaping_steps: int = 0
    """Let shaping fall linearly to none in so many agent steps; 0 keeps it."""
    uncertainty_bonus: float = 0.0
    """Pay so many of the members' standard deviations besides, fading to none by half of the run: the agent tries what
    they disagree about (Liang et al. 2022)."""
    buffer: int = 3000
    """Only so many of the latest answers are trained on."""


@dataclass(frozen=True)
class QueryConfig:
    """Which clips are compared, and when."""

    clips: Literal["whole", "still", "none"] = "whole"
    """Draw whole clips; one picture of each, far cheaper; or none, for synthetic teachers that judge by rewards."""
    segment_length: int = 0
    """L, agent steps in a clip; 0 means 25 for Atari, 10 for InvertedPendulum, elsewhere 1.5 seconds (15 to 60)."""
    strategy: Strategy = "disagreement"
    """How pairs are chosen once there is a reward model (the paper: disagreement; the others are B-Pref's)."""
    candidates: int = 10
    """Pairs drawn at random for each one asked; the best by the strategy is kept."""
    pool: int = 64
    """Recent segments kept as candidates."""
    windows: int = 16
    """Segments cut from each rollout at most; of pictures, once the policy learns, one for each candidate pair."""
    initial_share: float = 0.25
    """Share of the label budget spread over the time before and just after learning starts."""
    anneal_steps: float = 2e6
    """c in the label rate ∝ c / (T + c)."""
    max_pending: int = 20
    """Never more unanswered queries than this for a person: a long queue is a stale queue."""
    expire_steps: int = 100_000
    """Withdraw queries that nobody answered for so many agent steps, and ask about newer behaviour; 0 never does."""
    behind: Literal["continue", "slow", "pause"] = "continue"
    """When answers fall behind schedule: play on, play on at a fraction of the speed, or wait for them."""
    min_answers: int = 0
    """Answers (not skips) needed before the policy learns; 0 means 10 from a person, else the initial share."""
    explore_steps: int = 2048
    """Steps explored at least before the policy starts to learn."""
    explore_persistence: float = 0.9
    """While exploring, the probability of holding the last random action: held actions show more of the game."""


@dataclass(frozen=True)
class TeacherConfig:
    """How synthetic teachers behave in the queue, beside what they answer."""

    delay_steps: int = 0
    """Agent steps that pass before a query is answered: a slow human."""
    absent_every: int = 0
    """Agent steps from one absence to the next; 0 is always there."""
    absent_for: int = 0
    """Agent steps that each absence lasts."""
    share: float = 0.5
    """Beside a person: the share of queries that synthetic teachers take from the queue."""


@dataclass(frozen=True)
class TrainConfig:
    """Train an agent from comparisons of its clips (or, with --reward env, from the environment's own reward)."""

    env_id: str = "ALE/Enduro-v5"
    """Any Gymnasium environment id; your own as module:Name-v0, where importing the module registers it."""
    reward: Literal["learned", "env"] = "learned"
    """Learn from comparisons, or from the environment's own reward (the baseline)."""
    teacher: str = "human"
    """Who answers: human, oracle, mistake, noisy, skip, equal, myopic, random, your own as pkg.module:function, or
    several joined by +, such as human+oracle."""
    total_timesteps: int = 1_000_000
    """Agent steps in all, over all environments."""
    labels: int = 700
    """Answers asked for in all: the budget."""
    num_envs: int = 8
    """N, environments played side by side."""
    seed: int = 1
    """Seed of everything random."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the networks run."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format of the networks; auto picks bf16 on processors that compute in it, where it is faster. With bf16
    rewards are predicted from bytes, on processors that multiply those."""
    question: str = "Which clip is better?"
    """The goal in your own words, shown above each pair."""
    checkpoint_every: int = 50_000
    """Steps between checkpoints (one more is written at the end and on Ctrl-C)."""
    env: EnvConfig = field(default_factory=EnvConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    reward_model: RewardModelConfig = field(default_factory=RewardModelConfig)
    queries: QueryConfig = field(default_factory=QueryConfig)
    teaching: TeacherConfig = field(default_factory=TeacherConfig)


def preset(env_id: str, name: str = "auto") -> TrainConfig:
    """The defaults for an environment family, or a named preset.

    Raises `UserError` for an unknown name.
    """
    if name == "auto":
        name = FAMILIES.get(env_id, "atari" if env_id.startswith("ALE/") else "control")
    if name not in PRESETS:
        raise UserError(unknown("preset", name, PRESETS))
    chosen = replace(PRESETS[name], env_id=env_id, question=QUESTIONS.get(env_id, TrainConfig.question))
    if env_id in WITHOUT_END_PENALTY:
        chosen = replace(chosen, env=replace(chosen.env, end_penalty=0.0))
    return chosen


AT_LEAST_ONE = (
    *("total_timesteps", "num_envs", "checkpoint_every", "env.frame_stack", "env.frame_skip"),
    *("ppo.num_steps", "ppo.update_epochs", "ppo.minibatch_size", "ppo.hidden"),
    *("reward_model.members", "reward_model.hidden", "reward_model.batch_pairs", "reward_model.fit_stride"),
    *("reward_model.max_visits", "reward_model.buffer", "queries.candidates", "queries.max_pending"),
)
"""Options of which no run can do with less."""


def check_options(config: TrainConfig) -> None:
    """UserError for numbers that no run can go by, or that would make it wait for ever."""
    for name in AT_LEAST_ONE:
        value: int = attrgetter(name)(config)
        if value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be at least 1")
    if config.labels < 0:
        raise UserError(f"--labels {config.labels}: must be at least 0")
    delay, expire = config.teaching.delay_steps, config.queries.expire_steps
    if 0 < expire <= delay:
        raise UserError(
            f"--teaching.delay-steps {delay}: a query is withdrawn after --queries.expire-steps {expire}, so none "
            "would ever be answered; use a shorter delay, or a longer time (0: never)"
        )


MUJOCO = (
    *("Hopper-v5", "Walker2d-v5", "Swimmer-v5", "HalfCheetah-v5", "Ant-v5", "Reacher-v5"),
    *("InvertedPendulum-v5", "InvertedDoublePendulum-v5"),
)
"""The paper's eight tasks."""

PENDULUMS = ("InvertedPendulum-v5", "InvertedDoublePendulum-v5")
"""Those of them that cannot rise again."""

FAMILIES = {"ALE/Enduro-v5": "enduro", **dict.fromkeys(MUJOCO, "mujoco"), **dict.fromkeys(PENDULUMS, "pendulum")}
"""Environments with a preset of their own."""

WITHOUT_END_PENALTY = ("ALE/Pong-v5",)
"""Games that end because somebody has won: that is in the reward already (Christiano et al. 2017, A.2)."""

QUESTIONS = {
    "ALE/Enduro-v5": "Drive fast and overtake as many cars as you can.",
    "ALE/Pong-v5": "Win points and do not lose any (you play the green bat on the right).",
    "ALE/Breakout-v5": "Keep the ball in play and break bricks.",
    "CartPole-v1": "Keep the pole upright and the cart in the middle.",
    "Pendulum-v1": "Swing the pendulum up and hold it there.",
    "HalfCheetah-v5": "Run to the right as fast as possible.",
    "Hopper-v5": "Hop to the right without falling.",
}
"""The goal in a person's words, where we know it; `--question` replaces it."""

# Nobody tells the learner why an episode ended; synthetic teachers mind the loss of a life, as the paper's oracle did.
_ATARI = TrainConfig(
    env=EnvConfig(ends="hide", end_penalty=1.0),
    reward_model=RewardModelConfig(fit_stride=3, fit_pairs=32, pretrain_pairs=400),
    queries=QueryConfig(pool=96),
)
_CONTROL = TrainConfig(
    total_timesteps=500_000,
    checkpoint_every=100_000,
    ppo=PPOConfig(
        num_steps=256, learning_rate=3e-4, update_epochs=10, minibatch_size=64, clip_coef=0.2, ent_coef=0.0, gamma=0.99
    ),
    reward_model=RewardModelConfig(target_std=1.0, learning_rate=3e-4, fit_pairs=512, pretrain_pairs=4096),
)

# MuJoCo as the paper played it: episodes of one length, torque costs nothing (docs/decisions/012).
_MUJOCO = replace(
    _CONTROL,
    env=EnvConfig(ends="continue", torque_cost=False),
    ppo=replace(_CONTROL.ppo, minibatch_size=256, learning_rate=1e-3),
    # What a state is paid stays with the answers, not with what the policy does of late (docs/decisions/023).
    reward_model=replace(_CONTROL.reward_model, normalise=False),
    queries=QueryConfig(windows=64, pool=512),
)

# What lies there for good is looked at for a second, and then stood up again (docs/decisions/016).
_PENDULUM = replace(_MUJOCO, env=replace(_MUJOCO.env, play_on_steps=25), reward_model=_CONTROL.reward_model)

# 30,208 agent steps, 290 answers: the budget of a coffee break. 16 iterations of 32 x 59 steps; why so many short
# episodes, and why the reward is shaped, stands in docs/decisions/006 and 008.
_QUICK = replace(
    _ATARI,
    total_timesteps=30_208,
    labels=290,
    num_envs=32,
    checkpoint_every=10_000,
    # Black rows stay: without them the first 30,000 steps teach less (docs/decisions/034).
    env=replace(_ATARI.env, colour_envs=32, max_episode_steps=590, cut_black_rows=False),
    ppo=PPOConfig(num_steps=59, minibatch_size=118, learning_rate=1e-3, anneal_lr=False, gamma=0.95, clip_coef=0.2),
    reward_model=replace(_ATARI.reward_model, fit_pairs=200, pretrain_pairs=800, shaping=1.0),
    # An even rate: what random play looks like is soon known. And twice as many clips as are asked about, so that a
    # pair may show the play of different moments.
    queries=QueryConfig(windows=64, pool=256, initial_share=0.07, anneal_steps=1e6, explore_steps=1888, min_answers=10),
)

PRESETS: dict[str, TrainConfig] = {
    "atari": _ATARI,
    "control": _CONTROL,
    "mujoco": _MUJOCO,
    "pendulum": _PENDULUM,
    "quick": _QUICK,
    # For a person: what learns fastest, with time for as many answers as one likes to give.
    "enduro": replace(
        _QUICK,
        total_timesteps=1_000_000,
        labels=700,
        checkpoint_every=50_000,
        env=replace(_QUICK.env, colour_envs=16, cut_black_rows=True),
        # Three passes teach as much as four where there are many rollouts (docs/decisions/035).
        ppo=replace(_QUICK.ppo, anneal_lr=True, update_epochs=3),
        # docs/decisions/029, 031 and 033: what a longer run adds to the short one's recipe, and what it can spare.
        reward_model=replace(
            _QUICK.reward_model, batch_norm=True, shaping_steps=300_000, target_std=0.25, fit_pairs=16, fit_stride=5
        ),
        queries=QueryConfig(windows=32, explore_steps=1888),
    ),
}
