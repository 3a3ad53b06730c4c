"""Write the reference pages: `python -m kidneyseg.reference docs [docs/api]`."""

import sys
from pathlib import Path

from kidneyseg.reference.api_pages import write_api_pages
from kidneyseg.reference.pages import make_pages


def main() -> None:
    """Write every page that differs, and say which; then the API's, where a folder is named."""
    folder, *api = [Path(argument) for argument in sys.argv[1:]] or [Path("docs")]
    for path, text in make_pages(folder).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stderr.write(f"written: {path}\n")
    if api:
        write_api_pages(api[0])
        sys.stderr.write(f"written: {api[0] / 'index.html'}\n")


if __name__ == "__main__":
    main()
