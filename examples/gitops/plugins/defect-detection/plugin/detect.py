"""Find defects: the brightest spots of a grey image, as rows and columns."""

from collections.abc import Sequence


def run(image: Sequence[Sequence[float]], threshold: float = 0.5) -> list[tuple[int, int]]:
    """Positions of all pixels above the threshold; pixels are between 0 and 1."""
    return [
        (row, column)
        for row, line in enumerate(image)
        for column, value in enumerate(line)
        if value > threshold
    ]
