"""One run of CleanRL's PPO for Atari on the true reward, to see how fast it is.

    .venv-cleanrl/bin/python benchmarks/peers/cleanrl_run.py --env-id ALE/Enduro-v5 --total-timesteps 8192 \
        --run-dir runs/try

Knows nothing of Pairplay: it runs in an environment of its own, with what stands in cleanrl.txt. Leaves metrics.jsonl
in the run directory, a line a rollout, with the steps played and the seconds since the program began.

CleanRL is single files, of which PyPI has those of 2021 (0.4.8), for the gym of that time. `ppo_atari.py` runs as it is
there, with all its own settings: 8 environments one after the other, n_steps 128, batches of 256, 4 epochs. What it
needs and cannot have any more is put beside it (beside_cleanrl/): the game, by today's ale-py; TensorBoard's writer,
whose place a writer of metrics.jsonl takes; and a module of robots, which it imports and does not use here.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

BESIDE = Path(__file__).resolve().with_name("beside_cleanrl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-id", required=True)
    parser.add_argument("--total-timesteps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run-dir", type=Path, required=True)
    options = parser.parse_args()
    options.run_dir.mkdir(parents=True)
    game = options.env_id.removeprefix("ALE/").removesuffix("-v5") + "NoFrameskip-v4"
    words = [sys.executable, "-m", "cleanrl.ppo_atari", "--gym-id", game, "--seed", str(options.seed)]
    words += ["--total-timesteps", str(options.total_timesteps)]
    beside = {"PYTHONPATH": str(BESIDE), "GAME_ID": game, "METRICS": str(options.run_dir / "metrics.jsonl")}
    # In the place of this process: whoever holds it, holds CleanRL.
    os.execve(sys.executable, words, os.environ | beside)


if __name__ == "__main__":
    main()
