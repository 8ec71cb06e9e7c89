"""Reference states: the right states, a fair sample of the latest rollouts, and bounded memory."""

import numpy as np
import pytest
import torch

from pairplay.observations import stack_frames
from pairplay.reward import reference as reference_module
from pairplay.reward.reference import ROLLOUTS, SIZE, Reference
from pairplay.types import EnvSpec

from .examples import IMAGE, REACH, VECTOR, make_rollout


@pytest.mark.parametrize("spec", [VECTOR, REACH, IMAGE], ids=lambda spec: spec.env_id)
def test_they_are_states_of_the_rollout_with_their_actions_and_predictions(spec: EnvSpec) -> None:
    rollout = make_rollout(spec)
    reference = Reference.empty(spec, members=3)
    reward_EB = torch.arange(3 * 14.0).reshape(3, 14)
    reference.add(rollout, np.random.default_rng(0), reward_EB)
    assert len(reference) == 14
    for obs, action, reward_E in zip(reference.obs, reference.action, reference.reward, strict=True):
        t, n = divmod(int(reward_E[0]), 2)
        index = torch.tensor([t]), torch.tensor([n])
        expected = stack_frames(torch.from_numpy(rollout.frames), torch.from_numpy(rollout.age), *index, spec.stack)
        assert torch.equal(obs, expected[0])
        assert obs.dtype == (torch.uint8 if spec.is_image else torch.float32)
        np.testing.assert_array_equal(action, rollout.action[t, n])
        assert reward_E.tolist() == reward_EB[:, int(reward_E[0])].tolist()


def test_the_latest_rollouts_share_a_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reference_module.SIZE, False, 50)
    reference = Reference.empty(VECTOR, members=1)
    for count in range(1, 2 * ROLLOUTS):
        reference.add(make_rollout(VECTOR, T=40, seed=count), np.random.default_rng(count))
        found = np.unique(reference.rollout, return_counts=True)
        latest = range(max(1, count - ROLLOUTS + 1), count + 1)
        np.testing.assert_array_equal(found[0], latest)
        np.testing.assert_array_equal(found[1], 50 // len(latest))
    assert torch.isnan(reference.reward).all()


def test_once_all_rollouts_have_their_share_only_new_states_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reference_module.SIZE, True, 50)
    reference = Reference.empty(IMAGE, members=1)
    for count in range(1, ROLLOUTS + 1):
        reference.add(make_rollout(IMAGE, T=40, seed=count), np.random.default_rng(count))
    memory, before = reference.obs.data_ptr(), reference.obs.clone()
    rollout = make_rollout(IMAGE, T=40, seed=99)
    reference.add(rollout, np.random.default_rng(99))
    assert reference.obs.data_ptr() == memory
    new = reference.rollout == ROLLOUTS + 1
    assert int(new.sum()) == 50 // ROLLOUTS
    assert torch.equal(reference.obs[~new], before[~new])
    assert sorted(reference.rank[new].tolist()) == list(range(50 // ROLLOUTS))
    alone = Reference.empty(IMAGE, members=1)
    alone.add(rollout, np.random.default_rng(99))
    order = torch.argsort(reference.rank[new])
    assert torch.equal(reference.obs[new][order], alone.obs[: 50 // ROLLOUTS])
    assert torch.equal(reference.action[new][order], alone.action[: 50 // ROLLOUTS])


def test_pictures_take_little_memory() -> None:
    bytes_each = 4 * 80 * 80
    assert SIZE[True] * bytes_each < 7e6
