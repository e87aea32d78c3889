"""`python -m autoinit`: the command line."""

from autoinit.command_line import main

if __name__ == "__main__":
    main()
