"""Score steps of your own with a learned reward: `python examples/score_states.py RUN`.

RUN is a run's folder, as results/runs/bench/hopper/aihf/seed_0.
"""

import sys

import gymnasium as gym
import numpy as np

from aihf_control import load_policy, load_reward


def main(run: str, env_id: str = "Hopper-v5") -> tuple[float, float]:
    reward, policy = load_reward(run), load_policy(run)
    env = gym.make(env_id)
    observation, _ = env.reset(seed=0)
    learned: list[float] = []
    true: list[float] = []
    over = False
    while not over:
        action = policy(observation[None])
        learned.append(float(reward(observation[None], action)[0]))
        observation, paid, terminated, truncated, _ = env.step(action[0])
        true.append(float(paid))
        over = terminated or truncated
    print(f"{len(true)} steps: learned return {np.sum(learned):.1f}, true return {np.sum(true):.1f}")
    return float(np.sum(learned)), float(np.sum(true))


if __name__ == "__main__":
    main(*sys.argv[1:])
