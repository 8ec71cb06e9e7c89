"""Scoring in bulk is scoring one by one; relabelling normalises once; a saved model is the same model."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from pairplay.config import PPOConfig
from pairplay.policy.networks import Policy
from pairplay.reward import model as model_module
from pairplay.reward.film import Film
from pairplay.reward.fit import fit
from pairplay.reward.model import RewardModel
from pairplay.reward.normaliser import Affine
from pairplay.types import Comparison, EnvSpec, FloatArray, Rollout, Segment, UserError

from .examples import CONFIG, IMAGE, REACH, VECTOR, compare, make_model, make_rollout, make_segment

SPECS = [VECTOR, REACH, IMAGE]


@pytest.fixture(params=SPECS, ids=lambda spec: spec.env_id)
def spec(request: pytest.FixtureRequest) -> EnvSpec:
    chosen: EnvSpec = request.param
    return chosen


def score_one(model: RewardModel, rollout: Rollout, t: int, n: int) -> FloatArray:
    """`[E]` of one step, from a segment that holds nothing else."""
    K, age = model.spec.stack, int(rollout.age[t, n])
    # Frames from before the episode are replaced by noise: nobody may read them.
    frames = rollout.frames[t : t + K, n].copy()
    frames[: max(0, K - 1 - age)] = 77
    one = Segment("one", frames, age, rollout.action[t : t + 1, n], env=n, step=0, iteration=0)
    return model.segment_returns([one])[:, 0]


def test_scoring_a_rollout_is_scoring_its_steps(spec: EnvSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rollout = make_model(spec), make_rollout(spec)
    model.observe(rollout)
    monkeypatch.setitem(model_module.CHUNK, "cpu", 4)  # several passes, the last one not full
    reward_ETN = model.score(rollout)
    assert reward_ETN.shape == (3, 7, 2)
    assert reward_ETN.dtype == np.float32
    for t in range(7):
        for n in range(2):
            np.testing.assert_allclose(reward_ETN[:, t, n], score_one(model, rollout, t, n), rtol=1e-4, atol=1e-5)


def test_a_segment_is_worth_the_sum_of_its_steps(spec: EnvSpec) -> None:
    model, rollout = make_model(spec), make_rollout(spec, done_rate=0.0)
    frames = rollout.frames[2 : 2 + spec.stack - 1 + 4, 1]
    segment = Segment("s", frames, int(rollout.age[2, 1]), rollout.action[2:6, 1], env=1, step=0, iteration=0)
    expected = model.score(rollout)[:, 2:6, 1].sum(1)
    np.testing.assert_allclose(model.segment_returns([segment])[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_segments_of_different_lengths_do_not_mix(spec: EnvSpec) -> None:
    model = make_model(spec)
    segments = [make_segment(spec, str(i), length, seed=i, age=i) for i, length in enumerate((5, 1, 3))]
    together = model.segment_returns(segments)
    alone = np.concatenate([model.segment_returns([segment]) for segment in segments], axis=1)
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_no_segments() -> None:
    assert make_model(VECTOR).segment_returns([]).shape == (3, 0)


def test_read_only_arrays_are_accepted() -> None:
    segment = make_segment(VECTOR, "stored")
    expected = make_model(VECTOR).segment_returns([segment])
    for array in (segment.frames, segment.action):
        array.setflags(write=False)
    np.testing.assert_array_equal(make_model(VECTOR).segment_returns([segment]), expected)


def test_actions_count_as_the_environment_received_them() -> None:
    """The first coordinate is bounded by ±2, the second is not."""
    model, segment = make_model(REACH), make_segment(REACH, "s", length=1)

    def value(*action: float) -> float:
        return float(model.segment_returns([replace(segment, action=np.array([action], np.float32))])[0, 0])

    assert value(5.0, 1.0) == value(2.0, 1.0) != value(1.9, 1.0)
    assert value(2.0, 5.0) != value(2.0, 1.0)
    assert np.isfinite(value(1e30, -1e3))


def test_relabel_normalises_each_member_then_averages() -> None:
    model, rollout = make_model(VECTOR, replace(CONFIG, target_std=0.5)), make_rollout(VECTOR, T=40)
    model.observe(rollout)
    inputs = model.inputs.state()
    estimate = model.relabel(rollout)
    # Observing the same data twice moves no mean, so the raw scores are those that relabel saw.
    torch.testing.assert_close(model.inputs.mean, inputs["mean"])
    raw_ETN = model.score(rollout).astype(np.float64)
    standard_ETN = (raw_ETN - raw_ETN.mean((1, 2), keepdims=True)) / raw_ETN.std((1, 2), keepdims=True)
    np.testing.assert_allclose(estimate.mean, 0.5 * standard_ETN.mean(0), atol=1e-5)
    np.testing.assert_allclose(estimate.std, 0.5 * standard_ETN.std(0), atol=1e-5)
    assert estimate.mean.dtype == estimate.std.dtype == np.float32


def test_relabel_with_one_member_has_the_target_standard_deviation(spec: EnvSpec) -> None:
    model = make_model(spec, replace(CONFIG, members=1, target_std=0.05))
    estimate = model.relabel(make_rollout(spec, T=20))
    assert estimate.mean.std() == pytest.approx(0.05, rel=1e-3)
    assert estimate.mean.mean() == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_array_equal(estimate.std, np.zeros((20, 2)))


def test_a_constant_prediction_is_zero_reward() -> None:
    model = make_model(VECTOR)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.zero_()
    estimate = model.relabel(make_rollout(VECTOR))
    np.testing.assert_array_equal(estimate.mean, np.zeros((7, 2)))
    np.testing.assert_array_equal(estimate.std, np.zeros((7, 2)))


# -- the scale of the reward -----------------------------------------------------------------------------------------


def distort(model: RewardModel, scale: float, shift: float) -> None:
    """A refit that does nothing else to the raw predictions."""
    with torch.no_grad():
        model.network.head.out.weight.mul_(scale)
        model.network.head.out.bias.mul_(scale).add_(shift)


def test_a_refit_that_changes_the_scale_alone_changes_no_reward(spec: EnvSpec) -> None:
    model, rollout = make_model(spec), make_rollout(spec)
    before = model.relabel(rollout)
    distort(model, 5.0, 3.0)
    moved = model.renormalise()
    assert moved.scale == pytest.approx(1.0, rel=1e-3)
    assert moved.shift == pytest.approx(0.0, abs=1e-4)
    after = model.relabel(rollout)
    np.testing.assert_allclose(after.mean, before.mean, atol=1e-4)
    np.testing.assert_allclose(after.std, before.std, atol=1e-4)


def test_without_normalising_the_reward_moves_and_says_so(spec: EnvSpec) -> None:
    model, rollout = make_model(spec, replace(CONFIG, normalise=False)), make_rollout(spec)
    before = model.relabel(rollout).mean
    np.testing.assert_allclose(before, model.score(rollout).mean(0), rtol=1e-4, atol=1e-6)
    distort(model, 5.0, 3.0)
    moved = model.renormalise()
    assert moved.scale == pytest.approx(5.0, rel=1e-3)
    assert moved.shift == pytest.approx(3.0, abs=1e-3)
    np.testing.assert_allclose(model.relabel(rollout).mean, moved.scale * before + moved.shift, atol=1e-3)


def test_each_refit_is_compared_with_the_one_before_it_also_after_a_restart() -> None:
    model = make_model(VECTOR, replace(CONFIG, normalise=False))
    model.relabel(make_rollout(VECTOR))
    for scale in (2.0, 3.0):
        copy = make_model(VECTOR, replace(CONFIG, normalise=False), seed=7)
        copy.load(model.state())
        model = copy
        distort(model, scale, 0.0)
        assert model.renormalise().scale == pytest.approx(scale, rel=1e-3)


def test_values_follow_the_reward(spec: EnvSpec) -> None:
    """A critic that knew the return of every state under the old reward knows it under the new one."""
    policy = Policy(spec, PPOConfig(hidden=8))
    model, rollout = make_model(spec, replace(CONFIG, normalise=False)), make_rollout(spec)
    model.relabel(rollout)
    obs = torch.from_numpy(rollout.frames[: spec.stack].swapaxes(0, 1).copy())
    with torch.no_grad():
        old = policy(obs)[1]
        distort(model, 5.0, 3.0)
        moved = model.renormalise()
        policy.move_value(moved.scale, moved.shift / (1.0 - 0.99))
        torch.testing.assert_close(policy(obs)[1], 5.0 * old + 300.0, rtol=1e-3, atol=0.2)


def test_between_fits_a_state_is_always_paid_the_same(spec: EnvSpec) -> None:
    model, rollout = make_model(spec), make_rollout(spec)
    first = model.relabel(rollout).mean
    for seed in range(1, 4):
        other = make_rollout(spec, seed=seed)
        model.relabel(replace(other, frames=other.frames // 2 if spec.is_image else other.frames * 3 + 1))
    np.testing.assert_array_equal(model.relabel(rollout).mean, first)


def test_measuring_the_scale_again_changes_nothing(spec: EnvSpec) -> None:
    """It is taken from the current parameters, not blended with what was before: no drift, nothing applied twice."""
    model, rollout = make_model(spec), make_rollout(spec)
    first = model.relabel(rollout).mean
    for _ in range(3):
        moved = model.renormalise()
        assert moved.scale == pytest.approx(1.0, rel=1e-4)
        assert moved.shift == pytest.approx(0.0, abs=1e-5)
    np.testing.assert_allclose(model.relabel(rollout).mean, first, atol=1e-5)


def test_nothing_was_paid_before_the_first_scale() -> None:
    model = make_model(VECTOR)
    assert model.renormalise() == Affine(1.0, 0.0)
    model.observe(make_rollout(VECTOR))
    distort(model, 7.0, -2.0)
    assert model.renormalise() == Affine(1.0, 0.0)
    assert model.scale.known


@pytest.mark.parametrize("normalise", [True, False])
def test_rollouts_of_all_ages_are_measured_by_the_parameters_of_now(normalise: bool) -> None:
    model = make_model(VECTOR, replace(CONFIG, normalise=normalise))
    rollouts = [make_rollout(VECTOR, seed=seed) for seed in range(4)]
    assert model.rollout_rewards() == []
    model.observe(rollouts[0])
    assert model.rollout_rewards() == [], "nothing has predicted it yet"
    for rollout in rollouts[1:3]:
        model.relabel(rollout)
    distort(model, scale=3.0, shift=1.0)  # as a fit does
    model.renormalise()
    last = model.relabel(rollouts[3])
    paid = [model._pay(torch.from_numpy(model.score(rollout))) for rollout in rollouts[:3]]
    expected = [float(reward.mean()) for reward in paid] + [float(last.mean.mean())]
    np.testing.assert_allclose(model.rollout_rewards(), expected, rtol=1e-4, atol=1e-6)


def test_states_that_were_only_observed_do_not_disturb_the_comparison() -> None:
    model = make_model(VECTOR, replace(CONFIG, normalise=False))
    model.relabel(make_rollout(VECTOR))
    model.observe(make_rollout(VECTOR, seed=1))
    distort(model, 2.0, 1.0)
    moved = model.renormalise()
    assert moved.scale == pytest.approx(2.0, rel=1e-3)
    assert moved.shift == pytest.approx(1.0, abs=1e-3)


# -- other views of the same predictions -----------------------------------------------------------------------------


def test_probabilities_are_bradley_terry_with_errors(spec: EnvSpec) -> None:
    model = make_model(spec)
    a, b, c = (make_segment(spec, name, seed=i) for i, name in enumerate("abc"))
    comparisons = [Comparison(1, a, b, 1.0), Comparison(2, b, a, 0.0), Comparison(3, c, b, 0.5)]
    return_ES = model.segment_returns([a, b, c]).astype(np.float64)
    expected = 0.9 / (1 + np.exp(-(return_ES[:, [0, 1, 2]] - return_ES[:, [1, 0, 1]]))) + 0.05
    np.testing.assert_allclose(model.probabilities(comparisons), expected, rtol=1e-4)
    assert model.probabilities([]).shape == (3, 0)
    # The steps that these came from, of each segment once.
    _, estimates = model.judge(comparisons)
    for estimate, alone in zip(
        estimates, model.segment_rewards([a, b, c], stride=model.config.fit_stride), strict=True
    ):
        np.testing.assert_allclose(estimate.mean, alone.mean, rtol=1e-4)
        np.testing.assert_allclose(estimate.std, alone.std, rtol=1e-3, atol=1e-6)


def test_steps_of_a_segment_are_paid_as_those_of_a_rollout(spec: EnvSpec) -> None:
    model, rollout = make_model(spec), make_rollout(spec, done_rate=0.0)
    paid = model.relabel(rollout)
    frames = rollout.frames[2 : 2 + spec.stack - 1 + 4, 1]
    segment = Segment("s", frames, int(rollout.age[2, 1]), rollout.action[2:6, 1], env=1, step=0, iteration=0)
    first, second = model.segment_rewards([segment, make_segment(spec, "other", length=3)])
    np.testing.assert_allclose(first.mean, paid.mean[2:6, 1], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(first.std, paid.std[2:6, 1], rtol=1e-3, atol=1e-5)
    assert second.mean.shape == (3,)
    assert model.segment_rewards([]) == []


def test_features_have_one_width_and_tell_segments_apart(spec: EnvSpec) -> None:
    model = make_model(spec)
    segments = [make_segment(spec, str(i), length=3 + i, seed=i) for i in range(3)]
    features = model.features(segments)
    assert features.shape == (3, 3 * CONFIG.hidden)
    np.testing.assert_allclose(model.features(segments[1:2])[0], features[1], rtol=1e-4, atol=1e-5)
    assert len(np.unique(features.round(4), axis=0)) == 3
    assert model.features([]).shape == (0, 3 * CONFIG.hidden)


# -- what is known of the inputs -------------------------------------------------------------------------------------


def test_relabel_learns_the_scale_of_the_inputs_and_score_does_not() -> None:
    model, rollout = make_model(VECTOR), make_rollout(VECTOR)
    large = replace(rollout, frames=rollout.frames * 1e3 + 500)
    model.score(large)
    assert model.inputs.count == 0
    model.relabel(large)
    assert model.inputs.count == 14
    np.testing.assert_allclose(model.inputs.mean, large.frames[:-1].mean((0, 1)), rtol=1e-6)


def test_only_relabel_and_observe_move_what_is_known_of_rollouts() -> None:
    model, rollout = make_model(VECTOR), make_rollout(VECTOR)
    model.relabel(rollout)
    before = model.state()
    model.score(rollout)
    segments = [make_segment(VECTOR, str(i), seed=i) for i in range(4)]
    fit(model, compare(segments, lambda s: s.frames.sum(), 8), pairs=8, rng=np.random.default_rng(0))
    after = model.state()
    for name in before:
        if name.startswith(("inputs/", "scale/", "reference/")):
            assert torch.equal(before[name], after[name]), name


def test_the_true_reward_changes_no_parameter_and_no_prediction(spec: EnvSpec) -> None:
    rollout = make_rollout(spec)
    scrambled = replace(rollout, env_reward=rollout.env_reward * -1e6 + np.float32("nan"))
    models = [make_model(spec), make_model(spec)]
    for model, seen in zip(models, (rollout, scrambled), strict=True):
        for _ in range(2):
            model.relabel(seen)
        comparisons = compare([make_segment(spec, str(i), seed=i) for i in range(4)], lambda s: s.frames.mean(), 4)
        fit(model, comparisons, pairs=8, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(models[0].score(rollout), models[1].score(scrambled))
    first, second = (model.state() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_saved_model_goes_on_as_if_nothing_happened(spec: EnvSpec) -> None:
    segments = [make_segment(spec, str(i), seed=i) for i in range(6)]
    comparisons = compare(segments, lambda s: s.frames.mean(), 10)

    def work(model: RewardModel, seed: int) -> None:
        model.relabel(make_rollout(spec, seed=seed))
        fit(model, comparisons, pairs=20, rng=np.random.default_rng(seed))

    model, copy = make_model(spec), make_model(spec, seed=0)
    work(model, 1)
    # As from a file: in the plain memory layout, whatever that of the parameters is.
    state = {name: tensor.contiguous() for name, tensor in model.state().items()}
    saved = {name: tensor.clone() for name, tensor in state.items()}
    copy.load(state)
    for twin in (model, copy):
        work(twin, 2)
    ours, theirs = model.state(), copy.state()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert any(not torch.equal(ours[name], saved[name]) for name in ours)
    # Neither side holds on to the checkpoint's memory.
    assert all(torch.equal(state[name], saved[name]) for name in state)


def test_a_fresh_model_can_be_saved_and_loaded() -> None:
    model, other = make_model(VECTOR, seed=1), make_model(VECTOR, seed=2)
    fit_first = compare([make_segment(VECTOR, str(i), seed=i) for i in range(4)], lambda s: s.frames.mean(), 4)
    fit(other, fit_first, pairs=4, rng=np.random.default_rng(0))
    other.load(model.state())
    assert not other.optimizer.state
    assert all(torch.equal(a, b) for a, b in zip(model.state().values(), other.state().values(), strict=True))


def test_a_model_of_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match="other layers"):
        make_model(VECTOR).load(make_model(VECTOR, replace(CONFIG, hidden=32)).state())


def test_bf16_predicts_nearly_the_same() -> None:
    rollout = make_rollout(IMAGE)
    exact = make_model(IMAGE).score(rollout)
    rough = RewardModel(IMAGE, CONFIG, seed=0, device=torch.device("cpu"), precision="bf16").score(rollout)
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 0.05 * exact.std() + 0.01


@pytest.mark.parametrize(
    ("states", "most", "threads", "sizes"),
    [
        (1888, 256, 2, [236] * 8),
        (10, 4, 1, [4, 3, 3]),
        (10, 4, 2, [3, 3, 2, 2]),
        (8, 4, 1, [4, 4]),
        (1, 4, 2, [1]),
        (0, 4, 2, [0]),
    ],
)
def test_pieces_are_equally_many_for_each_thread_and_equally_large(
    states: int, most: int, threads: int, sizes: list[int]
) -> None:
    of = torch.arange(states)
    pieces = Film(torch.zeros(1), torch.zeros(1), of, of + 1, of + 2).split(most, threads)
    assert [len(piece.step) for piece in pieces] == sizes
    assert torch.equal(torch.cat([piece.env for piece in pieces]), of + 1)
    assert torch.equal(torch.cat([piece.action for piece in pieces]), of + 2)


def test_segments_kept_small_are_judged_alike() -> None:
    model, segments = make_model(IMAGE), [make_segment(IMAGE, f"s{seed}", seed=seed) for seed in range(3)]
    small = [segment.small() for segment in segments]
    np.testing.assert_array_equal(model.segment_returns(segments), model.segment_returns(small))


def test_pictures_are_relabelled_by_two_threads_that_share_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        alone, shared, vectors = make_model(IMAGE), make_model(IMAGE), make_model(VECTOR)
        assert vectors.sharing is None
        assert shared.sharing is not None
        alone.sharing = None
        monkeypatch.setitem(model_module.CHUNK, "cpu", 4)
        found: list[tuple[str, int, bool]] = []
        forward = shared.network.forward

        def noting(obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
            found.append((threading.current_thread().name, torch.get_num_threads(), torch.is_grad_enabled()))
            return forward(obs, action)

        monkeypatch.setattr(shared.network, "forward", noting)
        rollout = make_rollout(IMAGE)
        assert shared.relabel(rollout).mean.shape == rollout.shape
        np.testing.assert_allclose(shared.score(rollout), alone.score(rollout), rtol=1e-4, atol=1e-6)
        in_pieces = [(threads, grad) for name, threads, grad in found if name.startswith("sharing")]
        assert in_pieces == [(2, False)] * 8, "14 states, 4 at a time, twice"
        torch.set_num_threads(1)
        assert make_model(IMAGE).sharing is None
    finally:
        torch.set_num_threads(before)
