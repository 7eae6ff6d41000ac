"""``python -m sentrio`` is the ``sentrio`` command."""

from sentrio.cli import main

if __name__ == "__main__":
    main()
