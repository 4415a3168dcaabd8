"""The paint of each style of a diagram, in the light and in the dark scheme.

Kinds of blocks differ in lightness as well as in hue, and windows in their dashes, so that a greyscale print
distinguishes them.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Paint:
    """Colours or None; width and dashes in units."""

    fill: str | None = None
    stroke: str | None = None
    width: float = 0.8
    dash: tuple[float, ...] = ()
    opacity: float = 1.0


# Front, top, right face and edges of the blocks.
_BLOCKS = {
    "input": ("#eef1f4", "#f9fafb", "#dfe4ea", "#57606a"),
    "conv": ("#7fb0e0", "#b5d3f0", "#a3c6ea", "#1d4a7a"),
    "pool": ("#fbdf9d", "#fef1cf", "#f7d382", "#8a5d00"),
    "dense": ("#3d7d6b", "#6aa593", "#2f6555", "#0f3228"),
    "basis": ("#9a76b8", "#bfa3d6", "#80589f", "#34174d"),
    "other": ("#b8bec6", "#d5d9de", "#a3abb5", "#3b434c"),
}

_DAY = {
    "page": Paint("#ffffff"),
    "ink": Paint("#1f2328"),
    "muted": Paint("#57606a"),
    "rule": Paint(stroke="#8c959f"),
    "path": Paint(stroke="#8c959f", width=1.2, dash=(4, 3)),
    "tip": Paint("#8c959f"),
    "ghost": Paint("#f6f8fa", "#8c959f", dash=(3, 2)),
    "conv-window": Paint("#ffc36b", "#8f3d00", width=1.0, opacity=0.9),
    "conv-beam": Paint("#ff8c1a", opacity=0.16),
    "conv-ray": Paint(stroke="#c25400", width=0.8),
    "conv-spot": Paint("#ff8c1a", "#8f3d00", width=0.8),
    "pool-window": Paint("#ffffff", "#24292f", width=1.0, dash=(2.5, 1.5), opacity=0.8),
    "pool-beam": Paint("#6e7781", opacity=0.12),
    "pool-ray": Paint(stroke="#57606a", width=0.8, dash=(3, 2)),
    "pool-spot": Paint("#24292f", "#24292f", width=0.8),
    "fan": Paint("#3d7d6b", opacity=0.13),
    "fan-ray": Paint(stroke="#3d7d6b", width=0.7),
    "norm-front": Paint("#7a3e9d", "#3b1054"),
    "norm-top": Paint("#a678c4", "#3b1054"),
    "norm-side": Paint("#cfb8e0", "#3b1054"),
    "norm-hatch": Paint(stroke="#f1e4f9", width=0.9),
    "dropout-front": Paint("#ffffff", "#24292f", dash=(1.5, 1.5)),
    "dropout-top": Paint("#ffffff", "#24292f", dash=(1.5, 1.5)),
    "dropout-side": Paint("#f3f4f6", "#24292f", dash=(1.5, 1.5)),
    "unknown-front": Paint("#d0d7de", "#24292f"),
    "unknown-top": Paint("#e6eaee", "#24292f"),
    "unknown-side": Paint("#c2c9d1", "#24292f"),
    "shortcut": Paint(stroke="#1a7f37", width=1.3),
    "shortcut-sum": Paint("#ffffff", "#1a7f37", width=1.0),
    "grid": Paint(stroke="#afb8c1", width=0.6),
    "frame": Paint(stroke="#afb8c1", width=0.6),
    # Its edge has the same colour, so that no seam shows between neighbours.
    "dot": Paint("#1d4a7a", "#1d4a7a", width=0.3),
}
_NIGHT = {
    "page": "#0d1117",
    "ink": "#f0f3f6",
    "muted": "#a5afba",
    "rule": "#7d8590",
    "path": "#7d8590",
    "tip": "#7d8590",
    "ghost": ("#161b22", "#7d8590"),
    "conv-ray": "#e8842a",
    "pool-ray": "#8b949e",
    "pool-beam": "#c3cbd4",
    "fan": "#6fc7ad",
    "fan-ray": "#6fc7ad",
    "shortcut": "#56d364",
    "shortcut-sum": ("#0d1117", "#56d364"),
    "grid": "#484f58",
    "frame": "#484f58",
    "dot": ("#7fb0e0", "#7fb0e0"),
}


def _styles() -> dict[str, Paint]:
    faces = {
        f"{kind}-{face}": Paint(fill, edge)
        for kind, (*fills, edge) in _BLOCKS.items()
        for face, fill in zip(("front", "top", "side"), fills, strict=True)
    }
    shades = {
        f"{kind}-activation-{face}": Paint(_mix(fill, edge, part), edge)
        for kind, (*fills, edge) in _BLOCKS.items()
        for face, fill, part in zip(("front", "top", "side"), fills, (0.5, 0.4, 0.3), strict=True)
    }
    lines = {
        f"{kind}-slice": Paint(stroke=_mix(front, edge, 0.6), width=0.5) for kind, (front, *_, edge) in _BLOCKS.items()
    }
    return faces | shades | lines | _DAY


def _mix(colour: str, other: str, part: float) -> str:
    """Mix a part of the other colour into the first."""
    pairs = ((int(colour[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + part * (b - a)):02x}" for a, b in pairs)


DAY = _styles()


def _darker(style: str, paint: Paint) -> Paint:
    if style not in _NIGHT:
        return paint
    colours = _NIGHT[style]
    if isinstance(colours, tuple):
        return replace(paint, fill=colours[0], stroke=colours[1])
    return replace(paint, **{"fill" if paint.fill else "stroke": colours})


NIGHT = {style: _darker(style, paint) for style, paint in DAY.items()}
