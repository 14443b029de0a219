"""How long `import diffolio` and `diffolio list` take, as whole processes. Aim: under 1.5 s each.

python benchmarks/startup.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "import diffolio": [sys.executable, "-c", "import diffolio"],
    "diffolio list": [sys.executable, "-c", "import sys; sys.argv=['diffolio','list']; from diffolio.cli import main; main()"],
    "diffolio list --all --json": [
        sys.executable, "-c", "import sys; sys.argv=['diffolio','list','--all','--json']; from diffolio.cli import main; main()"
    ],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for name, command in COMMANDS.items():
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - started)
        print(f"{name:28} median {statistics.median(times):.2f} s, {min(times):.2f} to {max(times):.2f}, n {rounds}")


if __name__ == "__main__":
    main()
