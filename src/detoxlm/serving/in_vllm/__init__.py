"""A detoxifier inside vLLM: what `detoxlm.serving.vllm:Detoxifier` is made of. Importing the package imports nothing.

`loading` reads the settings and the detoxifier and refuses what cannot be served, `processor` follows vLLM's batch and
acts, `model` makes vLLM's own model say what detoxifiers read, `check` proves it all on the version that is installed.
"""
