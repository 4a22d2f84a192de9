"""Rollouts of one's own as Minari datasets, and labels of one's own: docs/your_data.md."""

import gymnasium as gym
import minari
import my_task  # registers mine/Push-v0
import numpy as np
from minari.data_collector.episode_buffer import EpisodeBuffer  # its DataCollector would need jax

rng = np.random.default_rng(0)


def episode(env: gym.Env, noise: float, seed: int) -> EpisodeBuffer:
    observations, steps = [env.reset(seed=seed)[0]], list[tuple]()
    while not steps or not (steps[-1][2] or steps[-1][3]):
        action = -3 * observations[-1][:2] - 8 * observations[-1][2:] + noise * rng.normal(size=2)
        action = action.clip(-2, 2).astype(np.float32)  # as executed, in the environment's own bounds
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        steps.append((action, reward, terminated, truncated))
    actions, rewards, ends, cuts = map(list, zip(*steps, strict=True))
    return EpisodeBuffer(
        observations=observations, actions=actions, rewards=rewards, terminations=ends, truncations=cuts
    )


env = gym.make(my_task.TASK.env_id)
for name, noise in (("good", 0.2), ("poor", 6.0)):
    episodes = [episode(env, noise, seed) for seed in range(150)]
    minari.create_dataset_from_buffers(f"mine/push/{name}-v0", episodes, env=env)
    print(f"mine/push/{name}-v0: mean return {np.mean([sum(e.rewards) for e in episodes]):.1f}")

# 200 pairs of 50 steps of the poor ones; preferred is where the point ends nearer to the origin
first, second = ([episodes[i] for i in rng.choice(150, 200)] for _ in range(2))
obs_1, obs_2 = (np.array([e.observations[:50] for e in side]) for side in (first, second))
action_1, action_2 = (np.array([e.actions[:50] for e in side]) for side in (first, second))
far_1, far_2 = (np.abs(obs[:, -1, :2]).sum(axis=1) for obs in (obs_1, obs_2))
labels = (far_2 < far_1).astype(float)  # 0: the first is preferred, 1: the second, 0.5: a tie
np.savez("my_labels.npz", obs_1=obs_1, obs_2=obs_2, action_1=action_1, action_2=action_2, label=labels)
