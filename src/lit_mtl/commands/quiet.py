"""Keeps what the libraries say about themselves from users; what concerns their run is shown."""

import logging
import os
import warnings


def silence_upstream_notes() -> None:
    """Drop advertisements and notes that a user of this project cannot act on."""
    pass
