"""``python -m deeplim`` is the command line."""

from deeplim.cli import main

if __name__ == "__main__":
    main()
