"""`python -m bench.contenders`: build everybody whose tools are here, and name the others."""

import sys

from bench.contenders import Missing, line_up
from bench.lab.process import LabError


def main() -> int:
    """Build; 1 if a build failed. A missing tool is no failure."""
    failed = False
    for contender in line_up():
        try:
            contender.prepare()
            print(f"{contender.name}: ready")
        except Missing as missing:
            print(f"{contender.name}: left out: {missing}")
        except LabError as error:
            failed = True
            print(f"{contender.name}: {error}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
