"""``python -m varflow`` is the ``varflow`` command."""

from varflow.cli import main

if __name__ == "__main__":
    main()
