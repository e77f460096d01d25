"""`python -m alura_async` is the `alura` command."""

from .cli import main

if __name__ == "__main__":
    main()
