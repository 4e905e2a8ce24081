"""`python -m guardrail.cli` is the `guardrail` command."""

from guardrail.cli.main import main

if __name__ == "__main__":
    main()
