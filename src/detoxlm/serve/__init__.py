"""The wing that serves scorers over HTTP: the Perspective API's protocol, and a route of our own.

Importing the package imports nothing; `command` runs the server, `app` is it without a socket.
"""
