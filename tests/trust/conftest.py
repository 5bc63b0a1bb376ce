"""Fixtures that what is promised of the whole product is tested with."""

from ..viewer.conftest import case, expert, findings, session, viewer, volume  # noqa: F401
