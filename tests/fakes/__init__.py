"""Fakes of the outside world: real servers, for everyone's tests."""
