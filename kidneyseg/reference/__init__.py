"""The reference pages, made of the code: `python -m kidneyseg.reference docs`."""
