"""User code that type checkers read and nobody runs."""
