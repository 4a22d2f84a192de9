"""Train AIHF on a task, and see how far it got: `python examples/train_aihf.py [FOLDER] [STEPS]`."""

import sys

from aihf_control import load_policy, make_feedback, read_study, train


def main(folder: str = ".", steps: str = "40000") -> None:
    feedback = make_feedback("hopper", label_error=0.1)  # a tenth of the preferences is wrong
    runs = train("aihf", "hopper", feedback, seeds=range(3), steps=int(steps), folder=folder)
    table = read_study(runs.parents[1])
    print(table.pivot(index="step", columns="seed", values="return_mean").round())
    policy = load_policy(runs / "seed_0")
    print(policy(feedback.demonstrations[0].observations[:2]))


if __name__ == "__main__":
    main(*sys.argv[1:])
