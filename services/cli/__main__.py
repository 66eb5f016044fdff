"""`python -m services.cli`: the `tillroll` command without an installation."""

from services.cli.main import main

if __name__ == "__main__":
    main()
