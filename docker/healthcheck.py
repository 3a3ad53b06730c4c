"""Whether what this container serves answers: exit code 0, or 1 with the reason on stderr.

It asks the address in KIDNEYSEG_HEALTH_URL. A container that serves nothing names none, and counts
as well for as long as it runs.
"""

# ruff: noqa: INP001 - a script of the image, in no package
import os
import ssl
import sys
from urllib.request import urlopen

TIMEOUT_SECONDS = 8.0
# This container itself is asked, whose certificate is another name's.
UNVERIFIED = ssl._create_unverified_context()  # noqa: S323, SLF001


def main() -> int:
    """Ask, and return the exit code."""
    url = os.environ.get("KIDNEYSEG_HEALTH_URL")
    if not url:
        return 0
    try:
        with urlopen(url, timeout=TIMEOUT_SECONDS, context=UNVERIFIED) as answer:  # noqa: S310 - who runs it names it
            answer.read(1)
    except (OSError, ValueError) as error:  # refused, too late, an answer of 400 or more, no URL
        sys.stderr.write(f"{url}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
