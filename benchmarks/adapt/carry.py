"""Files too large to travel whole: split into parts, and put together again.

    python benchmarks/adapt/carry.py split FILE DIRECTORY [--group 3]
    python benchmarks/adapt/carry.py join DIRECTORY... --out FILE

`split` writes parts of 15 MiB into DIRECTORY-1, DIRECTORY-2, ... with `--group` parts each, and
the file's SHA-256 beside them; `join` refuses parts that do not give that file.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

PART = 15 << 20
SUM = "sha256"


class CarryError(Exception):
    """Parts are missing or damaged."""


def split(file: Path, directory: Path, group: int = 3, part: int = PART) -> list[Path]:
    """Write the parts; returns their directories in order."""
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    count = max(1, -(-len(data) // part))
    directories = []
    for number in range(count):
        place = directory.with_name(f"{directory.name}-{number // group + 1}")
        if place not in directories:
            directories.append(place)
            place.mkdir(parents=True, exist_ok=True)
            (place / SUM).write_text(f"{digest} {count}\n")
        (place / f"part-{number:03d}").write_bytes(data[number * part : (number + 1) * part])
    return directories


def join(directories: Sequence[Path], out: Path) -> None:
    """Put the parts of all directories together.

    Raises:
        CarryError: a part is missing, or the whole is not the file that was split.
    """
    parts = sorted(
        (path for place in directories for path in place.glob("part-*")), key=lambda p: p.name
    )
    sums = {(place / SUM).read_text() for place in directories if (place / SUM).exists()}
    if len(sums) != 1:
        raise CarryError(f"{len(sums)} different files are in {', '.join(map(str, directories))}.")
    digest, count = sums.pop().split()
    if len(parts) != int(count):
        raise CarryError(f"{len(parts)} of {count} parts are there: name every directory.")
    data = b"".join(path.read_bytes() for path in parts)
    if hashlib.sha256(data).hexdigest() != digest:
        raise CarryError("The parts are damaged: carry them again.")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(data)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    pieces = parser.add_subparsers(dest="piece", required=True)
    splitting = pieces.add_parser("split")
    splitting.add_argument("file", type=Path)
    splitting.add_argument("directory", type=Path)
    splitting.add_argument("--group", type=int, default=3)
    joining = pieces.add_parser("join")
    joining.add_argument("directories", type=Path, nargs="+")
    joining.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        if given.piece == "split":
            print(*split(given.file, given.directory, given.group), sep="\n")
        else:
            join(given.directories, given.out)
    except (CarryError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
