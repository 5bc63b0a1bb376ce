"""How tables write their numbers; Markdown for docs."""

import numpy as np


def markdown(rows: list[dict[str, str]]) -> str:
    """A table with the first row's columns; those that are empty in every row are left out."""
    columns = [column for column in rows[0] if any(row[column] for row in rows)]
    lines = [columns, ["---"] * len(columns), *([row[column] for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: np.ndarray) -> str:
    """Mean of (seeds,) values, and from the lowest to the highest where there are several."""
    mean = short(float(values.mean()))
    return mean if len(values) == 1 else f"{mean} ({short(float(values.min()))}-{short(float(values.max()))})"


def short(value: float) -> str:
    """Three decimals, without the 0 before the point."""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def signed(value: float) -> str:
    """The same with its sign."""
    return ("+" if value >= 0 else "") + short(value)
