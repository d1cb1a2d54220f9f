"""`detoxlm label`: texts shown one by one, in the terminal or on a page, and what two readers' labels say together.

Importing the package imports nothing.
"""
