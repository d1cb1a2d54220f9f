"""A file of texts scored into another file: larger than memory, and killed runs continue.

`source` reads chunks of rows, `judges` score the texts of a chunk, here or on Ray (`on_ray`), `forms` make them bytes
of the output's kind, `partial` keeps those of an unfinished run, and `command` brings them together.
"""
