"""Labels that are there already as a page without a server: pairs side by side, the preferred framed."""

from __future__ import annotations

import base64
from html import escape

from aihf_control.data.human_labels import LabelledSegments
from aihf_control.envs.tasks import Task
from aihf_control.labelling.clips import Clips

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 0 auto; padding: 1rem; }}
section {{ display: grid; grid-template-columns: 1fr 1fr; gap: .5rem 1rem; margin: 1.5rem 0; }}
section {{ break-inside: avoid; }}
h2 {{ grid-column: 1 / 3; font-size: 1rem; margin: 0; }}
img {{ width: 100%; border: 4px solid #8884; border-radius: .5rem; box-sizing: border-box; }}
img.preferred {{ border-color: #0072b2; }}
</style>
<h1>{title}</h1>
<p>{counts}</p>
{sections}
</html>
"""
SAYS = {0.0: "the left one is preferred", 1.0: "the right one is preferred", 0.5: "a tie"}


def gallery(task: Task, labelled: LabelledSegments, title: str, count: int) -> str:
    """HTML with the first `count` pairs as films in it. Raises `NoPictures` where there is no GL."""
    clips = Clips(task, labelled.observations)
    try:
        shown = range(min(count, len(labelled.labels)))
        sections = "\n".join(_section(clips, labelled, pair) for pair in shown)
    finally:
        clips.close()
    counts = f"{labelled.counts()}. Shown: {len(shown)} of {len(labelled.labels)}."
    return PAGE.format(title=escape(title), counts=escape(counts), sections=sections)


def _section(clips: Clips, labelled: LabelledSegments, pair: int) -> str:
    label = float(labelled.labels[pair])
    held_out = ", held out" if labelled.held_out[pair] else ""
    images = []
    for side, name in ((0, "left"), (1, "right")):
        film = base64.b64encode(clips.film(pair, side).result()).decode()
        preferred = ' class="preferred"' if label == side else ""
        images.append(f'<img{preferred} alt="{name} clip" src="data:image/webp;base64,{film}">')
    return f"<section><h2>Pair {pair}: {SAYS[label]}{held_out}</h2>{''.join(images)}</section>"
