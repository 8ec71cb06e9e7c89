"""How much an answer would tell: of members that disagree, of a coin that is fair, of pairs unlike any other."""

from __future__ import annotations

import numpy as np

from pairplay.types import Array, BoolArray

# E ensemble members, P candidate pairs, F features, C centres


def preference_probabilities(return_left: Array, return_right: Array) -> Array:
    """P[left ≻ right] = σ(R_left - R_right) by each member, `[E, P]`, without the error term: it changes no order."""
    # tanh never overflows: σ(x) = (1 + tanh(x / 2)) / 2.
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * (return_left.astype(np.float64) - return_right))))


def preference_variance(return_left: Array, return_right: Array) -> Array:
    """Variance of that probability over the members: `[E, P]` each → `[P]`. Christiano et al. 2017, §2.2.4."""
    return np.asarray(preference_probabilities(return_left, return_right).var(axis=0))


def preference_entropy(return_left: Array, return_right: Array) -> Array:
    """Entropy in nats of the members' mean probability: `[E, P]` each → `[P]`. Lee et al. 2021 (B-Pref)."""
    p = preference_probabilities(return_left, return_right).mean(axis=0)
    tiny = np.finfo(np.float64).tiny  # 0 · log 0 is 0
    return np.asarray(-p * np.log(np.maximum(p, tiny)) - (1 - p) * np.log(np.maximum(1 - p, tiny)))


def pair_features(feature_P2F: Array) -> Array:
    """What describes a pair whichever segment stands first, `[P, 2F]`: difference without sign, and sum."""
    left, right = feature_P2F[:, 0].astype(np.float64), feature_P2F[:, 1].astype(np.float64)
    return np.concatenate([np.abs(left - right), left + right], axis=1)


def standardise(feature_PF: Array) -> Array:
    """Each feature with standard deviation 1 over the pairs, so that none drowns the others; a constant one is 0."""
    spread_F = feature_PF.std(0)
    constant_F = spread_F <= 1e-9 * np.abs(feature_PF).max(0, initial=0.0)
    return np.where(constant_F, 0.0, (feature_PF - feature_PF.mean(0)) / np.where(constant_F, 1.0, spread_F))


def nearest_centre(feature_PF: Array, centre_CF: Array) -> Array:
    """Distance to the nearest centre, `[P]`; infinite when there is none."""
    distance_P = np.full(len(feature_PF), np.inf)
    for centre_F in centre_CF:
        distance_P = np.minimum(distance_P, np.linalg.norm(feature_PF - centre_F, axis=1))
    return distance_P


def farthest_first(feature_PF: Array, centre_CF: Array, clash_PP: BoolArray, count: int) -> list[tuple[int, float]]:
    """k-center greedy: up to `count` pairs, each the farthest from all centres and from those before it.

    Pairs that `clash_PP` with a chosen one are passed over. With each index goes its distance when it was chosen;
    without any centre the first pair is the first of the list, at distance 0. Sener and Savarese 2018.
    """
    distance_P = nearest_centre(feature_PF, centre_CF)
    open_P = np.ones(len(feature_PF), np.bool_)
    chosen: list[tuple[int, float]] = []
    while len(chosen) < count and open_P.any():
        best = int(np.where(open_P, distance_P, -1.0).argmax())
        chosen.append((best, float(distance_P[best]) if np.isfinite(distance_P[best]) else 0.0))
        open_P &= ~clash_PP[best]
        open_P[best] = False
        distance_P = np.minimum(distance_P, nearest_centre(feature_PF, feature_PF[[best]]))
    return chosen
