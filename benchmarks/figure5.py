"""Redraw every committed study from its runs' `progress.csv` files; needs no torch.

`make figure5` redraws `results/<study>/<task>/` wherever `results/runs/<study>/<task>/` has runs, and
says which studies have none here.
"""
