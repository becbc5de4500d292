"""Fuzzing: every parser of outside bytes is fed with edited seeds, guided by coverage. docs/fuzzing.md describes it.

``make fuzz`` runs all targets in turn; ``python -m fuzz.one NAME`` runs one of them under atheris. The targets
themselves need no atheris: the tests feed them too.
"""
