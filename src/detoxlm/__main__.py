"""`python -m detoxlm` is `detoxlm`; `accelerate launch -m detoxlm` starts it in several processes."""

from detoxlm.cli import main

if __name__ == "__main__":
    main()
