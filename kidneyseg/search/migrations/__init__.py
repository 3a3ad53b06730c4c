"""The steps from one schema of our own tables to the next, a file each, in alembic's form.

A step describes its tables itself: it stays as it is when `kidneyseg.search.tables` goes on.
"""
