"""`python -m ringfence.broker.cli`: the command line for processes that start others without knowing PATH."""

from ringfence.broker.cli.main import main

main()
