"""Made-up people, always the same, for `canary simulate`: `python -m bench.people 1000000`."""

import csv
import random
import sys

COUNTRIES = ("de", "fr", "us", "gb")
DOMAINS = ("mail.test", "mail.test", "mail.test", "example.com")


def main() -> None:
    """Write so many of them as CSV."""
    chance = random.Random(1)
    out = csv.writer(sys.stdout)
    out.writerow(["x-user-id", "x-country", "claim:payload.age", "claim:payload.email"])
    for number in range(int(sys.argv[1])):
        email = f"u{number}@{chance.choice(DOMAINS)}"
        out.writerow([f"user-{number}", chance.choice(COUNTRIES), chance.randrange(12, 90), email])


if __name__ == "__main__":
    main()
