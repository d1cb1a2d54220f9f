"""A file of texts worked on row by row into another file: larger than memory, and killed runs continue.

`source` reads chunks of rows; what works on them works here or on Ray (`on_ray`); `forms` make rows and what came of
them bytes of the output's kind; `partial` keeps those of an unfinished run; `work` brings these together, whatever the
work is. `judges` and `command` are scoring; prompts are continued in `detoxlm.continuing`.
"""
