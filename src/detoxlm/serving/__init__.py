"""A detoxified model as a server that speaks the OpenAI API's protocol, on transformers alone.

Importing the package imports nothing; `command` runs the server, `app` is it without a socket, `batch` is where tokens
are made.
"""
