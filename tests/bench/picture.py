"""The growth as a picture. The only module that imports matplotlib."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from .figures import Figures
from .growth import GROWTHS, at


def draw(figures: Figures, path: Path) -> None:
    """Write one panel an axis to `path`, as SVG or PNG by its name: median, and lowest to highest round."""
    drawn = [growth for growth in GROWTHS if figures.servers(growth.name)]
    canvas, panels = pyplot.subplots(1, len(drawn), figsize=(4 * len(drawn), 4), squeeze=False, layout="constrained")
    for growth, panel in zip(drawn, panels[0], strict=True):
        for server in growth.servers:
            known = [value for value in growth.values if figures.median(growth.name, at(server.name, value))]
            middle = [figures.median(growth.name, at(server.name, value)) for value in known]
            rounds = [figures.rounds[growth.name, at(server.name, value)] for value in known]
            (line,) = panel.plot(known, middle, marker="o", label=server.name)
            panel.fill_between(
                known, [min(r) for r in rounds], [max(r) for r in rounds], color=line.get_color(), alpha=0.15
            )
        panel.set_title(growth.name.removeprefix("growth: "))
        panel.set_xlabel(growth.axis)
        panel.set_ylabel("per second")
        if growth.axis == "workers":
            panel.set_xticks(growth.values)
        else:
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
        panel.set_ylim(bottom=0 if growth.axis == "workers" else None)
        panel.legend()
    canvas.savefig(path)
    pyplot.close(canvas)
