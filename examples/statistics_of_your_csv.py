"""The suite's statistics on anybody's scores: `python examples/statistics_of_your_csv.py SCORES`.

SCORES is a CSV with the columns algorithm, task, seed and score; all have the same tasks and as many seeds.
"""

import sys

import numpy as np
import pandas as pd

from aihf_control.statistics import aggregate_interquartile_mean, improvement_interval, stratified_bootstrap


def main(path: str) -> None:
    scores = {
        name: rows.pivot(index="seed", columns="task", values="score").to_numpy()
        for name, rows in pd.read_csv(path).groupby("algorithm")
    }
    for name, matrix in scores.items():  # (seeds, tasks)
        interval = stratified_bootstrap(matrix, aggregate_interquartile_mean, np.random.default_rng(0))
        print(f"{name}: IQM {interval.estimate:.3f} [{interval.low:.3f} to {interval.high:.3f}]")
    first, *others = scores
    for name in others:
        better = improvement_interval(scores[first], scores[name], np.random.default_rng(0))
        print(f"P({first} > {name}) = {better.estimate:.2f} [{better.low:.2f} to {better.high:.2f}]")


if __name__ == "__main__":
    main(*sys.argv[1:])
