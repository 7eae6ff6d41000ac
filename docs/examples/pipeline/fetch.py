"""Stand in for a download: write the birds of one island into a file."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

island, target = sys.argv[1], Path(sys.argv[2])
source = Path(__file__).parent.parent / "quickstart" / "penguins_size.csv"
with source.open(newline="") as file:
    header, *birds = csv.reader(file)
found = [bird for bird in birds if bird[1] == island]
if not found:
    sys.exit(f"there are no penguins on {island}")
target.parent.mkdir(parents=True, exist_ok=True)
with target.open("w", newline="") as file:
    csv.writer(file).writerows([header, *found])
print(f"{len(found)} birds of {island}")
