"""One module per command of `regimes`; `cli.py` imports a module only when its command runs."""
